"""Sets of fields in the wire form of `managedFields[].fieldsV1`, and the operations on them.

A set is a tree of dicts: `f:name` is a field, `k:{...}` an item of a keyed list, `v:...` a member of a list that is
a set, `.` the node itself. A leaf is an empty dict. Source: Kubernetes' documentation of FieldsV1.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dstk.local.apiserver.schema import Structure

Json = Any
FieldSet = dict[str, Any]

_SELF = "."


def item_step(node: Structure | None, item: Json) -> str | None:
    """The path step of a list item; None when the list is atomic and its items have no identity."""
    if node is None or node.list_type == "atomic":
        return None
    if node.list_type == "set":
        return "v:" + msgspec.json.encode(item).decode()
    if type(item) is not dict:
        return None
    declared = node.items.properties if node.items is not None else {}
    key: dict[str, Json] = {}
    for name in sorted(node.list_keys):
        if name in item:
            key[name] = item[name]
        elif name in declared and declared[name].has_default:
            key[name] = declared[name].default
    return "k:" + msgspec.json.encode(key).decode()


def items_by_step(node: Structure | None, items: list[Json]) -> dict[str, Json]:
    return {item_step(node, item) or "": item for item in items}


def keyed(node: Structure | None, value: Json) -> bool:
    return type(value) is list and node is not None and node.list_type != "atomic"


def granular(node: Structure | None, value: Json) -> bool:
    return type(value) is dict and (node is None or node.map_type != "atomic")


def below(node: Structure | None, name: str) -> Structure | None:
    return node.child(name) if node is not None else None


def of_value(node: Structure | None, value: Json) -> FieldSet:
    """All fields that `value` sets, as an apply of it would own them."""
    if granular(node, value) and value:
        return {f"f:{name}": of_value(below(node, name), item) for name, item in value.items()}
    if keyed(node, value) and value and node is not None:
        found: FieldSet = {}
        for step, item in items_by_step(node, value).items():
            inside = of_value(node.items, item) if step.startswith("k:") else {}
            found[step] = {_SELF: {}, **inside} if inside else {}
        return found
    return {}


def difference(node: Structure | None, old: Json, new: Json) -> tuple[FieldSet | None, FieldSet | None]:
    """(fields that `new` adds or changes, fields that it lacks); None stands for no field at all."""
    if old is new:
        return None, None
    if granular(node, old) and granular(node, new):
        return _object_difference(node, old, new)
    if keyed(node, old) and keyed(node, new) and node is not None:
        return _list_difference(node, old, new)
    return (None, None) if old == new and type(old) is type(new) else (of_new(node, new), None)


def of_new(node: Structure | None, value: Json) -> FieldSet:
    """The fields of a value that was not there before: its containers belong to who made them, too."""
    if granular(node, value) and value:
        return {_SELF: {}, **{f"f:{name}": of_new(below(node, name), item) for name, item in value.items()}}
    if keyed(node, value) and value:
        return {_SELF: {}, **of_value(node, value)}
    return {}


def _object_difference(
    node: Structure | None, old: dict[str, Json], new: dict[str, Json]
) -> tuple[FieldSet | None, FieldSet | None]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, value in new.items():
        if name not in old:
            changed[f"f:{name}"] = of_new(below(node, name), value)
            continue
        before = old[name]
        if before is value:
            continue
        more, less = difference(below(node, name), before, value)
        if more is not None:
            changed[f"f:{name}"] = more
        if less is not None:
            removed[f"f:{name}"] = less
    for name in old:
        if name not in new:
            removed[f"f:{name}"] = {}
    return changed or None, removed or None


def _list_difference(node: Structure, old: list[Json], new: list[Json]) -> tuple[FieldSet | None, FieldSet | None]:
    before, after = items_by_step(node, old), items_by_step(node, new)
    changed: FieldSet = {}
    removed: FieldSet = {step: {} for step in before if step not in after}
    for step, item in after.items():
        if step not in before:
            changed[step] = of_value(node, [item])[step]
        elif before[step] is not item:
            more, less = difference(node.items, before[step], item)
            if more is not None:
                changed[step] = more
            if less is not None:
                removed[step] = less
    return changed or None, removed or None


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in either; `left` itself when `right` adds nothing."""
    if left is right or not right:
        return left
    merged: FieldSet | None = None
    for step, inner in right.items():
        if step not in left:
            merged = dict(left) if merged is None else merged
            merged[step] = inner
            continue
        both = union(left[step], inner)
        if not left[step] and inner and _SELF not in inner:
            both = {_SELF: {}, **inner}
        if both is not left[step]:
            merged = dict(left) if merged is None else merged
            merged[step] = both
    return left if merged is None else merged


def subtract(left: FieldSet, right: FieldSet, *, whole: bool = False) -> FieldSet | None:
    """Fields of `left` not in `right`; None when none is left. `whole`: a leaf of `right` takes all below it."""
    kept: FieldSet = {}
    for step, inner in left.items():
        if step not in right:
            kept[step] = inner
            continue
        other = right[step]
        if not other and (whole or not inner):
            continue
        if not inner:
            if _SELF in other:
                continue
            kept[step] = inner
            continue
        rest = subtract(inner, other if other else {_SELF: {}}, whole=whole)
        if rest is not None:
            kept[step] = rest
    return kept or None


def intersect(left: FieldSet, right: FieldSet) -> FieldSet | None:
    """Fields in both; None when there is none."""
    both: FieldSet = {}
    for step, inner in left.items():
        if step not in right:
            continue
        other = right[step]
        if not inner or not other:
            if (not inner or _SELF in inner) and (not other or _SELF in other):
                both[step] = {}
            continue
        shared = intersect(inner, other)
        if shared is not None:
            both[step] = shared
    return both or None


def leaves(fields: FieldSet, prefix: str = "") -> list[str]:
    """Every field of a set as a readable path: `.spec.ports[name="data"].port`."""
    found: list[str] = []
    for step, inner in fields.items():
        if step == _SELF:
            found.append(prefix)
        else:
            path = prefix + _readable(step)
            found += leaves(inner, path) if inner else [path]
    return found


def _readable(step: str) -> str:
    kind, _, text = step.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "v":
        return f"[={text}]"
    pairs = msgspec.json.decode(text).items()
    return "[" + ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in pairs) + "]"


def without(node: Structure | None, value: Json, fields: FieldSet) -> Json:
    """`value` with the leaves of `fields` taken out, and what became empty by it as well."""
    if granular(node, value):
        kept: dict[str, Json] = {}
        for name, item in value.items():
            inner = fields.get(f"f:{name}")
            if inner is None:
                kept[name] = item
            elif inner:
                rest = without(below(node, name), item, inner)
                if rest or not item:
                    kept[name] = rest
        return kept
    if keyed(node, value) and node is not None:
        items: list[Json] = []
        for step, item in items_by_step(node, value).items():
            inner = fields.get(step)
            if inner is None:
                items.append(item)
            elif inner and _SELF not in inner:
                items.append(without(node.items, item, inner))
        return items
    return value

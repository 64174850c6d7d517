"""Structural schemas, compiled once: pruning, defaulting and walking to a field's declaration.

Values are never changed in place: each function gives back the value it was given where nothing had to change, so
that unchanged parts stay shared between the revisions of an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dstk.local.apiserver.cel import CompileError
from dstk.local.apiserver.rules import Rule, compile_rules

Json = Any

_NOTHING: Mapping[str, Json] = {}

META_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


_BOUNDS = frozenset(
    """maxLength minLength pattern format minimum maximum multipleOf maxItems minItems maxProperties
    minProperties""".split()  # noqa: SIM905 - one name a word reads better than a list of quotes
)


class Structure:
    """One node of a schema: `raw` is its OpenAPI v3 form, the rest is what is asked of it on every write."""

    __slots__ = (
        "additional",
        "all_of",
        "any_of",
        "bounded",
        "default",
        "enum",
        "has_default",
        "items",
        "kind",
        "list_keys",
        "list_type",
        "map_type",
        "merge_key",
        "needs_defaults",
        "negated",
        "one_of",
        "patch_strategy",
        "preserve",
        "properties",
        "raw",
        "required",
        "root",
        "rules",
        "rules_below",
        "transitions_below",
    )

    def __init__(self, raw: dict[str, Any], *, root: bool = False) -> None:
        self.raw = raw
        self.root = root or bool(raw.get("x-kubernetes-embedded-resource"))
        self.properties = {name: Structure(sub) for name, sub in (raw.get("properties") or {}).items()}
        if self.root and "metadata" in self.properties:
            # Its schema may narrow names and labels; its fields are the server's own and are never pruned.
            self.properties["metadata"] = Structure(
                {**self.properties["metadata"].raw, "x-kubernetes-preserve-unknown-fields": True}
            )
        additional = raw.get("additionalProperties")
        self.additional: Structure | bool | None = Structure(additional) if isinstance(additional, dict) else additional
        self.items = Structure(raw["items"]) if isinstance(raw.get("items"), dict) else None
        self.kind: str | None = None if raw.get("x-kubernetes-int-or-string") else raw.get("type")
        self.enum: list[Json] | None = raw.get("enum")
        self.required: tuple[str, ...] = tuple(raw.get("required") or ())
        self.bounded = not _BOUNDS.isdisjoint(raw)
        self.preserve = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.list_type: str = raw.get("x-kubernetes-list-type", "atomic")
        self.list_keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys", ()))
        self.map_type: str = raw.get("x-kubernetes-map-type", "granular")
        self.merge_key: str | None = raw.get("x-kubernetes-patch-merge-key")
        self.patch_strategy: str = raw.get("x-kubernetes-patch-strategy", "")
        self.all_of = [Structure(part) for part in raw.get("allOf") or ()]
        self.any_of = [Structure(part) for part in raw.get("anyOf") or ()]
        self.one_of = [Structure(part) for part in raw.get("oneOf") or ()]
        self.negated = Structure(raw["not"]) if raw.get("not") else None
        self.has_default = "default" in raw
        self.default = raw.get("default")
        below = list(self.properties.values())
        if isinstance(self.additional, Structure):
            below.append(self.additional)
        if self.items is not None:
            below.append(self.items)
        self.needs_defaults: bool = any(node.has_default or node.needs_defaults for node in below)
        self.rules: tuple[Rule, ...] = ()
        self.rules_below = False
        self.transitions_below = False

    def compile(self, path: str = "") -> list[tuple[str, int, CompileError]]:
        """Compile the rules of this node and all below; what could not be is returned as (path, index, error)."""
        self.rules, failures = compile_rules(self, path)
        for where, node in self._below(path):
            failures += node.compile(where)
            self.rules_below = self.rules_below or bool(node.rules) or node.rules_below
            transitions = any(rule.transition for rule in node.rules) or node.transitions_below
            self.transitions_below = self.transitions_below or transitions
        return failures

    def _below(self, path: str) -> list[tuple[str, Structure]]:
        found = [(f"{path}.properties[{name}]", node) for name, node in self.properties.items()]
        if isinstance(self.additional, Structure):
            found.append((f"{path}.additionalProperties", self.additional))
        if self.items is not None:
            found.append((f"{path}.items", self.items))
        return found

    def child(self, name: str) -> Structure | None:
        """The declaration of a field of an object of this shape; None where nothing is declared."""
        node = self.properties.get(name)
        if node is None and isinstance(self.additional, Structure):
            return self.additional
        return node

    def field(self, name: str) -> tuple[bool, Structure | None]:
        if self.root and name in ("apiVersion", "kind", "metadata"):
            return True, None if name == "metadata" else self.properties.get(name)
        node = self.child(name)
        return node is not None or self.open, node

    def element(self) -> Structure | None:
        if self.items is not None:
            return self.items
        return self.additional if isinstance(self.additional, Structure) else None

    def is_map(self) -> bool:
        return isinstance(self.additional, Structure)

    @property
    def open(self) -> bool:
        """True when fields that are not declared may be there."""
        return (
            self.preserve
            or self.additional is True
            or (self.raw.get("type") is None and not self.properties)
            or bool(self.raw.get("x-kubernetes-int-or-string"))
        )


def prune(node: Structure, value: Json, path: str, unknown: list[str], old: Json = None) -> Json:
    """`value` without the fields that `node` does not declare, whose paths are appended to `unknown`, and without nulls
    where there may be none: those say nothing.

    Parts that are the very objects of `old`, a value pruned before, are left alone.
    """
    if type(value) is dict:
        return _prune_object(node, value, path, unknown, old if type(old) is dict else _NOTHING)
    if type(value) is list and node.items is not None:
        changed: list[Json] | None = None
        for at, item in enumerate(value):
            kept = prune(node.items, item, f"{path}[{at}]", unknown)
            if kept is not item:
                changed = list(value) if changed is None else changed
                changed[at] = kept
        return value if changed is None else changed
    return value


def _prune_object(
    node: Structure, value: dict[str, Json], path: str, unknown: list[str], old: Mapping[str, Json]
) -> dict[str, Json]:
    replaced: dict[str, Json] = {}
    dropped: set[str] = set()
    for name, item in value.items():
        before = old.get(name)
        if before is item and item is not None:
            continue
        declared = node.child(name)
        if declared is not None:
            if item is None:
                if not declared.raw.get("nullable"):
                    dropped.add(name)
            elif type(item) is dict or type(item) is list:
                kept = prune(declared, item, f"{path}.{name}" if path else name, unknown, before)
                if kept is not item:
                    replaced[name] = kept
        elif not (node.open or (node.root and name in ("apiVersion", "kind", "metadata"))):
            unknown.append(f"{path}.{name}" if path else name)
            dropped.add(name)
    if not replaced and not dropped:
        return value
    return {name: replaced.get(name, item) for name, item in value.items() if name not in dropped}


def fill_defaults(node: Structure, value: Json, old: Json = None) -> Json:
    """`value` with the declared defaults of absent fields (and of null ones that may not be null).

    Parts that are the very objects of `old`, a value filled before, are left alone.
    """
    if not node.needs_defaults or (value is old and old is not None):
        return value
    if type(value) is list and node.items is not None:
        items = [fill_defaults(node.items, item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if type(value) is not dict:
        return value
    before = old if type(old) is dict else _NOTHING
    changed: dict[str, Json] = {}
    for name, declared in node.properties.items():
        present = name in value
        item = value.get(name)
        if declared.has_default and (not present or (item is None and not declared.raw.get("nullable"))):
            changed[name] = fill_defaults(declared, declared.default)
        elif present:
            filled = fill_defaults(declared, item, before.get(name))
            if filled is not item:
                changed[name] = filled
    if isinstance(node.additional, Structure) and node.additional.needs_defaults:
        for name, item in value.items():
            filled = fill_defaults(node.additional, item)
            if filled is not item:
                changed[name] = filled
    return {**value, **changed} if changed else value

"""Merge, JSON and strategic merge patches as functions of (document, patch).

None of them changes its arguments; what a patch does not touch is shared between the old and the new document.
"""

from __future__ import annotations

from typing import Any

from dstk.local.apiserver import status
from dstk.local.apiserver.schema import Structure

Json = Any


def merge_patch(document: Json, patch: Json) -> Json:
    """RFC 7386: objects merge, null deletes, everything else replaces."""
    if type(patch) is not dict:
        return patch
    merged = dict(document) if type(document) is dict else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(document: Json, operations: Json) -> Json:
    """RFC 6902. Raises Refusal 422 for an operation that does not fit the document, 400 for one that is none."""
    if type(operations) is not list:
        raise status.bad_request("error decoding patch: a JSON patch is a list of operations")
    for operation in operations:
        if type(operation) is not dict or "op" not in operation or "path" not in operation:
            raise status.bad_request(f"error decoding patch: not a JSON patch operation: {operation!r}")
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise status.Refusal(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: {operation['op']} operation does "
                f"not apply: doc is missing path: {operation['path']}: {error}",
            ) from None
    return document


def _pointer(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise ValueError(f"{path!r} does not start with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _operate(document: Json, operation: dict[str, Json]) -> Json:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _edited(document, path, "add", operation["value"])
        case "replace":
            return _edited(document, path, "replace", operation["value"])
        case "remove":
            return _edited(document, path, "remove", None)
        case "test":
            if _found(document, path) != operation["value"]:
                raise ValueError(f"testing value {operation['path']} failed")
            return document
        case "copy":
            return _edited(document, path, "add", _found(document, _pointer(operation["from"])))
        case "move":
            source = _pointer(operation["from"])
            value = _found(document, source)
            return _edited(_edited(document, source, "remove", None), path, "add", value)
        case other:
            raise ValueError(f"unexpected kind: {other}")


def _list_index(step: str, length: int) -> int:
    if not step.isdigit():
        raise ValueError(f"{step!r} is no index")
    index = int(step)
    if index > length:
        raise IndexError(f"index {index} out of bounds")
    return index


def _found(document: Json, path: list[str]) -> Json:
    for step in path:
        document = document[_list_index(step, len(document))] if type(document) is list else document[step]
    return document


def _edited(document: Json, path: list[str], what: str, value: Json) -> Json:
    """`document` with one place changed; the containers on the way are copied, the rest is shared."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if type(document) is list:
        copy = list(document)
        if step == "-" and not rest and what == "add":
            copy.append(value)
            return copy
        index = _list_index(step, len(copy))
        if rest:
            copy[index] = _edited(copy[index], rest, what, value)
        elif what == "add":
            copy.insert(index, value)
        elif what == "remove":
            del copy[index]
        else:
            copy[index] = value
        return copy
    if type(document) is not dict:
        raise KeyError(step)
    if rest:
        return {**document, step: _edited(document[step], rest, what, value)}
    if what != "add" and step not in document:
        raise KeyError(step)
    if what == "remove":
        return {name: item for name, item in document.items() if name != step}
    return {**document, step: value}


def strategic_merge_patch(document: Json, patch: Json, node: Structure | None) -> Json:
    """Kubernetes' own merge: lists with a merge key merge item by item, `$patch` and its kin direct it.

    `node` says which lists have a merge key; lists without one are replaced, as in a merge patch.
    """
    if type(patch) is not dict:
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(document) if type(document) is dict else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        merged = {name: value for name, value in merged.items() if name in retained}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        else:
            declared = node.child(name) if node is not None else None
            order = patch.get(f"$setElementOrder/{name}")
            merged[name] = _strategic_value(merged.get(name), value, declared, order)
    return merged


def _strategic_value(old: Json, value: Json, node: Structure | None, order: Json) -> Json:
    if type(value) is not list:
        return strategic_merge_patch(old, value, node)
    if node is None or "merge" not in node.patch_strategy:
        return value
    if node.merge_key is None:
        merged = list(old or [])
        return merged + [item for item in value if item not in merged]
    return _merged_items(list(old or []), value, node, node.merge_key, order)


def _merged_items(items: list[Json], patch: list[Json], node: Structure, key: str, order: Json) -> list[Json]:
    if any(item.get("$patch") == "replace" for item in patch if type(item) is dict):
        return [item for item in patch if item.get("$patch") != "replace"]
    for change in patch:
        if type(change) is not dict or key not in change:
            raise status.bad_request(f"map: {change} does not contain declared merge key: {key}")
        at = next((at for at, item in enumerate(items) if item.get(key) == change[key]), None)
        if change.get("$patch") == "delete":
            if at is not None:
                del items[at]
        elif at is None:
            items.append(strategic_merge_patch({}, change, node.items))
        else:
            items[at] = strategic_merge_patch(items[at], change, node.items)
    if order:
        rank = {entry.get(key) if type(entry) is dict else entry: at for at, entry in enumerate(order)}
        items.sort(key=lambda item: rank.get(item.get(key), len(rank)))
    return items

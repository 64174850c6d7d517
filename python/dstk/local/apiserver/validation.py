"""Checks of an object against its structural schema, worded as kube-apiserver words them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dstk.local.apiserver import status
from dstk.local.apiserver.cel.functions import regex
from dstk.local.apiserver.formats import FORMATS
from dstk.local.apiserver.schema import Structure
from dstk.local.apiserver.status import FieldError, go_value

_INT_FORMATS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


_EXACT: dict[str, type] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
}
_NOTHING: Mapping[str, Any] = {}


def type_of(value: Any) -> str:
    """The JSON schema type of a value (`integer` for whole numbers, whatever their spelling)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(expected: str, found: str) -> bool:
    return expected == found or (expected == "number" and found == "integer")


def validate(node: Structure, value: Any, path: str, errors: list[FieldError], old: Any = None) -> None:
    """Append to `errors` what is wrong with `value`; `path` is its place in the object (`spec.range`).

    What is equal to `old` was accepted before and is not checked again, as kube-apiserver's ratcheting does it.
    """
    if old is not None and (value is old or value == old):
        return
    kind = node.kind
    if kind is not None and _EXACT.get(kind) is type(value):
        found = kind
    else:
        found = type_of(value)
        if not _type_fits(node, value, found, path, errors):
            return
    if node.enum is not None and value not in node.enum:
        errors.append(status.not_supported(path, value, node.enum))
    if found == "object":
        _check_object(node, value, path, errors, old if type(old) is dict else _NOTHING)
    elif found == "array":
        _check_array(node, value, path, errors)
    elif node.bounded and found == "string":
        _check_string(node.raw, value, path, errors)
    elif node.bounded and found in ("integer", "number"):
        _check_number(node.raw, value, path, errors)
    if node.all_of or node.any_of or node.one_of or node.negated is not None:
        _check_logic(node, value, path, errors)


def _type_fits(node: Structure, value: Any, found: str, path: str, errors: list[FieldError]) -> bool:
    """Whether to look further: false for a null that may be one, and for another type, which is an error."""
    if value is None and node.raw.get("nullable"):
        return False
    if node.raw.get("x-kubernetes-int-or-string"):
        if found in ("integer", "string"):
            return True
        detail = f"{path} in body must be of type integer,string: {go_value(found)}"
    elif node.kind is None or _fits(node.kind, found):
        return True
    else:
        detail = f"{path or '<nil>'} in body must be of type {node.kind}: {go_value(found)}"
    errors.append(status.invalid_type(path or "<nil>", found, detail))
    return False


def _check_string(raw: dict[str, Any], value: str, path: str, errors: list[FieldError]) -> None:
    limit = raw.get("maxLength")
    if limit is not None and len(value) > limit:
        errors.append(status.too_long(path, limit))
    limit = raw.get("minLength")
    if limit is not None and len(value) < limit:
        detail = f"{path} in body should be at least {limit} chars long"
        errors.append(status.invalid_value(path, value, detail))
    pattern = raw.get("pattern")
    if pattern and regex(pattern).search(value) is None:
        errors.append(status.invalid_value(path, value, f"{path} in body should match '{pattern}'"))
    check = FORMATS.get(raw.get("format", ""))
    if check is not None and not check(value):
        detail = f"{path} in body must be of type {raw['format']}: {go_value(value)}"
        errors.append(status.invalid_type(path, value, detail))


def _check_number(raw: dict[str, Any], value: float, path: str, errors: list[FieldError]) -> None:
    low, high = raw.get("minimum"), raw.get("maximum")
    if high is not None:
        if raw.get("exclusiveMaximum"):
            if value >= high:
                errors.append(status.invalid_value(path, value, f"{path} in body should be less than {go_value(high)}"))
        elif value > high:
            detail = f"{path} in body should be less than or equal to {go_value(high)}"
            errors.append(status.invalid_value(path, value, detail))
    if low is not None:
        if raw.get("exclusiveMinimum"):
            if value <= low:
                detail = f"{path} in body should be greater than {go_value(low)}"
                errors.append(status.invalid_value(path, value, detail))
        elif value < low:
            detail = f"{path} in body should be greater than or equal to {go_value(low)}"
            errors.append(status.invalid_value(path, value, detail))
    step = raw.get("multipleOf")
    if step and value % step:
        errors.append(status.invalid_value(path, value, f"{path} in body should be a multiple of {go_value(step)}"))
    bounds = _INT_FORMATS.get(raw.get("format", ""))
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        detail = f"{path} in body must be of type {raw['format']}: {go_value(value)}"
        errors.append(status.invalid_type(path, value, detail))


def _check_array(node: Structure, value: list[Any], path: str, errors: list[FieldError]) -> None:
    raw = node.raw
    limit = raw.get("maxItems")
    if limit is not None and len(value) > limit:
        errors.append(status.too_many(path, len(value), limit))
    limit = raw.get("minItems")
    if limit is not None and len(value) < limit:
        detail = f"{path} in body should have at least {limit} items"
        errors.append(status.invalid_value(path, len(value), detail))
    if node.items is not None:
        for at, item in enumerate(value):
            validate(node.items, item, f"{path}[{at}]", errors)
    if node.list_type != "atomic":
        _check_distinct(node, value, path, errors)


def _check_distinct(node: Structure, value: list[Any], path: str, errors: list[FieldError]) -> None:
    seen: set[bytes] = set()
    for at, item in enumerate(value):
        key = item
        if node.list_type == "map" and isinstance(item, dict):
            key = {name: item[name] for name in node.list_keys if name in item}
        encoded = msgspec.json.encode(key, order="sorted")
        if encoded in seen:
            errors.append(status.duplicate(f"{path}[{at}]", key))
        seen.add(encoded)


def _check_object(
    node: Structure, value: dict[str, Any], path: str, errors: list[FieldError], old: Mapping[str, Any]
) -> None:
    raw = node.raw
    prefix = f"{path}." if path else ""
    errors += [status.required(f"{prefix}{name}") for name in node.required if name not in value]
    if node.bounded:
        _check_properties(raw, value, path, errors)
    for name, item in value.items():
        declared = node.child(name)
        if declared is not None:
            validate(declared, item, f"{prefix}{name}", errors, old.get(name))


def _check_properties(raw: dict[str, Any], value: dict[str, Any], path: str, errors: list[FieldError]) -> None:
    limit = raw.get("maxProperties")
    if limit is not None and len(value) > limit:
        errors.append(status.too_many(path, len(value), limit))
    limit = raw.get("minProperties")
    if limit is not None and len(value) < limit:
        detail = f"{path} in body should have at least {limit} properties"
        errors.append(status.invalid_value(path, len(value), detail))


def _valid(node: Structure, value: Any) -> bool:
    found: list[FieldError] = []
    validate(node, value, "", found)
    return not found


def _check_logic(node: Structure, value: Any, path: str, errors: list[FieldError]) -> None:
    where = path or "<nil>"
    for part in node.all_of:
        validate(part, value, path, errors)
    if node.any_of and not any(_valid(part, value) for part in node.any_of):
        detail = f'"{path}" must validate at least one schema (anyOf)'
        errors.append(status.invalid_value(where, "", detail))
    if node.one_of:
        fitting = sum(_valid(part, value) for part in node.one_of)
        if fitting != 1:
            outcome = "Found none valid" if fitting == 0 else f"Found {fitting} valid alternatives"
            detail = f'"{path}" must validate one and only one schema (oneOf). {outcome}'
            errors.append(status.invalid_value(where, "", detail))
    if node.negated is not None and _valid(node.negated, value):
        errors.append(status.invalid_value(where, "", f'"{path}" must not validate the schema (not)'))

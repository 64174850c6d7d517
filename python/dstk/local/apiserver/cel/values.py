"""Values of expressions: equality and order by CEL's rules, optionals, and the names of types."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from dstk.local.apiserver.cel.failure import EvaluationError


@dataclass(frozen=True, slots=True)
class Optional:
    """`optional.of(value)`, or `optional.none()` when `present` is false."""

    value: Any = None
    present: bool = False


NONE = Optional()


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as a value: what `type(x)` gives."""

    name: str


_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    type(None): "null_type",
    datetime.datetime: "google.protobuf.Timestamp",
    datetime.timedelta: "google.protobuf.Duration",
    Optional: "optional_type",
    TypeName: "type",
}

TYPE_NAMES = {
    name: TypeName(name) for name in ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type")
}


def type_name(value: Any) -> str:
    return _TYPES.get(type(value), "dyn")


def is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def equal(left: Any, right: Any) -> bool:
    """CEL's `==`: numbers compare across int and double; a bool is never a number."""
    if type(left) is type(right):
        if type(left) is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if type(left) is dict:
            return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
        return bool(left == right)
    return is_number(left) and is_number(right) and bool(left == right)


def no_overload(operator: str, *operands: Any) -> EvaluationError:
    types = ", ".join(type_name(operand) for operand in operands)
    return EvaluationError(f"no such overload: {operator}({types})")


def less(left: Any, right: Any, operator: str = "<") -> bool:
    if type(left) is type(right) or (is_number(left) and is_number(right)):
        try:
            return bool(left < right)
        except TypeError:
            pass
    raise no_overload(f"_{operator}_", left, right)

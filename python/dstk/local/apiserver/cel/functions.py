"""The functions of expressions, by name: each takes evaluated arguments, the receiver first.

Longer than 400 lines: a list of small functions, in the order of the specification.
"""

from __future__ import annotations

import datetime
import itertools
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from dstk.local.apiserver.cel.failure import EvaluationError
from dstk.local.apiserver.cel.values import NONE, Optional, TypeName, equal, is_number, less, no_overload, type_name

_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_INT_RANGE = range(-(2**63), 2**63)


@cache
def regex(pattern: str) -> re.Pattern[str]:
    """`pattern` in RE2's meaning: ASCII classes, and `$` only at the very end.

    Raises EvaluationError for a pattern that is none.
    """
    out: list[str] = []
    in_class = False
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            escaped = pattern[at : at + 2]
            out.append(r"\Z" if escaped == r"\z" else escaped)
            at += 2
            continue
        if char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        out.append(r"\Z" if char == "$" and not in_class and not pattern.startswith("(?m)") else char)
        at += 1
    try:
        return re.compile("".join(out), re.ASCII)
    except re.error as error:
        raise EvaluationError(f"error parsing regexp: {error}: `{pattern}`") from None


def _text(value: Any, function: str) -> str:
    if not isinstance(value, str):
        raise no_overload(function, value)
    return value


def _list(value: Any, function: str) -> list[Any]:
    if not isinstance(value, list):
        raise no_overload(function, value)
    return value


def size(value: Any) -> int:
    if type(value) in (str, bytes, list, dict):
        return len(value)
    raise no_overload("size", value)


def matches(text: Any, pattern: Any) -> bool:
    return regex(_text(pattern, "matches")).search(_text(text, "matches")) is not None


def find(text: Any, pattern: Any) -> str:
    found = regex(_text(pattern, "find")).search(_text(text, "find"))
    return found.group() if found else ""


def find_all(text: Any, pattern: Any, limit: int = -1) -> list[str]:
    found = [match.group() for match in regex(_text(pattern, "findAll")).finditer(_text(text, "findAll"))]
    return found if limit < 0 else found[:limit]


def contains(value: Any, part: Any) -> bool:
    return _text(part, "contains") in _text(value, "contains")


def starts_with(value: Any, part: Any) -> bool:
    return _text(value, "startsWith").startswith(_text(part, "startsWith"))


def ends_with(value: Any, part: Any) -> bool:
    return _text(value, "endsWith").endswith(_text(part, "endsWith"))


def char_at(text: Any, index: Any) -> str:
    whole = _text(text, "charAt")
    if not 0 <= index <= len(whole):
        raise EvaluationError(f"index out of range: {index}")
    return whole[index : index + 1]


def index_of(value: Any, part: Any, start: int = 0) -> int:
    if type(value) is str:
        return value.find(_text(part, "indexOf"), start)
    items = _list(value, "indexOf")
    return next((at for at, item in enumerate(items) if equal(item, part)), -1)


def last_index_of(value: Any, part: Any) -> int:
    if type(value) is str:
        return value.rfind(_text(part, "lastIndexOf"))
    items = _list(value, "lastIndexOf")
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], part)), -1)


def substring(text: Any, start: Any, end: Any = None) -> str:
    whole = _text(text, "substring")
    stop = len(whole) if end is None else end
    if not 0 <= start <= stop <= len(whole):
        raise EvaluationError(f"index out of range: {start}:{stop}")
    return whole[start:stop]


def replace(text: Any, old: Any, new: Any, limit: int = -1) -> str:
    return _text(text, "replace").replace(old, new, limit)


def split(text: Any, separator: Any, limit: int = -1) -> list[str]:
    whole = _text(text, "split")
    if limit == 0:
        return []
    if separator == "":
        return list(whole) if limit < 0 else [*whole[: limit - 1], whole[limit - 1 :]]
    return whole.split(separator, limit - 1 if limit > 0 else -1)


def join(items: Any, separator: str = "") -> str:
    try:
        return separator.join(_list(items, "join"))
    except TypeError:
        raise no_overload("join", items, separator) from None


def _ascii_case(text: Any, function: str, change: Callable[[str], str]) -> str:
    whole = _text(text, function)
    return change(whole) if whole.isascii() else "".join(change(c) if c.isascii() else c for c in whole)


def reverse(value: Any) -> Any:
    return value[::-1] if type(value) in (str, list) else _text(value, "reverse")


_FORMAT_VERB = re.compile(r"%(?:\.(\d+))?([sdfexXob%])")


def format_text(template: Any, arguments: Any) -> str:
    given = iter(_list(arguments, "format"))

    def one(match: re.Match[str]) -> str:
        verb = match[2]
        if verb == "%":
            return "%"
        try:
            value = next(given)
        except StopIteration:
            raise EvaluationError("index out of range in format") from None
        if verb == "s":
            return to_string(value)
        if verb in "fe":
            return format(float(value), f".{match[1] or 6}{verb}")
        if verb in "xX" and type(value) in (str, bytes):
            digits = (value.encode() if type(value) is str else value).hex()
            return digits.upper() if verb == "X" else digits
        if not is_number(value):
            raise no_overload("format", value)
        return format(value, verb)

    return _FORMAT_VERB.sub(one, _text(template, "format"))


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode("utf-8")
        case float() if value.is_integer():
            return str(int(value))
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case datetime.timedelta():
            seconds = value.total_seconds()
            return f"{int(seconds) if seconds.is_integer() else seconds}s"
        case TypeName(name):
            return name
        case list():
            return "[" + ", ".join(to_string(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{to_string(k)}: {to_string(v)}" for k, v in value.items()) + "}"
        case None:
            return "null"
        case _:
            return str(value)


def to_int(value: Any) -> int:
    try:
        if isinstance(value, datetime.datetime):
            number = int(value.timestamp())
        elif isinstance(value, (str, int, float)):
            number = int(value)
        else:
            raise no_overload("int", value)
    except (ValueError, OverflowError) as error:
        raise EvaluationError(f"type conversion error: {error}") from None
    return checked(number)


def to_uint(value: Any) -> int:
    number = to_int(value)
    if number < 0:
        raise EvaluationError("range error: negative number as uint")
    return number


def to_double(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"type conversion error: {error}") from None


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if value in ("true", "TRUE", "True", "t", "1"):
        return True
    if value in ("false", "FALSE", "False", "f", "0"):
        return False
    raise EvaluationError(f"type conversion error from '{type_name(value)}' to 'bool'")


def duration(value: Any) -> datetime.timedelta:
    if isinstance(value, datetime.timedelta):
        return value
    text = _text(value, "duration")
    body = text.lstrip("+-")
    parts = _DURATION_PART.findall(body)
    if body != "0" and (not parts or "".join(number + unit for number, unit in parts) != body):
        raise EvaluationError(f'time: invalid duration "{text}"')
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    return datetime.timedelta(seconds=-seconds if text.startswith("-") else seconds)


def timestamp(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    if type(value) is int:
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    try:
        parsed = datetime.datetime.fromisoformat(_text(value, "timestamp"))
    except ValueError as error:
        raise EvaluationError(f"type conversion error: {error}") from None
    if parsed.tzinfo is None:
        raise EvaluationError(f'type conversion error: timestamp "{value}" has no zone')
    return parsed


def checked(number: int) -> int:
    if number not in _INT_RANGE:
        raise EvaluationError("integer overflow")
    return number


def is_sorted(items: Any) -> bool:
    items = _list(items, "isSorted")
    return not any(less(after, before) for before, after in itertools.pairwise(items))


def total(items: Any) -> Any:
    found = _list(items, "sum")
    if not found:
        return 0
    result = found[0]
    for item in found[1:]:
        result = result + item
    return result


def _extreme(items: Any, function: str, better: Callable[[Any, Any], bool]) -> Any:
    found = _list(items, function)
    if not found:
        raise EvaluationError(f"{function} called on empty list")
    best = found[0]
    for item in found[1:]:
        if better(item, best):
            best = item
    return best


def lowest(items: Any) -> Any:
    return _extreme(items, "min", less)


def highest(items: Any) -> Any:
    return _extreme(items, "max", lambda item, best: less(best, item))


def distinct(items: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list(items, "distinct"):
        if not any(equal(item, other) for other in found):
            found.append(item)
    return found


def flatten(items: Any, depth: int = 1) -> list[Any]:
    found: list[Any] = []
    for item in _list(items, "flatten"):
        if type(item) is list and depth > 0:
            found.extend(flatten(item, depth - 1))
        else:
            found.append(item)
    return found


def slice_list(items: Any, start: Any, end: Any) -> list[Any]:
    whole = _list(items, "slice")
    if not 0 <= start <= end <= len(whole):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(whole)}")
    return whole[start:end]


def sort(items: Any) -> list[Any]:
    try:
        return sorted(_list(items, "sort"))
    except TypeError:
        raise no_overload("sort", items) from None


def first(items: Any) -> Optional:
    return Optional(items[0], True) if _list(items, "first") else NONE


def last(items: Any) -> Optional:
    return Optional(items[-1], True) if _list(items, "last") else NONE


def optional_value(optional: Any) -> Any:
    if not isinstance(optional, Optional):
        raise no_overload("value", optional)
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _moment(getter: Callable[[datetime.datetime], int]) -> Callable[..., int]:
    def get(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, datetime.datetime):
            if zone != "UTC":
                import zoneinfo

                return getter(value.astimezone(zoneinfo.ZoneInfo(zone)))
            return getter(value.astimezone(datetime.UTC))
        raise no_overload("get", value)

    return get


def _part(unit: float, of_moment: Callable[[datetime.datetime], int]) -> Callable[..., int]:
    moment = _moment(of_moment)

    def get(value: Any, zone: str = "UTC") -> int:
        if isinstance(value, datetime.timedelta):
            return int(value.total_seconds() / unit)
        return moment(value, zone)

    return get


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": size,
    "matches": matches,
    "find": find,
    "findAll": find_all,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "charAt": char_at,
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "substring": substring,
    "replace": replace,
    "split": split,
    "join": join,
    "lowerAscii": lambda text: _ascii_case(text, "lowerAscii", str.lower),
    "upperAscii": lambda text: _ascii_case(text, "upperAscii", str.upper),
    "trim": lambda text: _text(text, "trim").strip(),
    "reverse": reverse,
    "format": format_text,
    "string": to_string,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "bool": to_bool,
    "bytes": lambda value: value.encode() if type(value) is str else value,
    "dyn": lambda value: value,
    "type": lambda value: TypeName(type_name(value)),
    "duration": duration,
    "timestamp": timestamp,
    "isSorted": is_sorted,
    "sum": total,
    "min": lowest,
    "max": highest,
    "distinct": distinct,
    "flatten": flatten,
    "slice": slice_list,
    "sort": sort,
    "first": first,
    "last": last,
    "hasValue": lambda optional: optional.present,
    "value": optional_value,
    "orValue": lambda optional, other: optional.value if optional.present else other,
    "or": lambda optional, other: optional if optional.present else other,
    "optional.of": lambda value: Optional(value, True),
    "optional.none": lambda: NONE,
    "optional.ofNonZeroValue": lambda value: Optional(value, True) if value else NONE,
    "math.greatest": lambda *values: highest(values[0] if type(values[0]) is list else list(values)),
    "math.least": lambda *values: lowest(values[0] if type(values[0]) is list else list(values)),
    "sets.contains": lambda outer, inner: all(any(equal(a, b) for b in outer) for a in inner),
    "sets.intersects": lambda left, right: any(any(equal(a, b) for b in right) for a in left),
    "sets.equivalent": lambda left, right: (
        all(any(equal(a, b) for b in right) for a in left) and all(any(equal(a, b) for b in left) for a in right)
    ),
    "getFullYear": _moment(lambda moment: moment.year),
    "getMonth": _moment(lambda moment: moment.month - 1),
    "getDate": _moment(lambda moment: moment.day),
    "getDayOfMonth": _moment(lambda moment: moment.day - 1),
    "getDayOfWeek": _moment(lambda moment: moment.isoweekday() % 7),
    "getDayOfYear": _moment(lambda moment: moment.timetuple().tm_yday - 1),
    "getHours": _part(3600.0, lambda moment: moment.hour),
    "getMinutes": _part(60.0, lambda moment: moment.minute),
    "getSeconds": _part(1.0, lambda moment: moment.second),
    "getMilliseconds": _part(0.001, lambda moment: moment.microsecond // 1000),
}

NAMESPACES = frozenset(name.split(".")[0] for name in FUNCTIONS if "." in name) | {"cel"}

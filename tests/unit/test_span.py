"""One form of a range, wherever an object's text and a worker's bytes meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstk.api import KeyRange
from dstk.api.span import range_of, same_range, span_of
from dstk.errors import InvalidRange, InvalidRequest
from dstk.keys import format_bound
from dstk.span import Span

LENGTHS = st.integers(1, 5)
BYTES = st.binary(max_size=5)


@given(LENGTHS, BYTES, BYTES)
def test_what_an_object_says_is_what_its_worker_says_of_it(length: int, low: bytes, high: bytes) -> None:
    """A worker knows a range by bounds of the whole key length, the lowest too (rust/core, Bounds::padded)."""
    low, high = low[:length].ljust(length, b"\0"), high[:length].ljust(length, b"\0")
    for start, end in ((low, high), (low, b""), (bytes(length), b""), (bytes(length), high)):
        if end and start >= end:
            continue
        held = Span(start, end)
        for spelled in (format_bound(start), "0x" + start.hex(), "" if not any(start) else format_bound(start)):
            assert span_of(KeyRange(start=spelled, end=format_bound(end)), length) == held
        assert span_of(range_of(held), length) == held


@given(LENGTHS, BYTES, BYTES)
def test_however_a_range_is_spelled_it_is_the_same(length: int, low: bytes, high: bytes) -> None:
    short, long = KeyRange(start=format_bound(low), end=format_bound(high)), KeyRange(start=_hex(low), end=_hex(high))
    try:
        span_of(short, 5)
    except InvalidRequest:
        return
    assert same_range(short, long)
    assert same_range(short, KeyRange(start=_hex(low + b"\0"), end=_hex(high and high + b"\0")))


@given(LENGTHS, st.binary(min_size=1, max_size=5))
def test_all_keys_are_in_the_range_from_zeros_on(length: int, key: bytes) -> None:
    key = key[:length].ljust(length, b"\0")
    assert Span(bytes(length), b"").holds(key)
    assert Span(bytes(length), b"") == Span()


def test_bounds_that_are_not_padded_alike_are_refused() -> None:
    with pytest.raises(InvalidRange, match="1 and 4 bytes"):
        Span(b"a", b"b\0\0\0")


def _hex(bound: bytes) -> str:
    return "0x" + bound.hex() if bound else ""

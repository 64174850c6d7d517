"""Spans of the ranges that objects have, as text."""

from __future__ import annotations

from functools import lru_cache

from dstk.api.partition import KeyRange
from dstk.errors import InvalidRange
from dstk.keys import MAX_KEY_LENGTH, format_bound, parse_bound
from dstk.span import Span

__all__ = ["range_of", "same_range", "span_of"]


def span_of(key_range: KeyRange, key_length: int) -> Span:
    """The range in bytes. Raises InvalidRequest for bounds longer than the keys, bad hex, or start not below end."""
    return _parsed(key_range.start, key_range.end, key_length)


def range_of(span: Span) -> KeyRange:
    """The inverse of :func:`span_of`, with each bound in its shortest form."""
    return KeyRange(start=format_bound(span.start), end=format_bound(span.end))


def same_range(one: KeyRange, other: KeyRange) -> bool:
    """Whether both have the same keys, however they spell it. Raises InvalidRequest as :func:`span_of` does."""
    return one == other or span_of(one, MAX_KEY_LENGTH) == span_of(other, MAX_KEY_LENGTH)


@lru_cache(maxsize=1 << 17)
def _parsed(start: str, end: str, key_length: int) -> Span:
    """Kept, since ranges are immutable and every look at 10,000 Partitions asks for the same ones again."""
    low, high = parse_bound(start, key_length), parse_bound(end, key_length)
    if high and (low or bytes(key_length)) >= high:
        raise InvalidRange(f'range start "{start}" is not below end "{end}"')
    return Span(low, high)

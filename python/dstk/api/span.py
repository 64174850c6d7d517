"""Span: the range of a Partition in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dstk.api.partition import KeyRange
from dstk.errors import InvalidRange
from dstk.keys import format_bound, parse_bound

__all__ = ["Span", "span_of"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The keys k with start <= k < end. Empty ``start``: no lower bound; empty ``end``: no upper one."""

    start: bytes
    end: bytes

    def holds(self, key: bytes) -> bool:
        """Whether the key is in the span."""
        return self.start <= key and (not self.end or key < self.end)

    def meets(self, other: Span) -> bool:
        """Whether some key is in both."""
        return (not other.end or self.start < other.end) and (not self.end or other.start < self.end)

    def __str__(self) -> str:
        return f"[{format_bound(self.start) or '-∞'}, {format_bound(self.end) or '+∞'})"


def span_of(key_range: KeyRange, key_length: int) -> Span:
    """The range in bytes. Raises InvalidRequest for bounds longer than the keys, bad hex, or start not below end."""
    return _parsed(key_range.start, key_range.end, key_length)


@lru_cache(maxsize=1 << 17)
def _parsed(start: str, end: str, key_length: int) -> Span:
    """Kept, since ranges are immutable and every look at 10,000 Partitions asks for the same ones again."""
    low, high = parse_bound(start, key_length), parse_bound(end, key_length)
    if high and low >= high:
        raise InvalidRange(f'range start "{start}" is not below end "{end}"')
    return Span(low, high)

"""Span: the range of a Partition in bytes."""

from __future__ import annotations

from dataclasses import dataclass

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
    start, end = parse_bound(key_range.start, key_length), parse_bound(key_range.end, key_length)
    if end and start >= end:
        raise InvalidRange(f'range start "{key_range.start}" is not below end "{key_range.end}"')
    return Span(start, end)

"""Span: a range of keys in bytes, in the one form in which ranges of objects and of workers are compared."""

from __future__ import annotations

from dataclasses import dataclass

from dstk.errors import InvalidRange
from dstk.keys import format_bound

__all__ = ["Span"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The keys k with start <= k < end. Empty ``start``: no lower bound; empty ``end``: no upper one.

    A bound of zero bytes alone is no lower bound: an object says "" where a worker says as many zeros as keys are long,
    and both are the same Span. Raises InvalidRange for bounds of two lengths: one of them is not padded to the keys'.
    """

    start: bytes = b""
    end: bytes = b""

    def __post_init__(self) -> None:
        if self.start and self.end and len(self.start) != len(self.end):
            raise InvalidRange(
                f"range {self} has bounds of {len(self.start)} and {len(self.end)} bytes; pad both to the key length"
            )
        if self.start and not any(self.start):
            object.__setattr__(self, "start", b"")

    def holds(self, key: bytes) -> bool:
        """Whether the key is in the span."""
        return self.start <= key and (not self.end or key < self.end)

    def overlaps(self, other: Span) -> bool:
        """Whether some key is in both."""
        return (not other.end or self.start < other.end) and (not self.end or other.start < self.end)

    def __str__(self) -> str:
        return f"[{format_bound(self.start) or '-∞'}, {format_bound(self.end) or '+∞'})"

"""Coverage: which keys some ranges cover, for one look-up a question."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from dstk.span import Span

__all__ = ["Coverage"]


class Coverage:
    """The union of ranges, as disjoint spans in key order."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans: list[Span] = []
        for span in sorted(spans):
            if self._spans and self._spans[-1].overlaps(span):
                last = self._spans[-1]
                end = max(last.end, span.end) if last.end and span.end else b""
                self._spans[-1] = Span(last.start, end)
            else:
                self._spans.append(span)
        self._starts = [span.start for span in self._spans]

    def overlaps(self, span: Span) -> bool:
        """Whether some key of the span is covered."""
        at = bisect_right(self._starts, span.start)
        return any(other.overlaps(span) for other in self._spans[max(0, at - 1) : at + 1])

    def add(self, span: Span) -> None:
        """Covers a span of which nothing is covered yet."""
        at = bisect_right(self._starts, span.start)
        self._starts.insert(at, span.start)
        self._spans.insert(at, span)

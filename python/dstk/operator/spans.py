"""Which Partitions have a key in a range: an index of all Partition objects, overlapping ones included."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from dstk.api import Keyspace, Partition
from dstk.api.span import span_of
from dstk.errors import InvalidRequest
from dstk.kube import Cache
from dstk.span import Span

__all__ = ["KeyspaceSpans", "Spans"]

_End = tuple[bool, bytes]
"""An end that sorts: (True, b"") is +∞."""
_FEW, _SHARE = 16, 64
"""Ranges that change before all are put in order again: so many, and one in so many."""


class KeyspaceSpans:
    """Ranges of one keyspace: those of a while ago in the order of their starts, and the few that came since.

    ``_reach[i]`` is the highest end of the first i + 1 of them: where it is below the range looked for, no earlier one
    can meet it. They are put in order again when much has changed; one that is gone, or has other bounds now, is passed
    over until then.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[bytes, _End]] = {}
        self._sorted: list[tuple[bytes, _End, str]] = []
        self._starts: list[bytes] = []
        self._reach: list[_End] = []
        self._recent: set[str] = set()
        self._changes = 0
        self._gaps: list[Span] | None = None
        """None: something has changed since they were looked for."""

    def put(self, name: str, start: bytes, end: bytes) -> None:
        """Note the range [start, end); an empty end is +∞."""
        self._by_name[name] = (start, (not end, end))
        self._recent.add(name)
        self._changes += 1
        self._gaps = None

    def drop(self, name: str) -> None:
        """Forget the range of that name, if there is one."""
        if self._by_name.pop(name, None) is not None:
            self._recent.discard(name)
            self._changes += 1
            self._gaps = None

    def overlapping(self, start: bytes, end: bytes) -> Iterator[str]:
        """Names of the ranges with a key in [start, end), in no order; an empty end is +∞."""
        if self._changes > _FEW + len(self._by_name) // _SHARE:
            self._sort()
        for name in self._recent:
            first, last = self._by_name[name]
            if (not end or first < end) and last > (False, start):
                yield name
        begin = bisect_left(self._starts, end) if end else len(self._sorted)
        for i in range(begin - 1, -1, -1):
            if self._reach[i] <= (False, start):
                return
            first, last, name = self._sorted[i]
            if last > (False, start) and name not in self._recent and self._by_name.get(name) == (first, last):
                yield name

    def gaps(self, most: int) -> list[Span]:
        """The first `most` ranges of keys that no range has; O(n log n) for n ranges after a change, else O(1)."""
        if self._gaps is None:
            gaps, reached = list[Span](), (False, b"")
            for start, end in sorted(self._by_name.values()):
                if reached < (False, start):
                    gaps.append(Span(reached[1], start))
                reached = max(reached, end)
            if not reached[0]:
                gaps.append(Span(reached[1]))
            self._gaps = gaps
        return self._gaps[:most]

    def _sort(self) -> None:
        self._sorted = sorted((start, end, name) for name, (start, end) in self._by_name.items())
        self._starts = [start for start, _, _ in self._sorted]
        self._reach = list(accumulate((end for _, end, _ in self._sorted), max))
        self._recent, self._changes = set(), 0


class Spans:
    """Follows the caches. Partitions whose bounds make no sense, or whose Keyspace is unknown, meet nothing."""

    def __init__(self, keyspaces: Cache[Keyspace], partitions: Cache[Partition]) -> None:
        self._keyspaces = keyspaces
        self._partitions = partitions
        self._spans: dict[str, KeyspaceSpans] = {}
        keyspaces.on_change(self._on_keyspace)
        partitions.on_change(self._on_partition)

    def overlapping(self, keyspace: str, start: bytes, end: bytes) -> list[str]:
        """Names of the Partitions of the keyspace with a key in [start, end); an empty end is +∞."""
        spans = self._spans.get(keyspace)
        return sorted(spans.overlapping(start, end)) if spans is not None else []

    def gaps(self, keyspace: str, most: int = 3) -> list[Span]:
        """The first ranges of its keys that no Partition has."""
        spans = self._spans.get(keyspace)
        return spans.gaps(most) if spans is not None else []

    def _on_keyspace(self, old: Keyspace | None, new: Keyspace | None) -> None:
        if new is None:
            assert old is not None
            self._spans.pop(old.metadata.name, None)
        elif old is None:
            for partition in self._partitions.by("keyspace", new.metadata.name).values():
                self._on_partition(None, partition)

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        if old is not None and new is not None and old.metadata.uid == new.metadata.uid:
            return
        if old is not None and (spans := self._spans.get(old.spec.keyspace)) is not None:
            spans.drop(old.metadata.name)
        if new is None or (keyspace := self._keyspaces.get(new.spec.keyspace)) is None:
            return
        try:
            span = span_of(new.spec.range, keyspace.spec.key_length)
        except InvalidRequest:
            return
        spans = self._spans.setdefault(new.spec.keyspace, KeyspaceSpans())
        spans.put(new.metadata.name, span.start, span.end)

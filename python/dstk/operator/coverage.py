"""Keys that belong to no Partition, though their Keyspace was cut."""

from __future__ import annotations

from collections.abc import Callable

from dstk.api import Keyspace
from dstk.api.span import range_of
from dstk.operator.cluster import KEYSPACE, Cluster
from dstk.operator.spans import Spans
from dstk.plan import is_cut

__all__ = ["GAP_SECONDS", "Coverage"]

GAP_SECONDS = 10.0
"""A gap is named once it has been there for so long: somebody may be about to fill it."""

NAMED = 3
"""Gaps that are named."""

FEW = 2_000
"""Of more Partitions gaps are looked for less often: that takes a millisecond a thousand."""


class Coverage:
    """Names the gaps of Keyspaces that were cut and have Partitions. Where they are to be is for somebody to say."""

    def __init__(self, cluster: Cluster, spans: Spans, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._spans = spans
        self._now = now
        self._since: dict[str, float] = {}
        self._looked: dict[str, float] = {}

    def look(self) -> dict[str, str]:
        """A sentence for each Keyspace with gaps."""
        now, found = self._now(), dict[str, str]()
        there = self._cluster.keyspaces.items.keys()
        self._since = {name: since for name, since in self._since.items() if name in there}
        self._looked = {name: looked for name, looked in self._looked.items() if name in there}
        for keyspace in self._cluster.keyspaces:
            name = keyspace.metadata.name
            if message := self._gaps(keyspace, now):
                since = self._since.setdefault(name, now)
                if now - since >= GAP_SECONDS:
                    found[name] = message
            else:
                self._since.pop(name, None)
        return found

    def _gaps(self, keyspace: Keyspace, now: float) -> str:
        name = keyspace.metadata.name
        count = len(self._cluster.partitions.by(KEYSPACE, name))
        if not count or not is_cut(keyspace) or not keyspace.spec.partitions.count:
            return ""
        if count > FEW and now - self._looked.get(name, float("-inf")) < GAP_SECONDS and name not in self._since:
            return ""
        self._looked[name] = now
        gaps = self._spans.gaps(name, NAMED + 1)
        if not gaps:
            return ""
        named = ", ".join(str(range_of(gap)) for gap in gaps[:NAMED])
        more = " and others" if len(gaps) > NAMED else ""
        return f"no Partition has the keys {named}{more}: create Partitions with these ranges"

"""The whole routing table, encoded once for every worker that has to be told all of it."""

from __future__ import annotations

import asyncio
from itertools import islice

from dstk.api import Keyspace, Partition
from dstk.api.span import span_of
from dstk.errors import InvalidRequest
from dstk.operator.cluster import KEYSPACE, Cluster
from dstk.operator.losses import Losses
from dstk.wire import EncodedRoutes, Route

__all__ = ["RouteTable", "route_of"]

SLICE = 500
"""Routes that are made before others may run: a hundred thousand at once would keep a lease from being renewed."""
CHANGED_SHARE = 8
"""When more than this part of it has changed, it is made anew for the next that asks."""


class RouteTable:
    """What the caches say. It is made anew when much has changed; until then, what has changed is told with it."""

    def __init__(self, cluster: Cluster, losses: Losses) -> None:
        self._cluster = cluster
        self._losses = losses
        self._made: EncodedRoutes | None = None
        self._since: dict[str, tuple[str, int]] = {}
        self._making = asyncio.Lock()
        self._version = 0

    def mark(self, partition: Partition) -> None:
        """The Partition has changed."""
        if self._made is None and not self._making.locked():
            return
        self._since[partition.metadata.name] = (partition.spec.keyspace, partition.spec.epoch)
        if self._made is not None and len(self._since) > len(self._made) // CHANGED_SHARE:
            self._made, self._since = None, {}

    def forget(self) -> None:
        """A Keyspace has come or gone, or other rows are lost."""
        self._made = None
        self._version += 1

    async def everything(self) -> tuple[EncodedRoutes, dict[str, tuple[str, int]]]:
        """The table, and Partitions that have changed since it was made: keyspace and epoch by name."""
        async with self._making:
            while self._made is None:
                await self._make()
            return self._made, dict(self._since)

    async def _make(self) -> None:
        self._since, version, made = {}, self._version, EncodedRoutes()
        for keyspace in list(self._cluster.keyspaces):
            name = keyspace.metadata.name
            made.begin(name, keyspace.spec.key_length, self._losses.of(name))
            partitions = iter(list(self._cluster.partitions.by(KEYSPACE, name).values()))
            while some := list(islice(partitions, SLICE)):
                made.add(route for each in some if (route := route_of(each, keyspace)) is not None)
                await asyncio.sleep(0)
        self._made = made if version == self._version else None


def route_of(partition: Partition, keyspace: Keyspace) -> Route | None:
    """The table's entry of a Partition. None when it says nothing about who owns its keys now."""
    spec = partition.spec
    if spec.merged_away:
        return None
    try:
        span = span_of(spec.range, keyspace.spec.key_length)
    except InvalidRequest:
        return None
    return Route(partition.metadata.name, span.start, span.end, spec.epoch, spec.primary or "")

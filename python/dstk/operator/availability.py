"""Writes on Partitions whether their worker can be reached: within seconds, once a change, and in bounded numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from dstk.api import Partition, standing, to_dict
from dstk.errors import ApiError, DstkError
from dstk.lifecycle.availability import Availability, availability
from dstk.operator.cluster import AWAY, PRIMARY, Cluster
from dstk.operator.metrics import Metrics
from dstk.operator.workers import WorkerLinks
from dstk.operator.writes import difference

__all__ = ["AvailabilityReporter"]

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often it is looked at who is away: a silence begins without anybody saying so."""
LOOKING_SHARE = 10
"""Looking may take one part in so many of the time, however many partitions a worker that is away has."""
BATCH = 500
"""Partitions that are written before the workers are looked at again: one that is back should not be told last."""


class AvailabilityReporter:
    """Has each Partition say ``unavailable`` while its worker is silent or gone, and ``ready`` when it is back.

    A write is for the version of the object that was judged: whoever changes its owner meanwhile wins, and what a write
    does to somebody's commit is a conflict, after which that one looks again.
    """

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        metrics: Metrics,
        writes: asyncio.Semaphore,
        leads: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._metrics = metrics
        self._writes = writes
        self._leads = leads

    async def run(self) -> None:
        """For ever."""
        while True:
            started = self._cluster.clock.monotonic()
            changes = list(self._changes())
            took = self._cluster.clock.monotonic() - started
            if changes and self._leads():
                await asyncio.gather(*(self._write(partition, change) for partition, change in changes[:BATCH]))
            away = self._cluster.partitions
            self._metrics.unavailable.set(sum(len(away.by(AWAY, name)) for name in away.keys(AWAY)))
            if len(changes) <= BATCH:
                await asyncio.sleep(max(LOOK_SECONDS, took * LOOKING_SHARE))

    def _changes(self) -> Iterator[tuple[Partition, Availability]]:
        partitions = self._cluster.partitions
        for name in list(partitions.keys(PRIMARY)):
            if not name:
                continue
            presence, link = self._workers.presence(name), self._workers.get(name)
            loads = link.loads if link is not None else {}
            # All of a worker that is away; of one that answers only what says that it is not there.
            for partition in partitions.by(PRIMARY if presence.away else AWAY, name).values():
                load = loads.get(partition.metadata.name)
                served_in = load.epoch if load is not None and load.role == "primary" else None
                change = availability(partition, presence, served_in)
                if change is not None:
                    yield partition, change

    async def _write(self, partition: Partition, change: Availability) -> None:
        meta, status = partition.metadata, partition.status
        now = self._cluster.clock.now().replace(microsecond=0)
        conditions = standing.of_partition(status.conditions, change.phase, now, change.reason, change.message)
        new = replace(status, phase=change.phase, conditions=conditions)
        patch = difference(to_dict(status), to_dict(new))
        try:
            async with self._writes:
                written = await self._cluster.partitions.objects.patch_status(
                    meta.name, patch, resource_version=meta.resource_version
                )
        except ApiError as error:
            # Changed or deleted meanwhile: the next look sees to it.
            if error.status not in (404, 409):
                log.info("partition %s cannot be said to be %s: %s", meta.name, change.phase.value, error)
            return
        except DstkError as error:
            log.info("partition %s cannot be said to be %s: %s", meta.name, change.phase.value, error)
            return
        self._cluster.partitions.learn(written)

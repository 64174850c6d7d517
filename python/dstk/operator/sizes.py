"""Writes on each Partition how much it holds and how busy it is, as its primary reports it: seldom, and only what tells
something new."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterator

from dstk.api import Partition, PartitionStatus
from dstk.control.views import Load
from dstk.errors import ApiError, DstkError
from dstk.operator.cluster import Cluster
from dstk.operator.settings import OperatorSettings
from dstk.operator.workers import WorkerLinks

__all__ = ["SizeReporter", "off_by"]

log = logging.getLogger(__name__)

TOLERANCE = 0.1
"""A size that is off by less than this share is left as it is."""
RATE_TOLERANCE = 0.3
"""The same for a rate, which is never twice the same."""
LEAST_OPERATIONS, LEAST_BYTES = 2.0, 1000.0
"""A difference of less than so much per second is none."""

SEQUENCE_SECONDS = 300.0
"""Of a partition that is written to without growing, the sequence is written so often. What the worker's disk has to
have is known better, and for all its partitions at once: see ``disks.py``."""


class SizeReporter:
    """Keeps ``status.rows`` and ``status.bytes`` within a tenth of what the workers hold, and the rates within a third;
    with them, the sequence.

    Partitions with an Assignment under way are left alone: what commits there is conditional on the object's version.
    """

    def __init__(self, cluster: Cluster, workers: WorkerLinks, settings: OperatorSettings) -> None:
        self._cluster = cluster
        self._workers = workers
        self._interval = settings.size_interval
        self._at_once = settings.max_sizes
        self._written: dict[str, float] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._interval)
            for _, worker, load in heapq.nlargest(self._at_once, self._off(), key=lambda item: item[0]):
                try:
                    await self._write(worker, load)
                except DstkError as error:
                    log.info("the size of partition %s was not written: %s", load.partition, error)
                    break

    def _off(self) -> Iterator[tuple[float, str, Load]]:
        for link in self._workers:
            for load in link.loads.values():
                partition = self._settled(link.name, load)
                if partition is None:
                    continue
                far = off_by(partition.status, load)
                if far > 1 or self._is_behind(partition, load):
                    yield far, link.name, load

    def _is_behind(self, partition: Partition, load: Load) -> bool:
        """Whether its sequence has grown, and was not written for long."""
        ago = self._cluster.clock.monotonic() - self._written.get(load.partition, -SEQUENCE_SECONDS)
        return self._sequence(partition, load) > partition.status.sequence and ago >= SEQUENCE_SECONDS

    def _sequence(self, partition: Partition, load: Load) -> int:
        """What the status is to say: with Memory nothing, as a restart begins anew; else what it was at the most."""
        keyspace = self._cluster.keyspaces.get(partition.spec.keyspace)
        durable = keyspace is not None and keyspace.spec.durable
        return max(partition.status.sequence, load.sequence) if durable else 0

    def _settled(self, worker: str, load: Load) -> Partition | None:
        """The Partition that the load is about, if nothing is happening to it."""
        partition = self._cluster.partitions.get(load.partition)
        if partition is None or load.role != "primary":
            return None
        if (partition.spec.primary, partition.spec.epoch) != (worker, load.epoch):
            return None
        return None if any(self._cluster.unfinished(load.partition)) else partition

    async def _write(self, worker: str, load: Load) -> None:
        partition = self._settled(worker, load)
        if partition is None:
            return
        sizes = {
            "rows": load.rows,
            "bytes": load.bytes,
            "operationsPerSecond": round(load.operations_per_second),
            "bytesPerSecond": round(load.bytes_per_second),
        }
        if sequence := self._sequence(partition, load):
            sizes["sequence"] = sequence
        self._written[load.partition] = self._cluster.clock.monotonic()
        try:
            written = await self._cluster.partitions.objects.patch_status(
                load.partition, sizes, resource_version=partition.metadata.resource_version
            )
        except ApiError as error:
            # Changed or deleted meanwhile: the next look sees to it.
            if error.status in (404, 409):
                return
            raise
        self._cluster.partitions.learn(written)


def off_by(status: PartitionStatus, load: Load) -> float:
    """How far the status is from what is there, in tolerances: whichever of sizes and rates is furthest."""
    sizes = ((status.rows, load.rows), (status.bytes, load.bytes))
    rates = (
        (status.operations_per_second, load.operations_per_second, LEAST_OPERATIONS),
        (status.bytes_per_second, load.bytes_per_second, LEAST_BYTES),
    )
    far = [abs(said - held) / max(held, 1) / TOLERANCE for said, held in sizes]
    far += [abs(said - held) / max(held, 1) / RATE_TOLERANCE for said, held, least in rates if abs(said - held) > least]
    return max(far)

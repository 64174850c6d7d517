"""Marks Partitions that nobody can serve as they stand: they overlap another, or their bounds do not fit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from dstk.api import Partition, PartitionPhase, PartitionStatus, standing
from dstk.api.conditions import condition, with_condition
from dstk.api.validation import Refusal, check_partition
from dstk.errors import ApiError
from dstk.kube import is_not_found
from dstk.operator import lines
from dstk.operator.cluster import PARTITIONS, PRIMARY, Cluster, reference
from dstk.operator.spans import Spans
from dstk.operator.writes import write_status

__all__ = ["PartitionMarks"]

log = logging.getLogger(__name__)


class PartitionMarks:
    """Of Partitions that nobody owns yet: one that is served fits."""

    def __init__(self, cluster: Cluster, spans: Spans, writes: asyncio.Semaphore, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._spans = spans
        self._writes = writes
        self._now = now
        self._checked: set[str] = set()
        """UIDs of those that nothing is wrong with."""

    def changed(self) -> list[Coroutine[Any, Any, None]]:
        """The writes that put the mark on those that need it, and take it off where what was wrong is gone."""
        cluster = self._cluster
        changed: list[Coroutine[Any, Any, None]] = []
        for partition in list(cluster.partitions.by(PRIMARY, "").values()):
            invalid = partition.status.phase is PartitionPhase.INVALID
            if partition.metadata.uid in self._checked and not invalid:
                continue
            known, over = cluster.partitions.items, self._spans.overlapping
            refusal = check_partition(partition, cluster.keyspaces.items, over, known)
            if refusal is None:
                self._checked.add(partition.metadata.uid)
            if (refusal is not None) != invalid:
                changed.append(self._mark(partition, refusal))
        if len(self._checked) > 2 * len(cluster.partitions) + 1000:
            self._checked &= {partition.metadata.uid for partition in cluster.partitions}
        return changed

    async def _mark(self, partition: Partition, refusal: Refusal | None) -> None:
        phase = PartitionPhase.UNASSIGNED if refusal is None else PartitionPhase.INVALID
        reason, message = ("Valid", "") if refusal is None else (refusal.reason, refusal.message)
        generation = partition.metadata.generation
        said = condition(self._now(), Partition.INVALID, refusal is not None, reason, message, generation)

        def change(old: PartitionStatus) -> PartitionStatus:
            conditions = with_condition(old.conditions, said)
            conditions = standing.of_partition(conditions, phase, said.last_transition_time)
            return replace(old, phase=phase, conditions=conditions)

        try:
            marked = await write_status(self._cluster.partitions, partition, change, self._writes)
        except ApiError as error:
            if not is_not_found(error):
                raise
            return
        if refusal is not None:
            self._cluster.events.record(reference(PARTITIONS, marked), "Warning", refusal.reason, refusal.message)
            log.warning(lines.of_partition(marked, Partition.INVALID, refusal.reason, refusal.message))

"""Whether a partition can be reached: what its object says of that, from what is known of its primary's worker."""

from __future__ import annotations

from dataclasses import dataclass

from dstk.api import Partition, PartitionPhase
from dstk.api.conditions import find
from dstk.api.standing import READY

__all__ = ["WORKER_GONE", "WORKER_SILENT", "Availability", "Presence", "availability", "is_away"]

WORKER_SILENT = "WorkerSilent"
WORKER_GONE = "WorkerGone"


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of a worker. `away`: why nobody can be served by it, "" when it answers, in life `incarnation`."""

    away: str = ""
    incarnation: str = ""


@dataclass(frozen=True, slots=True)
class Availability:
    """What the object is to say."""

    phase: PartitionPhase
    reason: str = ""
    message: str = ""


def is_away(partition: Partition) -> bool:
    """Whether the object says that its worker is silent or gone."""
    condition = find(partition.status.conditions, READY)
    away = condition is not None and condition.reason in (WORKER_SILENT, WORKER_GONE)
    return away and partition.status.phase is PartitionPhase.UNAVAILABLE


def availability(partition: Partition, worker: Presence, served_in: int | None) -> Availability | None:
    """What the object is to say instead of what it does; None: nothing else. `served_in`: the epoch in which the worker
    reports to be its primary.

    Only what was said to be served becomes unavailable. It becomes ready again by itself only in the life in which it
    was confirmed: what another life has is looked at by ``recover`` first.
    """
    status, name = partition.status, partition.spec.primary
    if worker.away:
        said = find(status.conditions, READY)
        outdated = is_away(partition) and (said is None or said.reason != worker.away)
        if status.phase is not PartitionPhase.READY and not outdated:
            return None
        messages = {
            WORKER_SILENT: f"pod {name} does not answer; it is served again when it does",
            WORKER_GONE: f"there is no pod {name} any more",
        }
        return Availability(PartitionPhase.UNAVAILABLE, worker.away, messages[worker.away])
    confirmed = worker.incarnation == status.incarnation and served_in == partition.spec.epoch
    if is_away(partition) and confirmed:
        return Availability(PartitionPhase.READY)
    return None

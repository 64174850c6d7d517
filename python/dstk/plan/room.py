"""Room: which workers a partition fits into, by what they say is free and by who has refused one a short while ago."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dstk.api import Assignment, AssignmentPhase
from dstk.plan.cluster import Load, Worker

__all__ = ["ELSEWHERE", "Refusal", "Room", "refusals"]

REFUSED_SECONDS = 60.0
"""A worker that had no room is not asked again for so long, for what is as big."""
SILENT_SECONDS = 10.0
"""One that did not answer is given nothing for so long."""
GROWTH = 10
"""A partition may grow by one part in so many while it is copied."""

ELSEWHERE = {"NoRoom": REFUSED_SECONDS, "DestinationSilent": SILENT_SECONDS, "WorkerSilent": SILENT_SECONDS}
"""Reasons of an abort that lie with the worker that was chosen, and for how long it is not chosen again. The partition
may be tried elsewhere at once."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`worker` did not take `partition` a short while ago."""

    worker: str
    partition: str
    reason: str


def refusals(ended: Iterable[tuple[float, Assignment]], now: float) -> list[Refusal]:
    """Those that still count at `now`, of Assignments with the moment at which they have ended."""
    found = []
    for moment, assignment in ended:
        status, spec = assignment.status, assignment.spec
        if status.phase is not AssignmentPhase.ABORTED or status.reason not in ELSEWHERE:
            continue
        worker = spec.move_params.to if spec.move_params else spec.new_params.primary if spec.new_params else None
        if worker is not None and now - moment < ELSEWHERE[status.reason]:
            found += [Refusal(worker, name, status.reason) for name in spec.partitions]
    return found


def needed(load: Load | None) -> int:
    """Bytes that have to be free for a partition."""
    size = load.size if load is not None else 0
    return size + size // GROWTH


class Room:
    """What is free on the workers, less what is proposed.

    `towards`: partitions on their way to a worker, which may not have been told of them yet.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        loads: Mapping[str, Load],
        towards: Mapping[str, str],
        refused: Iterable[Refusal],
    ) -> None:
        self._free = {worker.name: worker.room for worker in workers if worker.room is not None}
        copies = {worker.name: worker.copies for worker in workers}
        for partition, worker in towards.items():
            if partition not in copies.get(worker, ()):
                self.take(worker, loads.get(partition))
        self._refused: dict[str, int] = {}
        """The smallest size that each worker has refused."""
        for each in refused:
            size = needed(loads.get(each.partition)) if each.reason == "NoRoom" else 0
            self._refused[each.worker] = min(size, self._refused.get(each.worker, size))

    def take(self, worker: str, load: Load | None) -> None:
        """Something comes to the worker."""
        if worker in self._free:
            self._free[worker] -= needed(load)

    def fits(self, worker: str, load: Load | None) -> bool:
        """Whether the worker has room for a partition and has not just refused one that is as big."""
        size = needed(load)
        refused, free = self._refused.get(worker), self._free.get(worker)
        return (refused is None or size < refused) and (free is None or size <= free)

    def is_open(self, worker: str) -> bool:
        """Whether the worker takes partitions without rows: it has room for some."""
        free = self._free.get(worker)
        return self._refused.get(worker) != 0 and (free is None or free > 0)

    def why_not(self, load: Load | None, workers: Iterable[str]) -> str:
        """Why none of the workers takes it."""
        size = needed(load)
        said = []
        for worker in workers:
            free = self._free.get(worker)
            if free is not None and size > free:
                said.append(f"{worker} has room for {max(0, free)}")
            else:
                said.append(f"{worker} has refused one as big")
        return f"no worker has room for {size} bytes: {', '.join(said) or 'there is none'}"

"""New: partitions that nobody serves get their worker. One, or very many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from dstk.api import NewParams, NewStatus, OnLoss, Partition, PartitionPhase, Step
from dstk.api.losses import is_accepted
from dstk.control.views import WorkerView
from dstk.lifecycle.actions import Action, Parallel, Record, SetPartitionStatus
from dstk.lifecycle.children import epoch_after_loss
from dstk.lifecycle.operation import (
    ADMISSION,
    Operation,
    cancelled,
    late,
    serving,
    silent,
    silent_for_long,
    uncertain,
)
from dstk.lifecycle.transitions import Transitions, always, at, effect, guard

__all__ = ["New"]

LOADING, COMPLETED = Step.LOADING, Step.COMPLETED


class New(Operation):
    """Facts about partitions that get a worker."""

    field = "new"

    @property
    def params(self) -> NewParams:
        params = self.assignment.spec.new_params
        assert params is not None
        return params

    @property
    def host(self) -> WorkerView:
        return self.worker(self.params.primary)

    @property
    def workers(self) -> Sequence[WorkerView]:
        return (self.host,)

    @cached_property
    def objects(self) -> list[Partition]:
        """Those that are still there, in the order given."""
        found = (self.observed.partitions.get(name) for name in self.params.names)
        # What the host's disk has lost waits for a person, or for the disk.
        return [each for each in found if each is not None and each.metadata.name not in self.host.older]

    def free(self, partition: Partition) -> bool:
        """Nobody owns it, or whoever did is gone with its rows."""
        owner = partition.spec.primary
        if not owner:
            return True
        former = self.worker(owner)
        given_up = self.observed.keyspace.spec.on_loss is OnLoss.RECREATE or is_accepted(partition)
        return owner != self.host.name and self.is_lost(former) and given_up

    @cached_property
    def unowned(self) -> list[Partition]:
        """Those that still have to be committed."""
        return [partition for partition in self.objects if self.free(partition)]

    @cached_property
    def committed(self) -> list[Partition]:
        """Those that belong to the worker, which does not serve them yet."""
        return [
            partition
            for partition in self.objects
            if partition.spec.primary == self.host.name
            and partition.status.phase != PartitionPhase.READY
            and serving(self.host, partition, partition.metadata.name) is None
        ]

    @cached_property
    def unreported(self) -> list[Partition]:
        """Those that the worker serves and whose object does not say so yet."""
        return [
            partition
            for partition in self.objects
            if partition.spec.primary == self.host.name
            and partition.status.phase != PartitionPhase.READY
            and serving(self.host, partition, partition.metadata.name) is not None
        ]

    @property
    def owned(self) -> int:
        """How many belong to the worker."""
        return sum(partition.spec.primary == self.host.name for partition in self.objects)

    def detail(self, step: Step, ended_badly: bool = False) -> NewStatus:
        return NewStatus(status=step)

    def note(self, step: Step | None) -> str:
        total = len(self.params.names)
        if total == 1 or step is None:
            return ""
        served = total if step is COMPLETED else self.owned - len(self.committed)
        return f"{served} of {total} partitions served"

    def explain(self, reason: str) -> tuple[str, str]:
        match reason:
            case "WorkerLost":
                return reason, f"pod {self.host.name} is gone; another Assignment can name another pod"
            case "WorkerSilent":
                limit = f"destination_silent_seconds ({self.limits.destination_silent_seconds:g} s)"
                return (
                    reason,
                    f"pod {self.host.name} has not answered for {limit}; another Assignment can name another pod",
                )
            case "PartitionChanged":
                return reason, "none of the partitions has an object and is without an owner any more"
            case "Cancelled" if self.owned:
                return reason, f"deleted; {self.owned} of {len(self.params.names)} partitions have their worker"
        return super().explain(reason)


@guard
def all_served(n: New) -> bool:
    return bool(n.owned) and not (n.unowned or n.committed or n.unreported)


@guard
def none_left(n: New) -> bool:
    """All of them are deleted, or somebody else's."""
    return not (n.owned or n.unowned)


@guard
def worker_lost(n: New) -> bool:
    """There is no such pod. One that was restarted takes the partitions in its new life, or has them by now."""
    return n.is_lost(n.host) and not n.host.incarnation


@guard
def worker_silent_too_long(n: New) -> bool:
    """It has not answered for destination_silent_seconds."""
    return n.silent_seconds(n.host) >= n.limits.destination_silent_seconds


@guard
def none_owned(n: New) -> bool:
    """None of the partitions belongs to the worker yet."""
    return not n.owned


@guard
def some_committed(n: New) -> bool:
    return bool(n.committed or n.unreported)


def _ready(n: New, partition: Partition) -> SetPartitionStatus:
    return SetPartitionStatus(partition.metadata.name, PartitionPhase.READY, n.host.incarnation)


def _loss(n: New, partition: Partition) -> tuple[Action, ...]:
    """What is to be said of a partition whose former owner is gone with its rows."""
    former, name = partition.spec.primary, partition.metadata.name
    if not former or not partition.status.was_served:
        return ()
    gone = "the pod of {} is gone" if n.worker(former).gone else "{} is silent and its lease has run out"
    message = f"{gone.format(former)}, and with it the rows; {n.host.name} serves it from empty"
    lost = Partition.DATA_LOST
    return (
        SetPartitionStatus(name, PartitionPhase.LOADING, "", lost, "WorkerGone", message),
        Record("Warning", lost, message, name),
    )


@effect
def serve_committed(n: New) -> Iterable[Action]:
    """In another epoch: an earlier life of the worker may have served it in this one, and have lost what it wrote."""
    lanes: list[tuple[Action, ...]] = []
    for partition in n.committed:
        epoch = partition.spec.epoch + 1
        own = n.patch(partition, primary=n.host.name, proxy="", epoch=epoch)
        lanes.append((own, n.serve(n.host, partition, epoch), _ready(n, partition)))
    lanes += [(_ready(n, partition),) for partition in n.unreported]
    yield Parallel(tuple(lanes[: n.limits.chunk]))


@effect
def commit_and_serve(n: New) -> Iterable[Action]:
    lanes: list[tuple[Action, ...]] = []
    for partition in n.unowned[: n.limits.chunk]:
        epoch = epoch_after_loss(partition.spec.epoch)
        own = n.patch(partition, primary=n.host.name, proxy="", epoch=epoch)
        lanes.append((*_loss(n, partition), own, n.serve(n.host, partition, epoch), _ready(n, partition)))
    yield Parallel(tuple(lanes))


@effect
def withdraw(n: New) -> Iterable[Action]:
    """Nobody may own what nobody serves: the partition is free for another try."""
    lanes: list[tuple[Action, ...]] = []
    for partition in n.committed:
        free = n.patch(partition, primary="", proxy="", epoch=partition.spec.epoch + 1)
        lanes.append((free, SetPartitionStatus(partition.metadata.name, PartitionPhase.UNASSIGNED)))
    if lanes:
        yield Parallel(tuple(lanes))


New.table = Transitions(
    *ADMISSION,
    at(LOADING).when(uncertain).wait("the outcome of a commit"),
    at(LOADING).when(none_left).abort("PartitionChanged"),
    at(LOADING).when(all_served).go(COMPLETED),
    at(LOADING).when(worker_lost).do(withdraw).abort("WorkerLost"),
    at(LOADING).when(worker_silent_too_long & none_owned).abort("WorkerSilent"),
    at(LOADING).when(silent_for_long).stall("WorkerUnreachable"),
    at(LOADING).when(silent).wait("the worker"),
    at(LOADING).when(late).do(withdraw).abort("DeadlineExceeded"),
    at(LOADING).when(some_committed).do(serve_committed).go(LOADING),
    at(LOADING).when(cancelled).abort("Cancelled"),
    at(LOADING).when(always).do(commit_and_serve).go(LOADING),
)

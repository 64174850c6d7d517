"""InWorkerSplit: one partition becomes several in the worker that holds it, in one flip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from dstk.api import Partition, PartitionPhase, Progress, Role, SplitParams, SplitStatus, Step
from dstk.api.span import range_of
from dstk.control.commands import Split, Unfence
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, CreatePartition, DeletePartition, SetPartitionStatus
from dstk.lifecycle.byhand import of_piece
from dstk.lifecycle.children import Child, children_of
from dstk.lifecycle.losses import worst_of
from dstk.lifecycle.operation import ADMISSION, Operation, cancelled, late, serving, silent, silent_for_long
from dstk.lifecycle.transitions import Transitions, always, at, effect, guard

__all__ = ["Splitting"]

LOADING, FOLLOWING, COMPLETED = Step.LOADING, Step.FOLLOWING, Step.COMPLETED


class Splitting(Operation):
    """Facts about a split."""

    field = "split"

    @property
    def params(self) -> SplitParams:
        params = self.assignment.spec.split_params
        assert params is not None
        return params

    @property
    def name(self) -> str:
        return self.params.partition

    @property
    def parent(self) -> Partition | None:
        return self.observed.partitions.get(self.name)

    @property
    def object(self) -> Partition:
        """The parent, where a guard has seen to it that there is one."""
        assert self.parent is not None
        return self.parent

    @cached_property
    def planned(self) -> tuple[Child, ...]:
        """The children in key order; none once the parent is gone."""
        return children_of(self.assignment, self.parent, self.observed.keyspace)

    @property
    def names(self) -> tuple[str, ...]:
        if self.planned:
            return tuple(child.name for child in self.planned)
        status = self.assignment.status.split
        return self.params.names or (tuple(sorted(status.splits)) if status is not None else ())

    @property
    def children(self) -> list[Partition]:
        """The objects of children that are there."""
        found = (self.observed.partitions.get(name) for name in self.names)
        return [child for child in found if child is not None]

    @property
    def host(self) -> WorkerView:
        """The worker in which all of this happens."""
        owners = [each.spec.primary for each in (self.parent, *self.children) if each is not None]
        return self.worker(next((owner for owner in owners if owner), self.holder(self.names)))

    @property
    def workers(self) -> Sequence[WorkerView]:
        return (self.host,)

    @property
    def held(self) -> PartitionView | None:
        """The parent at its worker, when the worker answers."""
        return self.host.parts.get(self.name) if self.host.reachable else None

    @property
    def born(self) -> list[PartitionView]:
        """The children at their worker, when the worker answers; those of an earlier life are not meant."""
        parts = self.host.parts if self.host.reachable else {}
        found = (parts.get(name) for name in self.names)
        above = self.parent.spec.epoch if self.parent is not None else 0
        return [part for part in found if part is not None and part.role == "primary" and part.epoch > above]

    @property
    def epoch(self) -> int:
        """What the children get."""
        return self.object.spec.epoch + 1

    def detail(self, step: Step, ended_badly: bool = False) -> SplitStatus:
        names = self.names
        if ended_badly:
            splits = dict.fromkeys(names, Role.DISCONNECTED)
        elif step is COMPLETED:
            return SplitStatus(status=step, from_part=Role.DISCONNECTED, splits=dict.fromkeys(names, Role.PRIMARY))
        else:
            splits = dict.fromkeys(names, Role.FOLLOWING)
            if step is LOADING and names:
                splits[names[0]] = Role.LOADING
        return SplitStatus(status=step, from_part=Role.PRIMARY, splits=splits)

    def create_born(self) -> Iterable[Action]:
        """Objects for the children that the worker has, and that have none."""
        host, keyspace = self.host, self.observed.keyspace.metadata.name
        for name in self.names:
            part = host.parts.get(name) if host.reachable else None
            if part is not None and part.role == "primary" and name not in self.observed.partitions:
                range_ = range_of(part.span)
                yield CreatePartition(name, keyspace, range_.start, range_.end, host.name, part.epoch, host.incarnation)

    def progress(self) -> Progress | None:
        if not self.born:
            return None
        pause = max(part.last_pause_seconds for part in self.born)
        return Progress(
            rows_copied=sum(part.rows for part in self.born),
            bytes_copied=sum(part.bytes for part in self.born),
            bytes_total=sum(part.bytes for part in self.born),
            write_pause_ms=pause * 1000,
        )

    def explain(self, reason: str) -> tuple[str, str]:
        match reason:
            case "PartitionChanged":
                return reason, f"{self.name} has no object or no owner any more; nothing was cut"
            case "WorkerLost":
                return reason, f"{self.host.name} no longer holds {self.name}: its pod is gone or has restarted"
            case "NameTaken":
                taken = ", ".join(child.name for child in self.clashes)
                return reason, f"Partition {taken} exists with another range; delete it or give other names"
        return super().explain(reason)

    @property
    def clashes(self) -> list[Child]:
        """Children whose name belongs to a Partition of another range."""
        found = ((child, self.observed.partitions.get(child.name)) for child in self.planned)
        return [child for child, object_ in found if object_ is not None and self.span(object_) != child.span]


@guard
def flipped(s: Splitting) -> bool:
    """The worker has cut it, or some operator has already seen that it had."""
    parent = s.parent
    if s.born:
        return True
    return any(parent is None or child.spec.epoch > parent.spec.epoch for child in s.children)


@guard
def name_taken(s: Splitting) -> bool:
    return bool(s.clashes)


@guard
def parent_unowned(s: Splitting) -> bool:
    return s.parent is None or not s.parent.spec.primary


@guard
def parent_lost(s: Splitting) -> bool:
    """Its worker is gone, or answers and does not hold it."""
    if not s.host.reachable:
        return s.is_lost(s.host)
    return s.held is None or s.held.role != "primary"


@guard
def parent_behind(s: Splitting) -> bool:
    """The worker has not yet confirmed the epoch that the object says."""
    return serving(s.host, s.parent, s.name) is None


@guard
def parent_fenced(s: Splitting) -> bool:
    return s.held is not None and s.held.fenced


@guard
def sealed(s: Splitting) -> bool:
    """The worker refuses what older operators may still send."""
    return s.sealed(s.host)


@effect
def confirm_parent(s: Splitting) -> Iterable[Action]:
    yield s.serve(s.host, s.object, s.object.spec.epoch)


@effect
def unfence(s: Splitting) -> Iterable[Action]:
    return s.lift(s.host, s.held, s.object)


@effect
def seal(s: Splitting) -> Iterable[Action]:
    yield s.tell(s.host, s.name, s.object.spec.epoch, Unfence())


@effect
def cut(s: Splitting) -> Iterable[Action]:
    keys = tuple(upper.span.start for _, upper in pairwise(s.planned))
    command = Split(s.object.spec.epoch, keys, s.names)
    yield s.tell(s.host, s.name, s.epoch, command)


@effect
def create_children(s: Splitting) -> Iterable[Action]:
    """One of an earlier life, which may be gone while it is still seen, makes room.

    Once the parent is gone, its spelling of the bounds and its epoch are: they are the worker's then.
    """
    if s.parent is None:
        yield from s.create_born()
    for index, child in enumerate(s.planned):
        known = s.observed.partitions.get(child.name)
        if known is not None and known.spec.epoch < s.epoch:
            yield DeletePartition(child.name, known.metadata.uid)
        if known is None or known.spec.epoch < s.epoch:
            yield CreatePartition(
                child.name, s.object.spec.keyspace, child.range.start, child.range.end,
                s.host.name, s.epoch, s.host.incarnation, of_piece(s.assignment, s.object, index),
                worst_of([s.object]),
            )  # fmt: skip
        elif known.status.phase is None:
            # Whoever created it had not come to that.
            yield SetPartitionStatus(child.name, PartitionPhase.READY, s.host.incarnation)


@effect
def delete_parent(s: Splitting) -> Iterable[Action]:
    if s.parent is not None:
        yield DeletePartition(s.name, s.parent.metadata.uid)


def before_flip() -> Any:
    """The steps at which the parent still serves, unless the worker says otherwise."""
    return at(LOADING, FOLLOWING)


Splitting.table = Transitions(
    *ADMISSION,
    # The flip has happened: only forward, whether the worker still lives or not.
    before_flip().when(flipped & name_taken).stall("NameTaken"),
    before_flip().when(flipped).do(create_children, delete_parent).go(COMPLETED),
    # It has not: whatever goes wrong, the parent serves on.
    before_flip().when(parent_unowned).abort("PartitionChanged"),
    before_flip().when(parent_lost).abort("WorkerLost"),
    before_flip().when(silent_for_long).stall("WorkerUnreachable"),
    before_flip().when(silent).wait("the worker"),
    before_flip().when((cancelled | late | name_taken) & ~sealed).do(seal).stay(),
    before_flip().when(cancelled).abort("Cancelled"),
    before_flip().when(late).abort("DeadlineExceeded"),
    before_flip().when(name_taken).abort("NameTaken"),
    before_flip().when(parent_behind).do(confirm_parent).stay(),
    before_flip().when(parent_fenced).do(unfence).stay(),
    # The trees are shared until they differ, so loading and following take no time.
    at(LOADING).when(always).go(FOLLOWING),
    at(FOLLOWING).when(always).do(cut).stay(),
)

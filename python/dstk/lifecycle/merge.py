"""InWorkerMerge: several partitions of one worker become one, in one flip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from dstk.api import MergeParams, MergeStatus, Partition, PartitionPhase, Progress, Role, Step
from dstk.api.span import range_of, span_of
from dstk.control.commands import Merge, MergePart, Unfence
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, CreatePartition, DeletePartition, SetPartitionStatus
from dstk.lifecycle.byhand import of_whole
from dstk.lifecycle.children import in_key_order, merged_name, whole_of
from dstk.lifecycle.losses import worst_of
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

__all__ = ["Merging"]

LOADING, FOLLOWING, PROXYING, COMPLETED = Step.LOADING, Step.FOLLOWING, Step.PROXYING, Step.COMPLETED

ROLES = {
    Step.LOADING: (Role.LOADING, Role.PRIMARY),
    Step.FOLLOWING: (Role.FOLLOWING, Role.PRIMARY),
    Step.PROXYING: (Role.PRIMARY, Role.PROXY),
    Step.COMPLETED: (Role.PRIMARY, Role.DISCONNECTED),
}
"""mergedPart and each of subParts, at each step."""


class Merging(Operation):
    """Facts about a merge."""

    field = "merge"

    @property
    def params(self) -> MergeParams:
        params = self.assignment.spec.merge_params
        assert params is not None
        return params

    @cached_property
    def parts(self) -> list[Partition]:
        """The objects of parts that are there, in key order."""
        found = (self.observed.partitions.get(name) for name in self.params.partitions)
        return in_key_order([part for part in found if part is not None], self.observed.keyspace)

    @cached_property
    def name(self) -> str:
        """Of the merged partition; empty when it can no longer be told and no longer matters."""
        parts = [self.observed.partitions.get(name) for name in self.params.partitions]
        return merged_name(self.assignment, parts, self.observed.keyspace)

    @property
    def merged(self) -> Partition | None:
        return self.observed.partitions.get(self.name)

    @property
    def host(self) -> WorkerView:
        """The worker in which all of this happens."""
        objects = [each for each in (*self.parts, self.merged) if each is not None]
        owners = [each.spec.primary or each.spec.proxy for each in objects]
        return self.worker(next((owner for owner in owners if owner), self.holder((self.name,))))

    @property
    def workers(self) -> Sequence[WorkerView]:
        return (self.host,)

    def held(self, name: str) -> PartitionView | None:
        """A part, or the merged partition, at the worker, when the worker answers."""
        return self.host.parts.get(name) if self.host.reachable else None

    @property
    def joined(self) -> PartitionView | None:
        """The merged partition at its worker, when the worker answers; one of an earlier life is not meant."""
        held = self.held(self.name)
        above = all(held.epoch > part.spec.epoch for part in self.parts) if held is not None else False
        return held if held is not None and held.role == "primary" and above else None

    @property
    def epoch(self) -> int:
        """What the merged partition gets: above every part's, so that it covers them in the routing table."""
        return max(part.spec.epoch for part in self.parts) + 1

    def detail(self, step: Step, ended_badly: bool = False) -> MergeStatus:
        """With a name that nobody gave from FOLLOWING on: the parts have one epoch by then, and may go later."""
        merged, part = (Role.DISCONNECTED, Role.PRIMARY) if ended_badly else ROLES[step]
        unnamed = self.params.name is None and step is not LOADING and not ended_badly
        parts = dict.fromkeys(self.params.partitions, part)
        return MergeStatus(
            status=step, merged_part=merged, sub_parts=parts, name=(self.name or None) if unnamed else None
        )

    def create(self) -> CreatePartition:
        """The merged partition's object: spelled as its parts are; as the worker has it once one of them is gone."""
        keyspace, host, joined = self.observed.keyspace, self.host, self.joined
        if len(self.parts) == len(self.params.partitions) or joined is None:
            whole, epoch = whole_of(self.parts, keyspace), self.epoch
        else:
            whole = range_of(joined.span)
            epoch = joined.epoch
        return CreatePartition(
            self.name, keyspace.metadata.name, whole.start, whole.end, host.name, epoch, host.incarnation,
            of_whole(self.parts), worst_of(self.parts),
        )  # fmt: skip

    def progress(self) -> Progress | None:
        merged = self.held(self.name)
        if merged is None:
            return None
        return Progress(
            rows_copied=merged.rows,
            bytes_copied=merged.bytes,
            bytes_total=merged.bytes,
            write_pause_ms=merged.last_pause_seconds * 1000,
        )

    def explain(self, reason: str) -> tuple[str, str]:
        match reason:
            case "PartitionChanged":
                wrong = [name for name in self.params.partitions if not _owned(self, name)]
                return reason, f"{', '.join(wrong)}: no object, or not on {self.host.name} any more; nothing was joined"
            case "WorkerLost":
                lost = [name for name in self.params.partitions if self.held(name) is None]
                return reason, f"{self.host.name} no longer holds {', '.join(lost)}: its pod is gone or has restarted"
            case "NameTaken":
                return reason, f"Partition {self.name} exists with another range; delete it or give another name"
        return super().explain(reason)


def _owned(m: Merging, name: str) -> bool:
    part = m.observed.partitions.get(name)
    return part is not None and part.spec.primary == m.host.name


@guard
def flipped(m: Merging) -> bool:
    """The worker has joined them, or some operator has already seen that it had; parts may be gone since."""
    merged = m.merged
    return m.joined is not None or (merged is not None and all(merged.spec.epoch > part.spec.epoch for part in m.parts))


@guard
def name_taken(m: Merging) -> bool:
    merged = m.merged
    if merged is None or len(m.parts) < len(m.params.partitions):
        return False
    whole = span_of(whole_of(m.parts, m.observed.keyspace), m.key_length)
    return m.span(merged) != whole


@guard
def part_unowned(m: Merging) -> bool:
    return not all(_owned(m, name) for name in m.params.partitions)


@guard
def part_lost(m: Merging) -> bool:
    """The worker is gone, or answers and does not hold one of them."""
    if not m.host.reachable:
        return m.is_lost(m.host)
    views = [m.held(name) for name in m.params.partitions]
    return any(view is None or view.role != "primary" for view in views)


@guard
def parts_uneven(m: Merging) -> bool:
    """One is of a lower epoch than another: were it lost now, it would come back in the epoch of the merged one."""
    return len({part.spec.epoch for part in m.parts}) > 1


@guard
def part_behind(m: Merging) -> bool:
    """The worker has not yet confirmed an epoch that an object says."""
    return any(serving(m.host, part, part.metadata.name) is None for part in m.parts)


@guard
def part_fenced(m: Merging) -> bool:
    views = [m.held(name) for name in m.params.partitions]
    return any(view is not None and view.fenced for view in views)


@guard
def sealed(m: Merging) -> bool:
    """The worker refuses what older operators may still send."""
    return m.sealed(m.host)


@effect
def level_parts(m: Merging) -> Iterable[Action]:
    """To the epoch of the highest. What is served from empty after a loss is then above what they are merged into."""
    highest = max(part.spec.epoch for part in m.parts)
    for part in m.parts:
        if part.spec.epoch < highest:
            yield m.patch(part, primary=m.host.name, proxy="", epoch=highest)


@effect
def confirm_parts(m: Merging) -> Iterable[Action]:
    for part in m.parts:
        if serving(m.host, part, part.metadata.name) is None:
            yield m.serve(m.host, part, part.spec.epoch)


@effect
def unfence(m: Merging) -> Iterable[Action]:
    for part in m.parts:
        yield from m.lift(m.host, m.held(part.metadata.name), part)


@effect
def seal(m: Merging) -> Iterable[Action]:
    for part in m.parts:
        yield m.tell(m.host, part.metadata.name, part.spec.epoch, Unfence())


@effect
def join(m: Merging) -> Iterable[Action]:
    parts = tuple(MergePart(part.metadata.name, part.spec.epoch) for part in m.parts)
    span = span_of(whole_of(m.parts, m.observed.keyspace), m.key_length)
    yield m.tell(m.host, m.name, m.epoch, Merge(parts, span.start, span.end))


@effect
def create_merged(m: Merging) -> Iterable[Action]:
    """One of an earlier life, which may be gone while it is still seen, makes room."""
    outlived = m.merged is not None and bool(m.parts) and m.merged.spec.epoch < m.epoch
    if m.merged is not None and outlived:
        yield DeletePartition(m.name, m.merged.metadata.uid)
    if m.merged is None or outlived:
        yield m.create()
    elif m.merged.status.phase is None:
        # Whoever created it had not come to that.
        yield SetPartitionStatus(m.name, PartitionPhase.READY, m.host.incarnation)


@effect
def parts_proxy(m: Merging) -> Iterable[Action]:
    for part in m.parts:
        if part.spec.primary:
            yield m.patch(part, primary="", proxy=m.host.name, epoch=part.spec.epoch)
            yield SetPartitionStatus(part.metadata.name, PartitionPhase.PROXYING, m.host.incarnation)


@effect
def delete_parts(m: Merging) -> Iterable[Action]:
    """One that has an owner in an epoch above the merged one's is of a later life."""
    for part in m.parts:
        if part.spec.primary and (m.merged is None or part.spec.epoch > m.merged.spec.epoch):
            continue
        yield DeletePartition(part.metadata.name, part.metadata.uid)


def before_flip() -> Any:
    """The steps at which the parts still serve, unless the worker says otherwise."""
    return at(LOADING, FOLLOWING)


Merging.table = Transitions(
    *ADMISSION,
    at(LOADING, FOLLOWING, PROXYING).when(uncertain).wait("the outcome of a patch"),
    # The flip has happened: only forward, whether the worker still lives or not.
    before_flip().when(flipped & name_taken).stall("NameTaken"),
    before_flip().when(flipped).do(create_merged, parts_proxy).go(PROXYING),
    # It has not: whatever goes wrong, the parts serve on.
    before_flip().when(part_unowned).abort("PartitionChanged"),
    before_flip().when(part_lost).abort("WorkerLost"),
    before_flip().when(silent_for_long).stall("WorkerUnreachable"),
    before_flip().when(silent).wait("the worker"),
    before_flip().when((cancelled | late | name_taken) & ~sealed).do(seal).stay(),
    before_flip().when(cancelled).abort("Cancelled"),
    before_flip().when(late).abort("DeadlineExceeded"),
    before_flip().when(name_taken).abort("NameTaken"),
    before_flip().when(parts_uneven).do(level_parts).stay(),
    before_flip().when(part_behind).do(confirm_parts).stay(),
    before_flip().when(part_fenced).do(unfence).stay(),
    # The trees are shared until they differ, so loading and following take no time.
    at(LOADING).when(always).go(FOLLOWING),
    at(FOLLOWING).when(always).do(join).stay(),
    # Stale clients reach the same worker, which routes by key: nothing has to be passed on.
    at(PROXYING).when(always).do(delete_parts).go(COMPLETED),
)

"""Carries out what the life cycle decided: one method a kind of action, no decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import reduce
from typing import Any

from msgspec.structs import replace

from dstk import faults
from dstk.api import (
    KEYSPACE_LABEL,
    Assignment,
    AssignmentPhase,
    AssignmentStatus,
    Condition,
    ConditionStatus,
    KeyRange,
    Partition,
    PartitionPhase,
    PartitionStatus,
    standing,
    to_dict,
)
from dstk.api.conditions import find, with_condition
from dstk.api.history import PastOperation, aborted, completed, inherited, with_operation
from dstk.api.span import same_range
from dstk.control import commands
from dstk.control.commands import Request
from dstk.control.views import PartitionView
from dstk.errors import ApiError, OutcomeUnknown, Unavailable
from dstk.kube import Term, is_conflict, is_not_found
from dstk.lifecycle import actions
from dstk.lifecycle.disks import held_since
from dstk.lifecycle.outcome import CommitUncertain, Outcome
from dstk.operator import lines
from dstk.operator.cluster import ASSIGNMENTS, PARTITIONS, Cluster, reference
from dstk.operator.metrics import Metrics
from dstk.operator.workers import WorkerLinks
from dstk.operator.writes import difference, write_status

__all__ = ["ActionExecutor"]

log = logging.getLogger(__name__)


class ActionExecutor:
    """The only writer of objects and the only caller of workers in the reconciler.

    ``term()`` is what every call to a worker carries. ``writes`` bounds the API writes in flight. ``leads`` says if
    this operator still may act: one that was paused for longer than its lease lasts does nothing more.
    """

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        metrics: Metrics,
        term: Term,
        writes: asyncio.Semaphore,
        on_commit: Callable[[Partition], None],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._metrics = metrics
        self._term = term
        self._writes = writes
        self._on_commit = on_commit
        self._leads = leads
        self._untold: dict[str, tuple[PastOperation, ...]] = {}
        """What Partitions, by their UID, are to remember with the next thing that is written of them, oldest first."""

    async def carry_out(self, assignment: Assignment | None, action: actions.Action, outcome: Outcome) -> None:
        """Carry out one action other than Wait and Parallel.

        Raises DstkError when it failed, Unavailable without the lease.
        ``assignment`` is None when a worker is brought up to date, which no Assignment asks for.
        """
        if not self._leads():
            raise Unavailable("the lease was not renewed in time; another operator may be leading")
        try:
            if faults.armed is None:
                await self._carry_out(assignment, action, outcome)
                return
            name, subject = actions.name_of(action), _subject(assignment, action)
            await faults.reach(f"operator.before-{name}", subject)
            await self._carry_out(assignment, action, outcome)
            await faults.reach(f"operator.after-{name}", subject)
        except OutcomeUnknown as error:
            if isinstance(action, actions.Commit):
                raise CommitUncertain(str(error)) from error
            raise

    async def _carry_out(self, assignment: Assignment | None, action: actions.Action, outcome: Outcome) -> None:
        match action:
            case actions.Tell():
                await self._tell(action, outcome)
            case actions.Commit():
                await self._commit(action, outcome)
            case actions.Touch():
                await self._touch(action, outcome)
            case actions.CreatePartition():
                await self._create(assignment, action, outcome)
            case actions.DeletePartition():
                await self._delete(action, outcome)
            case actions.SetPartitionStatus():
                await self._set_partition_status(assignment, action, outcome)
            case actions.SetStatus() if assignment is not None:
                await self._set_status(assignment, action.status)
            case actions.Record():
                self._record(assignment, action)
            case _:
                raise TypeError(f"{action!r} is not to be carried out")

    async def _tell(self, tell: actions.Tell, outcome: Outcome) -> None:
        request = Request(tell.incarnation, self._term(), tell.keyspace, tell.partition, tell.epoch, tell.command)
        states = await self._workers.tell(tell.worker, request)
        log.debug("%s: %s %s: %s", tell.worker, type(tell.command).__name__, tell.partition, states)
        named = [tell.partition]
        if isinstance(tell.command, commands.Merge):
            named += [part.partition for part in tell.command.parts]
        gone = {name: PartitionView("disconnected", tell.epoch) for name in named if name not in states}
        outcome.states.append((tell.worker, {**states, **gone}))

    async def _commit(self, commit: actions.Commit, outcome: Outcome) -> None:
        patch: dict[str, Any] = {
            "spec": {"primary": commit.primary or None, "proxy": commit.proxy or None, "epoch": commit.epoch}
        }
        if commit.annotations:
            patch["metadata"] = {"annotations": {key: value or None for key, value in commit.annotations}}
        try:
            async with self._writes:
                written = await self._cluster.partitions.objects.patch(
                    commit.partition, patch, resource_version=commit.resource_version
                )
        except ApiError as error:
            # An answer of 5xx can come from something in between, after the API server had done it.
            if error.status >= 500:
                raise CommitUncertain(str(error)) from error
            if is_conflict(error):
                # Even where it says just that: another operator may have had it served since, and in a life that ended.
                self._cluster.partitions.learn(await self._cluster.partitions.objects.get(commit.partition))
            if is_not_found(error):
                await self._miss(commit.partition, commit.resource_version)
            raise
        self._learn(written, outcome)
        self._on_commit(written)

    async def _miss(self, name: str, version: str) -> None:
        """The API server has no such Partition, though it is known here, and watches may say nothing of it for long."""
        known = self._cluster.partitions.get(name)
        await self._cluster.partitions.objects.list_page(limit=1)  # raises when it is the definition that is gone
        if known is not None and known.metadata.resource_version == version:
            self._cluster.partitions.lost(known)

    async def _touch(self, touch: actions.Touch, outcome: Outcome) -> None:
        # A merge patch that changes nothing moves no resourceVersion on, so an annotation says when.
        annotations = {"dstk.io/touched": self._cluster.clock.now().isoformat()}
        try:
            async with self._writes:
                written = await self._cluster.partitions.objects.patch(
                    touch.partition, {"metadata": {"annotations": annotations}}, resource_version=touch.resource_version
                )
        except ApiError as error:
            if is_not_found(error):
                await self._miss(touch.partition, touch.resource_version)
            raise
        self._learn(written, outcome)

    async def _create(self, assignment: Assignment | None, create: actions.CreatePartition, outcome: Outcome) -> None:
        partitions = self._cluster.partitions
        body = {
            "metadata": {
                "name": create.partition,
                "labels": {KEYSPACE_LABEL: create.keyspace},
                "annotations": dict((*held_since(create.epoch, create.incarnation), *create.annotations)),
            },
            "spec": {
                "keyspace": create.keyspace,
                "range": {"start": create.start, "end": create.end},
                "primary": create.primary,
                "epoch": create.epoch,
            },
        }
        try:
            async with self._writes:
                created = await partitions.objects.create(body)
        except (ApiError, OutcomeUnknown) as error:
            if isinstance(error, ApiError) and error.reason != "AlreadyExists":
                raise
            created = await partitions.objects.get(create.partition)
            outcome.stale = True
            spec = created.spec
            if not same_range(spec.range, KeyRange(start=create.start, end=create.end)) or spec.epoch < create.epoch:
                raise  # another's, or one of an earlier life that is about to go
        ready = actions.SetPartitionStatus(create.partition, PartitionPhase.READY, create.incarnation)
        parents = map(partitions.get, assignment.spec.partitions) if assignment is not None else ()
        before = inherited(parent.status.history for parent in parents if parent is not None)
        created = await self._change(assignment, created, ready, before, create.lost)
        self._learn(created, outcome)
        self._on_commit(created)

    async def _delete(self, delete: actions.DeletePartition, outcome: Outcome) -> None:
        try:
            async with self._writes:
                await self._cluster.partitions.objects.delete(delete.partition, uid=delete.uid)
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise
        outcome.written[delete.partition] = None
        self._untold.pop(delete.uid, None)

    async def _set_partition_status(
        self, assignment: Assignment | None, change: actions.SetPartitionStatus, outcome: Outcome
    ) -> None:
        partition = self._cluster.partitions.get(change.partition)
        if partition is None:
            return
        try:
            written = await self._change(assignment, partition, change)
        except ApiError as error:
            if is_not_found(error):
                return
            raise
        if written is not partition:
            outcome.stale = True

    async def _change(
        self,
        assignment: Assignment | None,
        partition: Partition,
        change: actions.SetPartitionStatus,
        before: tuple[PastOperation, ...] = (),
        lost: Condition | None = None,
    ) -> Partition:
        """Write it, with what is to be remembered.

        `before` is what one that has no history goes on with, `lost` the loss that what it was made of has to tell of.
        """
        now = self._now()
        past = self._untold.get(partition.metadata.uid, ())
        if assignment is not None and change.phase is PartitionPhase.READY and not change.condition:
            past = (*past, completed(assignment, now))

        def changed(old: PartitionStatus) -> PartitionStatus:
            new = _inherited(_changed(old, change, now), lost)
            if new is old or not (past or before):
                return new
            return replace(new, history=reduce(with_operation, past, old.history or before))

        written = await write_status(self._cluster.partitions, partition, changed, self._writes)
        if written is not partition:
            self._untold.pop(partition.metadata.uid, None)
            if change.condition:
                reason = change.reason or change.condition
                log.warning(lines.of_partition(written, change.condition, reason, change.message))
                self._metrics.on_condition(written.spec.keyspace, change.condition, reason)
        return written

    async def _remember_abort(self, assignment: Assignment, status: AssignmentStatus) -> None:
        """On its Partitions, before it ends: nothing else begins there until then.

        Where another one works on the Partition its commit would meet a version that has moved on, and a New may have
        hundreds: these remember it with what is written next.
        """
        if status.phase is not AssignmentPhase.ABORTED or assignment.status.phase is AssignmentPhase.ABORTED:
            return
        entry = aborted(assignment, status, self._now())
        for name in assignment.spec.partitions:
            partition = self._cluster.partitions.get(name)
            if partition is None:
                continue
            others = any(each.metadata.uid != assignment.metadata.uid for each in self._cluster.unfinished(name))
            if others or assignment.spec.new_params is not None:
                untold = self._untold.get(partition.metadata.uid, ())
                self._untold[partition.metadata.uid] = tuple(reversed(with_operation(reversed(untold), entry)))
                continue
            try:
                await write_status(
                    self._cluster.partitions,
                    partition,
                    lambda old: replace(old, history=with_operation(old.history, entry)),
                    self._writes,
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise

    async def _set_status(self, assignment: Assignment, status: AssignmentStatus) -> None:
        """Write what differs, provided that the Assignment still has the version which the decision was made from.

        So an operator that was deposed or paused meanwhile cannot write over its successor.
        """
        assignments = self._cluster.assignments
        name = assignment.metadata.name
        known = assignments.get(name)
        if known is None or known.metadata.uid != assignment.metadata.uid:
            return  # deleted: nobody is left to be told
        patch = difference(to_dict(assignment.status), to_dict(status))
        patch.pop("conditions", None)
        if patch.keys() <= {"observedGeneration"}:
            return
        generation = assignment.metadata.generation
        conditions = standing.of_assignment(assignment.status.conditions, status, generation, self._now())
        patch["observedGeneration"] = generation
        await self._remember_abort(assignment, status)
        if conditions != assignment.status.conditions:
            patch["conditions"] = [to_dict(each) for each in conditions]
        try:
            async with self._writes:
                written = await assignments.objects.patch_status(
                    name, patch, resource_version=assignment.metadata.resource_version
                )
        except ApiError as error:
            if is_not_found(error):
                return
            if is_conflict(error) and (live := await assignments.objects.find(name)) is not None:
                assignments.learn(live)
            raise
        assignments.learn(written)
        self._say_end(assignment, written)
        keyspace = self._cluster.keyspace_of(written)
        self._metrics.on_status(assignment, written, keyspace.metadata.name if keyspace is not None else "")

    def _say_end(self, before: Assignment, after: Assignment) -> None:
        phase = after.status.phase
        if phase is None or phase is before.status.phase:
            return
        if phase is AssignmentPhase.COMPLETED:
            log.info(lines.of_end(after))
        elif phase.final or phase is AssignmentPhase.STALLED:
            log.warning(lines.of_end(after))

    def _record(self, assignment: Assignment | None, record: actions.Record) -> None:
        partition = self._cluster.partitions.get(record.partition) if record.partition else None
        if partition is not None:
            about = reference(PARTITIONS, partition)
            if not _is_said(partition, record):
                level = logging.INFO if record.type == "Normal" else logging.WARNING
                log.log(level, lines.of_partition(partition, record.reason, "", record.message))
        elif assignment is not None:
            about = reference(ASSIGNMENTS, assignment)
        else:
            return
        self._cluster.events.record(about, record.type, record.reason, record.message)

    def _now(self) -> datetime:
        return self._cluster.clock.now().replace(microsecond=0)

    def _learn(self, partition: Partition, outcome: Outcome) -> None:
        # First the outcome: whoever is told of the change by the cache can see there whose it is.
        outcome.written[partition.metadata.name] = partition
        self._cluster.partitions.learn(partition)


def _is_said(partition: Partition, record: actions.Record) -> bool:
    """Whether a condition of it says the same: then the log has it from there."""
    return any(record.reason in (each.type, each.reason) for each in partition.status.conditions)


def _changed(old: PartitionStatus, change: actions.SetPartitionStatus, now: datetime) -> PartitionStatus:
    """The status after the change; the old one when it says nothing new, so that Ready costs no write of its own."""
    new = replace(old, phase=change.phase, incarnation=change.incarnation or old.incarnation)
    if change.condition:
        condition = Condition(
            type=change.condition,
            status=ConditionStatus.TRUE if change.holds else ConditionStatus.FALSE,
            last_transition_time=now,
            reason=change.reason or change.condition,
            message=change.message,
        )
        new = replace(new, conditions=with_condition(old.conditions, condition))
    fits = Partition.MISFIT if change.phase is PartitionPhase.READY else ""
    if over := {change.over, fits} - {""}:
        new = replace(new, conditions=tuple(each for each in new.conditions if each.type not in over))
    if new == old:
        return old
    return replace(new, conditions=standing.of_partition(new.conditions, change.phase, now))


def _inherited(status: PartitionStatus, lost: Condition | None) -> PartitionStatus:
    """With the loss that what it was made of has to tell of, unless it tells of one itself."""
    if lost is None or find(status.conditions, lost.type) is not None:
        return status
    return replace(status, conditions=with_condition(status.conditions, lost))


def _subject(assignment: Assignment | None, action: actions.Action) -> str:
    """The object that the action is about."""
    return action.partition or (assignment.metadata.name if assignment is not None else "")

"""Carries out what was decided: one method a kind of action; see ``dstk.operator.executor``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as with_

from dstk.api import (
    Assignment,
    Condition,
    ConditionStatus,
    KeyRange,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
)
from dstk.api.conditions import with_condition
from dstk.api.partition import PartitionStatus
from dstk.control import commands
from dstk.control.views import PartitionView
from dstk.lifecycle import actions

from .api_server import Conflict, NotFound, TimedOut
from .clock import Failed, Steps
from .worker import Request

if TYPE_CHECKING:
    from .operator import Operator

__all__ = ["Hands", "Outcome", "Uncertain"]


@dataclass(slots=True)
class Outcome:
    """What came back from the actions of one decision."""

    written: dict[str, Partition | None] = field(default_factory=dict)
    states: list[tuple[str, dict[str, PartitionView]]] = field(default_factory=list)
    stale: bool = False


class Uncertain(Failed):
    """A commit was sent and it is not known whether it took effect."""


class Hands:
    """The only writer of objects and the only caller of workers of an operator."""

    def __init__(self, operator: Operator) -> None:
        self.world = operator.world
        self.clock = operator.clock
        self.term = operator.term
        self.links = operator.links
        self.partitions = operator.partitions
        self.assignments = operator.assignments

    def carry_out(self, assignment: Assignment | None, action: actions.Action, outcome: Outcome) -> Steps:
        """One action. Raises Failed, or Uncertain."""
        if self.world.trace is not None:
            about = assignment.metadata.name if assignment is not None else "recovery"
            self.world.note("[%s] %s: %s", self.term, about, said(action))
        match action:
            case actions.Tell():
                yield from self._tell(action, outcome)
            case actions.Commit():
                yield from self._commit(action, outcome)
            case actions.Touch():
                yield from self._touch(action, outcome)
            case actions.CreatePartition():
                yield from self._create(action, outcome)
            case actions.DeletePartition():
                yield from self._delete(action, outcome)
            case actions.SetPartitionStatus():
                yield from self._set_partition_status(action, outcome)
            case actions.SetStatus() if assignment is not None:
                yield from self._set_status(assignment, action)
            case actions.Record():
                self.world.events.append(action)

    def _tell(self, tell: actions.Tell, outcome: Outcome) -> Steps:
        if tell.worker not in self.links:
            raise Failed("there is no such worker")
        request = Request(tell.incarnation, self.term, tell.partition, tell.epoch, tell.command)
        reply = self.world.network.call(tell.worker, "act", request)
        yield reply
        states = reply.result()
        named = [tell.partition]
        if isinstance(tell.command, commands.Merge):
            named += [part.partition for part in tell.command.parts]
        gone = {name: PartitionView("disconnected", tell.epoch) for name in named if name not in states}
        outcome.states.append((tell.worker, {**states, **gone}))

    def _commit(self, commit: actions.Commit, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(
            lambda: api.replace("partitions", commit.partition, _committed(commit), commit.resource_version)
        )
        yield reply
        try:
            written = reply.result()
        except TimedOut as error:
            raise Uncertain(str(error)) from error
        except Conflict:
            reply = api.request(lambda: api.get("partitions", commit.partition))
            yield reply
            self.partitions.learn(reply.result())
            raise
        self._learn(written, outcome)

    def _touch(self, touch: actions.Touch, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(lambda: api.replace("partitions", touch.partition, lambda it: it, touch.resource_version))
        yield reply
        self._learn(reply.result(), outcome)

    def _create(self, create: actions.CreatePartition, outcome: Outcome) -> Steps:
        api = self.world.api
        range_ = KeyRange(start=create.start, end=create.end)
        spec = PartitionSpec(keyspace=create.keyspace, range=range_, primary=create.primary, epoch=create.epoch)
        created = datetime.fromtimestamp(self.clock.now, UTC)
        fresh = Partition(metadata=ObjectMeta(name=create.partition, creation_timestamp=created), spec=spec)
        reply = api.request(lambda: api.create("partitions", fresh))
        yield reply
        try:
            made = reply.result()
        except (Conflict, TimedOut):
            reply = api.request(lambda: api.get("partitions", create.partition))
            yield reply
            made = reply.result()
            outcome.stale = True
            if made.spec.range != range_ or made.spec.epoch < create.epoch:
                raise
        if (made.status.phase, made.status.incarnation) != (PartitionPhase.READY, create.incarnation):
            status = PartitionStatus(phase=PartitionPhase.READY, incarnation=create.incarnation)
            reply = api.request(
                lambda: api.replace("partitions", create.partition, lambda it: with_(it, status=status))
            )
            yield reply
            made = reply.result()
        self._learn(made, outcome)

    def _delete(self, delete: actions.DeletePartition, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(lambda: api.delete("partitions", delete.partition, delete.uid))
        yield reply
        with contextlib.suppress(NotFound, Conflict):
            reply.result()
        outcome.written[delete.partition] = None

    def _set_partition_status(self, change: actions.SetPartitionStatus, outcome: Outcome) -> Steps:
        api, known = self.world.api, self.partitions.get(change.partition)
        if known is None:
            return
        status = known.status
        condition = None
        if change.condition:
            condition = Condition(
                type=change.condition,
                status=ConditionStatus.TRUE if change.holds else ConditionStatus.FALSE,
                last_transition_time=datetime.fromtimestamp(self.clock.now, UTC),
                reason=change.reason or change.condition,
                message=change.message,
            )
        same = status.phase == change.phase and change.incarnation in ("", status.incarnation)
        if same and condition is None:
            return

        def patch(partition: Partition) -> Partition:
            new = with_(partition.status, phase=change.phase)
            if change.incarnation:
                new = with_(new, incarnation=change.incarnation)
            if condition is not None:
                new = with_(new, conditions=with_condition(new.conditions, condition))
            return with_(partition, status=new)

        reply = api.request(lambda: api.replace("partitions", change.partition, patch))
        yield reply
        try:
            written = reply.result()
        except NotFound:
            return
        self.partitions.learn(written)
        outcome.stale = True

    def _set_status(self, assignment: Assignment, change: actions.SetStatus) -> Steps:
        api, name = self.world.api, assignment.metadata.name
        known = self.assignments.get(name)
        if known is None or known.metadata.uid != assignment.metadata.uid or known.status == change.status:
            return
        # The version that was decided from: what others have written since is not to be overwritten.
        version = assignment.metadata.resource_version
        reply = api.request(
            lambda: api.replace("assignments", name, lambda it: with_(it, status=change.status), version)
        )
        yield reply
        try:
            written = reply.result()
        except NotFound:
            return
        except Conflict:
            reply = api.request(lambda: api.get("assignments", name))
            yield reply
            self.assignments.learn(reply.result())
            raise
        self.assignments.learn(written)

    def _learn(self, partition: Partition, outcome: Outcome) -> None:
        outcome.written[partition.metadata.name] = partition
        self.partitions.learn(partition)


def _committed(commit: actions.Commit) -> Any:
    def patch(partition: Partition) -> Partition:
        spec = with_(partition.spec, primary=commit.primary or None, proxy=commit.proxy or None, epoch=commit.epoch)
        return with_(partition, spec=spec)

    return patch


def said(action: actions.Action) -> object:
    """The action as a trace has it: of a status, what people read."""
    if isinstance(action, actions.SetStatus):
        status = action.status
        step = status.step.value if status.step is not None else "-"
        return f"status {status.phase} {step} {status.reason} {status.message}"
    return action

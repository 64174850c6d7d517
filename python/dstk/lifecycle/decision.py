"""decide: the next actions of an Assignment, from what is seen of it now and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dstk.api import AssignmentPhase, AssignmentType
from dstk.lifecycle.actions import Action, Record, SetStatus, Wait
from dstk.lifecycle.merge import Merging
from dstk.lifecycle.move import Move
from dstk.lifecycle.new import New
from dstk.lifecycle.observed import Observed
from dstk.lifecycle.operation import Operation
from dstk.lifecycle.split import Splitting
from dstk.lifecycle.transitions import Row

__all__ = ["OPERATIONS", "decide"]

OPERATIONS: dict[AssignmentType, type[Operation]] = {
    AssignmentType.NEW: New,
    AssignmentType.SPLIT: Splitting,
    AssignmentType.MERGE: Merging,
    AssignmentType.MOVE: Move,
}


def decide(observed: Observed, now: float) -> list[Action]:
    """The next actions, in order; nothing for an Assignment that has ended.

    `now` in seconds, by a clock that never jumps. Level-triggered: it may be called at any moment, by any operator,
    after any crash, and what it says depends on what is there, not on what was said before. Raises InvalidRequest for a
    Partition whose bounds do not fit its keyspace, which validation refuses before anything has begun.
    """
    phase = observed.assignment.status.phase
    if phase is not None and phase.final:
        return []
    operation = OPERATIONS[observed.assignment.spec.type](observed, now)
    row = operation.table.pick(operation.step, operation)
    return list(_carry_out(operation, row))


def _carry_out(operation: Operation, row: Row[Any]) -> Iterator[Action]:
    old = operation.assignment.status
    step = row.to or operation.step
    phase = row.phase or AssignmentPhase.RUNNING
    paused = phase in (AssignmentPhase.PENDING, AssignmentPhase.STALLED)
    looks_again = not row.effects or row.waits_for or paused
    refused = operation.observed.memory.refused is not None
    if refused and not looks_again and row.to is None and row.phase is None:
        # What a worker refuses it may refuse again, and then nothing comes after it: it is said before.
        status = operation.status(row, phase, step)
        if status != old:
            yield SetStatus(status)
    for each in row.effects:
        yield from each.actions(operation)
    if row.to is not None or row.phase is not None or looks_again or old.phase is not phase:
        status = operation.status(row, phase, step)
        if status != old:
            yield SetStatus(status)
            if phase.final or (paused and (phase, status.reason) != (old.phase, old.reason)):
                yield _event(phase, status.reason, status.message)
    if row.to is None and not phase.final and looks_again:
        yield Wait(operation.wait_seconds(), row.waits_for or row.reason)


def _event(phase: AssignmentPhase, reason: str, message: str) -> Record:
    if phase is AssignmentPhase.COMPLETED:
        return Record("Normal", "Completed", message or "done")
    calm = phase is AssignmentPhase.PENDING or reason == "Cancelled"
    return Record("Normal" if calm else "Warning", reason, message)

"""What an object's phase says in Kubernetes' common words: Ready, Progressing and Stalled.

Derived from the status, and written with it. Programs that know nothing of dstk wait for these (``kubectl wait``) or
tell from them how an object stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from dstk.api.assignment import AssignmentPhase, AssignmentStatus
from dstk.api.conditions import Condition, Conditions, ConditionStatus, with_condition
from dstk.api.partition import PartitionPhase

__all__ = ["PROGRESSING", "READY", "STALLED", "of_assignment", "of_partition"]

READY: Final = "Ready"
"""It is as it was asked to be: a Partition is served, an Assignment is done."""
PROGRESSING: Final = "Progressing"
"""An Assignment is being worked on."""
STALLED: Final = "Stalled"
"""An Assignment does not become ready by itself: it waits for somebody, or was given up."""

_REASONS: Final[Mapping[PartitionPhase, tuple[str, str]]] = {
    PartitionPhase.UNASSIGNED: ("Unassigned", "nobody serves it"),
    PartitionPhase.LOADING: ("Loading", "its pod prepares to serve it"),
    PartitionPhase.READY: ("Served", "its pod serves it"),
    PartitionPhase.PROXYING: ("Proxying", "it is merged away, and what comes for it is passed on"),
    PartitionPhase.UNAVAILABLE: ("Unavailable", "its pod is gone or silent"),
    PartitionPhase.INVALID: ("Invalid", "it cannot be served as it stands"),
}


def of_partition(
    before: Conditions, phase: PartitionPhase, now: datetime, reason: str = "", message: str = ""
) -> Conditions:
    """The conditions of a Partition that comes to that phase, for `reason` where that is more than the phase says.

    Not with an observedGeneration: the operator itself writes the spec, and ``kubectl wait`` would take what was said
    before its last write for outdated.
    """
    if not reason:
        reason, message = _REASONS[phase]
    return with_condition(before, _condition(READY, phase is PartitionPhase.READY, reason, message, now))


def of_assignment(before: Conditions, status: AssignmentStatus, generation: int, now: datetime) -> Conditions:
    """The conditions of an Assignment that comes to that status."""
    phase = status.phase or AssignmentPhase.PENDING
    reason = status.reason or phase.value
    facts = {
        READY: phase is AssignmentPhase.COMPLETED,
        PROGRESSING: phase is AssignmentPhase.RUNNING,
        STALLED: phase in (AssignmentPhase.STALLED, AssignmentPhase.ABORTED),
    }
    for type_, holds in facts.items():
        # The status has the sentence, which may change every few seconds.
        before = with_condition(before, _condition(type_, holds, reason, "", now, generation))
    return before


def _condition(type_: str, holds: bool, reason: str, message: str, now: datetime, generation: int = 0) -> Condition:
    return Condition(
        type=type_,
        status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
        last_transition_time=now,
        reason=reason,
        message=message,
        observed_generation=generation,
    )

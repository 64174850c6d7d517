"""What was done to a Partition of late: its Assignments are gone after a while, and with them why they were made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import Meta

from dstk.api.assignment import Assignment, AssignmentSpec, AssignmentStatus, AssignmentType
from dstk.api.model import Model

__all__ = ["History", "Outcome", "PastOperation", "aborted", "completed", "inherited", "with_operation"]

KEPT: Final = 5
"""Operations that a Partition remembers."""

_MESSAGE_MAX: Final = 512
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


class Outcome(StrEnum):
    """How an operation ended for a Partition."""

    COMPLETED = "Completed"
    ABORTED = "Aborted"


class PastOperation(Model, frozen=True, kw_only=True):
    """One operation that is over, as far as the Partition is concerned."""

    time: Annotated[datetime, Meta(description="When its owner or its range changed, or when it was given up.")]
    type: Annotated[AssignmentType, Meta(description="As spec.type of the Assignment.")]
    assignment: Annotated[str, Meta(max_length=253, description="Name of the Assignment.")]
    outcome: Annotated[Outcome, Meta(description="Whether it was done.")]
    reason: Annotated[str, Meta(max_length=128, description="Why it was aborted, in one CamelCase word.")] = ""
    message: Annotated[
        str, Meta(max_length=_MESSAGE_MAX, description="What it was to do and why, and why it was aborted.")
    ] = ""


History = Annotated[
    tuple[PastOperation, ...],
    Meta(
        max_length=KEPT,
        description="The last operations, latest first. What a split or a merge makes goes on with the history of what "
        "it was made of.",
        extra_json_schema=_ATOMIC,
    ),
]


def completed(assignment: Assignment, now: datetime) -> PastOperation:
    """The entry of a Partition that has what the Assignment was to bring about."""
    return _entry(assignment, now, Outcome.COMPLETED, "", "")


def aborted(assignment: Assignment, status: AssignmentStatus, now: datetime) -> PastOperation:
    """The entry of a Partition that stays as it was, as the Assignment ended with that status."""
    return _entry(assignment, now, Outcome.ABORTED, status.reason, status.message)


def with_operation(history: Iterable[PastOperation], new: PastOperation) -> tuple[PastOperation, ...]:
    """``history`` with ``new`` as its latest; what it says of the same Assignment goes, as it may be written twice."""
    return (new, *(each for each in history if each.assignment != new.assignment))[:KEPT]


def inherited(histories: Iterable[Iterable[PastOperation]]) -> tuple[PastOperation, ...]:
    """What one made of several goes on with: the latest of all of them, and what they have in common once."""
    known = {(each.assignment, each.time): each for history in histories for each in history}
    return tuple(sorted(known.values(), key=lambda each: each.time, reverse=True)[:KEPT])


def _entry(assignment: Assignment, now: datetime, outcome: Outcome, reason: str, why: str) -> PastOperation:
    spec = assignment.spec
    message = "; ".join(filter(None, (_what(spec), spec.reason, why)))
    return PastOperation(
        time=now,
        type=spec.type,
        assignment=assignment.metadata.name,
        outcome=outcome,
        reason=reason,
        message=message if len(message) <= _MESSAGE_MAX else f"{message[: _MESSAGE_MAX - 1]}…",
    )


def _what(spec: AssignmentSpec) -> str:
    if spec.move_params is not None:
        return f"from {spec.move_params.source} to {spec.move_params.to}"
    if spec.split_params is not None:
        return f"{spec.split_params.partition} at {', '.join(spec.split_params.keys)}"
    if spec.merge_params is not None:
        return f"of {', '.join(spec.merge_params.partitions)}"
    return f"on {spec.new_params.primary}" if spec.new_params is not None else ""

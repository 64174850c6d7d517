"""Status conditions, as in every Kubernetes API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from dstk.api.model import COUNT_MAX, Model

__all__ = ["Condition", "ConditionStatus", "Conditions", "condition", "find", "with_condition"]


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model, frozen=True, kw_only=True):
    """One aspect of an object's state."""

    type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="What the condition is about, such as Ready or DataLost.",
        ),
    ]
    status: Annotated[ConditionStatus, Meta(description="Whether it holds.")]
    last_transition_time: Annotated[datetime, Meta(description="When status changed last.")]
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=128,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="Why, in one CamelCase word for programs.",
        ),
    ]
    message: Annotated[str, Meta(max_length=4096, description="Why, in a sentence for people.")] = ""
    observed_generation: Annotated[
        int, Meta(ge=0, le=COUNT_MAX, description="The metadata.generation that this was said of.")
    ] = 0


_LIST: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}

MOST: Final = 16
"""Conditions of an object, those that others put there included."""

Conditions = Annotated[
    tuple[Condition, ...],
    Meta(max_length=MOST, description="Aspects of the state, at most one entry a type.", extra_json_schema=_LIST),
]


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def with_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """``conditions`` with ``new`` in the place of the one of its type, or at the end.

    As Kubernetes' conventions have it, lastTransitionTime moves only when status does. Where others have left no room
    it is not there: with one too many the API server would refuse the whole status.
    """
    old = find(conditions, new.type)
    if old is None:
        return (*conditions, new) if len(conditions) < MOST else tuple(conditions)
    if old.status == new.status:
        new = replace(new, last_transition_time=old.last_transition_time)
    return tuple(new if condition.type == new.type else condition for condition in conditions)


def condition(now: float, type_: str, holds: bool, reason: str, message: str, generation: int) -> Condition:
    """A condition that was found to hold, or not to, at `now`, of that generation."""
    return Condition(
        type=type_,
        status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
        last_transition_time=datetime.fromtimestamp(int(now), UTC),
        reason=reason,
        message=message,
        observed_generation=generation,
    )

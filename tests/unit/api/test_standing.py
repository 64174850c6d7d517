"""What each phase says in Kubernetes' common words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dstk.api import AssignmentPhase, AssignmentStatus, Condition, ConditionStatus, PartitionPhase, standing
from dstk.api.conditions import Conditions, find

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
OTHERS = Condition(type="Audited", status=ConditionStatus.TRUE, last_transition_time=NOW, reason="Checked")


def said(conditions: Conditions) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status.value, each.reason) for each in conditions}


@pytest.mark.parametrize(
    ("phase", "status", "reason"),
    [
        (PartitionPhase.UNASSIGNED, "False", "Unassigned"),
        (PartitionPhase.LOADING, "False", "Loading"),
        (PartitionPhase.READY, "True", "Served"),
        (PartitionPhase.PROXYING, "False", "Proxying"),
        (PartitionPhase.UNAVAILABLE, "False", "Unavailable"),
        (PartitionPhase.INVALID, "False", "Invalid"),
    ],
)
def test_a_partition_is_ready_when_it_is_served(phase: PartitionPhase, status: str, reason: str) -> None:
    assert said(standing.of_partition((), phase, NOW)) == {"Ready": (status, reason)}


def test_every_phase_of_a_partition_is_one_of_these() -> None:
    assert {find(standing.of_partition((), phase, NOW), "Ready") is not None for phase in PartitionPhase} == {True}


@pytest.mark.parametrize(
    ("phase", "reason", "expected"),
    [
        (None, "", {"Ready": "False", "Progressing": "False", "Stalled": "False"}),
        (AssignmentPhase.PENDING, "Waiting", {"Ready": "False", "Progressing": "False", "Stalled": "False"}),
        (AssignmentPhase.RUNNING, "", {"Ready": "False", "Progressing": "True", "Stalled": "False"}),
        (AssignmentPhase.STALLED, "NameTaken", {"Ready": "False", "Progressing": "False", "Stalled": "True"}),
        (AssignmentPhase.COMPLETED, "", {"Ready": "True", "Progressing": "False", "Stalled": "False"}),
        (AssignmentPhase.ABORTED, "Cancelled", {"Ready": "False", "Progressing": "False", "Stalled": "True"}),
    ],
)
def test_an_assignment(phase: AssignmentPhase | None, reason: str, expected: dict[str, str]) -> None:
    conditions = standing.of_assignment((), AssignmentStatus(phase=phase, reason=reason), 3, NOW)
    why = reason or (phase or AssignmentPhase.PENDING).value
    assert said(conditions) == {type_: (status, why) for type_, status in expected.items()}
    assert {each.observed_generation for each in conditions} == {3}


def test_what_others_say_stays_and_a_time_moves_with_its_status_alone() -> None:
    running = AssignmentStatus(phase=AssignmentPhase.RUNNING)
    before = standing.of_assignment((OTHERS,), running, 1, NOW)
    assert standing.of_assignment(before, running, 1, LATER) == before
    after = standing.of_assignment(before, AssignmentStatus(phase=AssignmentPhase.COMPLETED), 1, LATER)
    times = {each.type: each.last_transition_time for each in after}
    assert times == {"Audited": NOW, "Ready": LATER, "Progressing": LATER, "Stalled": NOW}

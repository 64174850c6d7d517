"""without_keyspace: an Assignment never waits in silence for what somebody has deleted."""

from __future__ import annotations

import pytest
from scenes import NOW, assignment, partition, statuses

from dstk.api import AssignmentPhase, AssignmentSpec, AssignmentType, MoveParams, Step
from dstk.lifecycle.actions import Record
from dstk.lifecycle.orphaned import without_keyspace

MOVE = AssignmentSpec(type=AssignmentType.MOVE, move_params=MoveParams(partition="p", source="pod1", to="pod2"))
RUNNING = assignment(MOVE, Step.FOLLOWING)
OBJECT = partition("p", "a", "o", "pod1", 7)


@pytest.mark.parametrize(
    ("present", "cancelled", "phase", "reason"),
    [
        (True, False, "Stalled", "KeyspaceGone"),
        (True, True, "Aborted", "Cancelled"),
        (False, False, "Aborted", "PartitionChanged"),
        (False, True, "Aborted", "PartitionChanged"),
    ],
)
def test_it_stalls_or_ends_and_says_why(present: bool, cancelled: bool, phase: str, reason: str) -> None:
    decided = without_keyspace(RUNNING, OBJECT if present else None, cancelled, NOW)
    status = statuses(decided)
    assert (status["phase"], status["reason"]) == (phase, reason)
    assert ("finishedAt" in status) is (phase == "Aborted")
    assert [each.reason for each in decided if isinstance(each, Record)] == [reason]


def test_it_is_said_once() -> None:
    (status, _) = without_keyspace(RUNNING, OBJECT, False, NOW)
    told = assignment(MOVE, Step.FOLLOWING, AssignmentPhase.STALLED)
    told = type(told)(metadata=told.metadata, spec=told.spec, status=status.status)  # type: ignore[union-attr]
    assert without_keyspace(told, OBJECT, False, NOW + 9) == []

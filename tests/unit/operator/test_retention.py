"""Which finished Assignments are to go, and when."""

from __future__ import annotations

from datetime import UTC, datetime

from dstk.api import (
    Assignment,
    AssignmentPhase,
    AssignmentSpec,
    AssignmentStatus,
    AssignmentType,
    MoveParams,
    ObjectMeta,
)
from dstk.operator.retention import LONGEST_SLEEP, Finished


def ended(
    name: str, at: float, ttl: int | None = None, phase: AssignmentPhase = AssignmentPhase.COMPLETED
) -> Assignment:
    return Assignment(
        metadata=ObjectMeta(name=name, uid=f"uid-{name}"),
        spec=AssignmentSpec(
            type=AssignmentType.MOVE,
            move_params=MoveParams(partition="p", source="a", to="b"),
            ttl_seconds_after_finished=ttl,
        ),
        status=AssignmentStatus(phase=phase, finished_at=datetime.fromtimestamp(at, UTC) if phase.final else None),
    )


def all_due(finished: Finished, now: float) -> list[str]:
    found = []
    while (due := finished.take(now)) is not None:
        found.append(due[0])
    return found


def test_those_whose_time_is_over_go_the_first_to_be_over_first() -> None:
    finished = Finished(keep=10)
    for assignment in (ended("late", 0, ttl=50), ended("early", 5, ttl=10), ended("never", 0)):
        assert finished.changed(None, assignment)
    assert all_due(finished, 14.9) == []
    assert finished.pause(14.0) == 1.0
    assert all_due(finished, 60.0) == ["early", "late"]
    assert finished.pause(60.0) == LONGEST_SLEEP


def test_of_too_many_without_a_term_the_oldest_go() -> None:
    finished = Finished(keep=2)
    for at, name in ((3.0, "c"), (1.0, "a"), (4.0, "d"), (2.0, "b")):
        finished.changed(None, ended(name, at))
    for number in range(5):
        finished.changed(None, ended(f"planned-{number}", 0.0, ttl=1000))
    assert all_due(finished, 10.0) == ["a", "b"]
    assert all_due(finished, 999.0) == []


def test_what_is_gone_already_makes_room() -> None:
    finished = Finished(keep=2)
    objects = {name: ended(name, at) for at, name in enumerate("abc")}
    for name in "abc":
        if name == "c":
            finished.changed(objects["a"], None)
        finished.changed(None, objects[name])
    assert all_due(finished, 2.0) == []


def test_what_others_delete_does_not_pile_up() -> None:
    finished = Finished(keep=10)
    for number in range(5000):
        gone = ended(f"gone-{number}", float(number))
        finished.changed(None, gone)
        finished.changed(gone, None)
    assert len(finished._by_end) <= 1001
    for number in range(12):
        finished.changed(None, ended(f"kept-{number:02}", 5000.0 + number))
    assert all_due(finished, 9000.0) == ["kept-00", "kept-01"]


def test_only_what_has_ended_counts_and_once() -> None:
    finished = Finished(keep=1)
    running = ended("a", 0, phase=AssignmentPhase.RUNNING)
    assert not finished.changed(None, running)
    assert finished.changed(running, ended("a", 1))
    assert not finished.changed(ended("a", 1), ended("a", 1))
    assert finished.changed(None, ended("b", 0))
    assert all_due(finished, 10.0) == ["b"]


def test_what_could_not_be_deleted_comes_again_later() -> None:
    finished = Finished(keep=0)
    finished.changed(None, ended("a", 0))
    assert finished.take(1.0) == ("a", "uid-a")
    finished.again(30.0, "a", "uid-a")
    assert finished.pause(10.0) == 20.0
    assert all_due(finished, 29.0) == []
    assert all_due(finished, 30.0) == ["a"]
    assert all_due(finished, 31.0) == []

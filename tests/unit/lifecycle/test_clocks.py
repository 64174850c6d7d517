"""What an object says about time is another's clock: no operation ends, or goes on, by it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace as with_
from scenes import BEGAN, NOW, assignment, lines, observed, partition, worker

from dstk.api import AssignmentSpec, Step
from dstk.control.views import PartitionView
from dstk.lifecycle import decide
from dstk.lifecycle.memory import Memory
from simulation.specs import merge, move, split

SPECS = {"split": split("p", "e"), "merge": merge("p", "q"), "move": move("p", "pod1", "pod2")}
HOST = worker("pod1", p=PartitionView("primary", 7), q=PartitionView("primary", 7))
OBJECTS = [partition("p", "a", "o", "pod1", 7), partition("q", "o", "z", "pod1", 7)]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("behind", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=300)])
def test_a_clock_that_was_wrong_when_it_began_does_not_end_it(spec: AssignmentSpec, behind: timedelta) -> None:
    began = assignment(spec, Step.LOADING)
    began = with_(began, status=with_(began.status, started_at=BEGAN - behind))
    decided = decide(observed(began, OBJECTS, [HOST, worker("pod2")], memory=Memory(begun_at=NOW - 10)), NOW)
    assert not any("DeadlineExceeded" in line for line in lines(decided)), lines(decided)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=1), timedelta(days=300)])
def test_nor_does_it_keep_it_from_ending(spec: AssignmentSpec, ahead: timedelta) -> None:
    began = assignment(spec, Step.LOADING)
    began = with_(began, status=with_(began.status, started_at=BEGAN + ahead))
    decided = decide(observed(began, OBJECTS, [HOST, worker("pod2")], memory=Memory(begun_at=NOW - 3601)), NOW)
    assert any("DeadlineExceeded" in line for line in lines(decided)), lines(decided)


def test_people_are_told_the_time_of_day() -> None:
    decided = decide(observed(assignment(SPECS["split"], None), OBJECTS, [HOST], ahead_of_day=3600.0), NOW)
    (status,) = (each.status for each in decided if hasattr(each, "status"))
    assert status.started_at.timestamp() == NOW - 3600

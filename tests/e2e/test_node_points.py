"""A worker that is stopped inside its native part, at every point there is: nothing acknowledged is lost, and it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from failurecases import play, staged, title
from nodecases import CASES, WORKER_LIMITS
from stage import Stage, Stop

from dstk import faults


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage"), *WORKER_LIMITS) as running:
        yield running


def test_a_worker_is_killed_at_every_point_of_the_node() -> None:
    stops = [stop for _, case in CASES for stop in Stop.all_of(case.faults) + Stop.all_of(case.later)]
    assert {stop.point for stop in stops if stop.action == "kill"} == set(faults.NODE_POINTS)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{number:03} {title(*CASES[number])}")
async def test_nothing_is_lost_and_it_ends(stage: Stage, number: int) -> None:
    _, case = CASES[number]
    lives = stage.pids()
    await play(stage, number, *CASES[number])
    if "=kill" in case.faults + case.later:
        assert stage.pids() != lives, "no worker has another life"

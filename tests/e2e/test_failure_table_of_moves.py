"""Every row of the failure table of moves, with real processes: a file of its own, so that it runs beside the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from failurecases import CASES, play, said_of, staged
from stage import Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "number", [number for number, (operation, _) in enumerate(CASES) if operation == "move"], ids=said_of
)
async def test_it_ends_right(stage: Stage, number: int) -> None:
    await play(stage, number, *CASES[number])

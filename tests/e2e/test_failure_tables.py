"""Every row of the failure tables in docs/operations, with real processes that are stopped exactly there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from failurecases import CASES, NOT_PLAYED, play, said_of, staged
from stage import Stage

DOCS = Path(__file__).parents[2] / "docs" / "operations"


def test_every_row_of_the_failure_tables_is_played() -> None:
    rows = {
        (page.stem, line.split(" | ")[0].removeprefix("| "))
        for page in DOCS.glob("*.md")
        if (table := re.search(r"^## What can fail\n\n[^|]*(?:\|.*\n)+", page.read_text(), re.MULTILINE))
        for line in table[0].partition("|---|")[2].splitlines()[1:]
    }
    assert rows == {(operation, case.row) for operation, case in CASES} | NOT_PLAYED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "number", [number for number, (operation, _) in enumerate(CASES) if operation != "move"], ids=said_of
)
async def test_it_ends_right(stage: Stage, number: int) -> None:
    await play(stage, number, *CASES[number])

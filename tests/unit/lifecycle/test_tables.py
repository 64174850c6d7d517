"""The tables themselves: no row without a case that shows it, and the pages print what the code does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_merge
import test_move
import test_new
import test_split
from scenes import NOW

from dstk.api import AssignmentType, Step
from dstk.lifecycle.decision import OPERATIONS
from dstk.lifecycle.tables import PAGES, Page, main, page
from dstk.lifecycle.transitions import Guard, Transitions, always, at, effect, guard

MATRICES = {
    AssignmentType.NEW: test_new.MATRIX,
    AssignmentType.SPLIT: test_split.MATRIX,
    AssignmentType.MERGE: test_merge.MATRIX,
    AssignmentType.MOVE: test_move.MATRIX,
}
DOCS = Path(__file__).parents[3] / "docs" / "operations"


@pytest.mark.parametrize("type_", OPERATIONS)
def test_every_row_is_shown_by_a_case(type_: AssignmentType) -> None:
    taken = []
    for seen, _ in MATRICES[type_].values():
        operation = OPERATIONS[type_](seen, NOW)
        taken.append(operation.table.pick(operation.step, operation))
    missing = [f"{row.when} → {row.then}" for row in OPERATIONS[type_].table if row not in taken]
    assert not missing


@pytest.mark.parametrize("type_", OPERATIONS)
def test_every_step_ends_with_a_row_that_always_holds(type_: AssignmentType) -> None:
    table = OPERATIONS[type_].table
    for step in {step for row in table for step in row.steps}:
        assert [row for row in table if step in row.steps][-1].when == "always"


def test_every_row_of_recovery_and_repairs_is_shown_by_a_case() -> None:
    shown = ("test_recovery.py", "test_disks.py", "test_repairs.py")
    files = [str(Path(__file__).with_name(name)) for name in shown]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "taken_rows", "-p", "no:xdist", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([*command, *files], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("of", PAGES, ids=lambda of: of.name)
def test_the_page_has_the_table(of: Page) -> None:
    assert page(of) in (DOCS / f"{of.name}.md").read_text(encoding="utf-8")


def test_pages_are_checked_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for of in PAGES:
        name = f"{of.name}.md"
        text = (DOCS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("behind_others", "something_else"), encoding="utf-8")
    assert main(["--check", "--docs", str(tmp_path)]) == 1
    assert "move.md" in capsys.readouterr().err
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--check", "--docs", str(tmp_path)]) == 0


@guard
def even(number: int) -> bool:
    return number % 2 == 0


@guard
def small(number: int) -> bool:
    """Below ten."""
    return number < 10


@effect
def nothing(number: int) -> list:  # type: ignore[type-arg]
    return []


@pytest.mark.parametrize(
    ("combined", "name", "holds"),
    [
        (even & small, "even & small", {2, 4}),
        (even | small, "even | small", {2, 3, 4, 20}),
        (~even, "~even", {3, 21}),
        (~(even & small), "~(even & small)", {3, 20, 21}),
        ((even | small) & ~even, "(even | small) & ~even", {3}),
        (~(even | small), "~(even | small)", {21}),
        ((even & small).named("both"), "both", {2, 4}),
    ],
)
def test_guards_combine_with_their_names(combined: Guard[int], name: str, holds: set[int]) -> None:
    assert combined.name == name
    assert {number for number in (2, 3, 4, 20, 21) if combined.holds(number)} == holds


def test_the_first_row_that_holds_is_taken() -> None:
    table = Transitions(
        at(Step.LOADING).when(even & small).do(nothing).go(Step.FOLLOWING),
        at(Step.LOADING, Step.FOLLOWING).when(small).wait("more"),
        at(Step.LOADING, Step.FOLLOWING).when(always).abort("TooBig"),
    )
    picked = [table.pick(Step.LOADING, number).then for number in (2, 3, 20)]
    assert picked == ["following", "wait for more", "Aborted: TooBig"]
    assert table.pick(Step.FOLLOWING, 2).then == "wait for more"

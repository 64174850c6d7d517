"""A pytest plugin: fails a run in which some row of the tables of recovery and repairs was never taken."""

from __future__ import annotations

from typing import Any

import pytest

from dstk.lifecycle.recovery import FOREIGN, OWNED
from dstk.lifecycle.repairs import REPAIRS
from dstk.lifecycle.transitions import Row, Transitions

TAKEN: set[int] = set()
PICK = Transitions.pick


def pytest_configure() -> None:
    def pick(self: Transitions[Any], step: Any, facts: Any) -> Row[Any]:
        row = PICK(self, step, facts)
        TAKEN.add(id(row))
        return row

    Transitions.pick = pick  # type: ignore[method-assign]


def pytest_sessionfinish(session: pytest.Session) -> None:
    missing = [row for table in (OWNED, FOREIGN, REPAIRS) for row in table if id(row) not in TAKEN]
    for row in missing:
        print(f"never taken: {row.steps} {row.when} → {row.does}")
    if missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""Every guard is missed: with it taken away, some world breaks a promise. So the simulation notices what it is for."""

from __future__ import annotations

import pytest

from simulation.guards import GUARDS, SPARE, UNMISSED, Guard
from simulation.runner import run_one

ALONE = 25
"""Worlds in which a guard that another one stands behind is not missed."""


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_simulation_misses(guard: Guard) -> None:
    with guard.removed():
        for seed in range(guard.seeds):
            failure = run_one(seed, guard.story, guard.blown)
            if failure is not None and failure.what[0] in guard.promises:
                return
    pytest.fail(f"{guard.seeds} worlds of {guard.story} in {guard.weather} did without")


@pytest.mark.parametrize("guard", [*SPARE, *UNMISSED], ids=lambda guard: guard.name)
def test_another_guard_stands_behind(guard: Guard) -> None:
    with guard.removed():
        failures = [
            failure for seed in range(ALONE) if (failure := run_one(seed, guard.story, guard.blown)) is not None
        ]
    assert not failures, "\n".join(map(str, failures))

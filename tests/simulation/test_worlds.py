"""Whole operations in simulated worlds, under many orders of events: what is promised holds at every step.

What is promised is checked in ``checker.py``. A failure names seed, story and weather; the same world again, with its
trace: ``python -m tests.simulation --first SEED --seeds 1 --trace --story … --weather …``. Many more worlds:
``make simulate SEEDS=50000``.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dstk.api import AssignmentPhase, Step
from simulation.__main__ import main
from simulation.guards import GUARDS
from simulation.operators import LIMITS
from simulation.runner import run_one
from simulation.stories import STORIES, tell
from simulation.weather import CALM, WEATHERS
from simulation.world import World

SEEDS = 3
"""Of each story in each weather: about 500 in all."""

HARMLESS = ("api", "calls", "operators")
"""Weather in which nobody deletes anything and no worker dies: nothing may keep an operation from its end."""

HERE = Path(__file__).parent


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("weather", [weather for weather in WEATHERS if weather != "calm"])
def test_every_promise_holds(story: str, weather: str) -> None:
    failures = [failure for seed in range(SEEDS) if (failure := run_one(seed, story, weather)) is not None]
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("story", ["new", "split", "merge", "move"])
@pytest.mark.parametrize("weather", HARMLESS)
def test_harmless_weather_keeps_no_operation_from_its_end(story: str, weather: str) -> None:
    for seed in range(100, 100 + SEEDS):
        world = tell(story, weather, seed)
        ends = {name: each.status.reason for name, each in world.api.assignments.items()}
        assert not any(ends.values()), f"seed {seed}: {ends}"


@pytest.mark.parametrize("story", STORIES)
def test_calm_weather(story: str) -> None:
    world = tell(story, "calm", 0)
    phases = {name: each.status.phase for name, each in world.api.assignments.items()}
    refused = {"second"} if story == "two_moves" else set()
    assert {name for name, phase in phases.items() if phase is not AssignmentPhase.COMPLETED} == refused
    assert world.checker.acknowledged > 0 < world.checker.read


@pytest.mark.parametrize(("seed", "story", "weather"), [(7, "reshape", "everything"), (4, "seed", "disk")])
def test_a_world_repeats_from_its_seed_byte_for_byte(seed: int, story: str, weather: str) -> None:
    """In other processes, too, whatever Python hashes strings to there."""
    command = [sys.executable, "-m", "simulation", "--first", str(seed), "--seeds", "1", "--trace"]
    command += ["--story", story, "--weather", weather]

    def trace(hashes: str) -> bytes:
        found = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": str(HERE.parent)}
        return subprocess.run(command, env=found, capture_output=True, check=True).stdout

    first = trace("1")
    assert first == trace("2")
    assert len(first.splitlines()) > 100


def test_no_file_here_tells_a_component_again() -> None:
    """What runs in a world is what ships: nothing here is called as a part of the operator, the node or the life cycle."""
    ships: set[str] = set()
    for folder in ("operator", "lifecycle", "worker", "control", "plan"):
        ships |= {path.stem for path in (HERE.parents[1] / "python" / "dstk" / folder).rglob("*.py")}
    ships |= {path.stem for path in (HERE.parents[1] / "rust").glob("*/src/**/*.rs")}
    assert not {path.stem for path in HERE.glob("*.py")} & ships - {"__init__", "client", "network"}
    said = "\n".join(path.read_text() for path in HERE.glob("*.py"))
    for part in ("Operator(", "Daemons", "PassiveNode(", "Control("):
        assert part in said


class SourceRestarts(World):
    """With disks. The source dies when it is followed and has just acknowledged what the destination has not got yet.

    ``held``: for so many seconds an operator then has it stand fenced; None where it never came to that.
    """

    held: float | None = None

    def watch(self) -> None:
        self.spawn(self._restart())

    async def _restart(self) -> None:
        while (status := self.api.assignments["move"].status).step is not Step.FOLLOWING or not self._is_ahead():
            await asyncio.sleep(0.002)
            if status.step is Step.PROXYING:
                return
        self.kill_worker("pod1")
        await asyncio.sleep(0.05)
        self.start_worker("pod1")
        restarted = self._part("pod1").fence_token
        while self._part("pod1").fence_token == restarted:
            await asyncio.sleep(0.002)
        fenced = self.loop.time()
        while self._part("pod1").fenced:
            await asyncio.sleep(0.002)
        self.held = self.loop.time() - fenced

    def _is_ahead(self) -> bool:
        copy = self.pods["pod2"].parts().get("p")
        return copy is not None and self._part("pod1").sequence > copy.sequence

    def _part(self, pod: str) -> Any:
        return self.pods[pod].parts()["p"]


def test_nobody_is_held_for_a_copy_that_cannot_go_on_as_its_source_has_restarted() -> None:
    held: list[float] = []
    for seed in range(30):
        world = SourceRestarts(seed, replace(CALM, disk=True))
        STORIES["move"](world)
        world.run()
        assert world.api.assignments["move"].status.phase is AssignmentPhase.COMPLETED
        held += [] if world.held is None else [world.held]
    assert len(held) >= 5
    assert max(held) < LIMITS.fence_max_seconds / 2


def test_the_second_move_waits_and_says_for_whom() -> None:
    waits = [each.status.message for each in tell("two_moves", "calm", 0).seen_assignments("second")]
    assert "waits for first, which came first and touches the same" in waits


def test_a_silent_worker_makes_an_operation_say_stalled_and_why() -> None:
    silent = replace(WEATHERS["workers"], unreachable=30, worker_pause=30)
    stalled: set[str] = set()
    for seed in range(6):
        world = tell("there_and_back", silent, seed)
        for each in (state.status for name in world.api.assignments for state in world.seen_assignments(name)):
            stalled |= {each.message.split(" since ")[0]} if each.phase is AssignmentPhase.STALLED else set()
    assert stalled & {"pod1 has not answered", "pod2 has not answered"}


def test_the_command_counts_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5", "--story", "move"]) == 0
    assert "5 seeds" in capsys.readouterr().out


def test_the_command_says_which_world_failed_and_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    guard = next(guard for guard in GUARDS if guard.name == "life cycle: fence before commit")
    with guard.removed():
        assert main(["--seeds", "20", "--story", "move", "--weather", "calm"]) == 1
    said = capsys.readouterr().out
    found = re.search(r"seed (\d+), story move, weather calm: B: ", said)
    assert found is not None
    assert f"--first {found[1]} --seeds 1 --trace --story move --weather calm" in said

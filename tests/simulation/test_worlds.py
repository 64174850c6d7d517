"""Whole operations in simulated worlds, under many orders of events: what is promised holds at every step.

What is promised is checked in ``checker.py``. A failure names seed, story and weather; the same world again, with its
trace: ``python -m tests.simulation --first SEED --seeds 1 --trace --story … --weather …``. Many more worlds:
``make simulate SEEDS=50000``.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dstk.api import AssignmentPhase, Step
from simulation.__main__ import main
from simulation.clock import Process, Steps
from simulation.driver import LIMITS
from simulation.guards import GUARDS
from simulation.runner import replay, run_one
from simulation.stories import STORIES, tell
from simulation.weather import CALM, WEATHERS
from simulation.worker import Part
from simulation.world import World

SEEDS = 18
"""Of each story in each weather: about 2,000 in all."""

HARMLESS = ("api", "calls", "operators")
"""Weather in which nobody deletes anything and no worker dies: nothing may keep an operation from its end."""


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("weather", [weather for weather in WEATHERS if weather != "calm"])
def test_every_promise_holds(story: str, weather: str) -> None:
    failures = [failure for seed in range(SEEDS) if (failure := run_one(seed, story, weather)) is not None]
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("story", ["new", "split", "merge", "move"])
@pytest.mark.parametrize("weather", HARMLESS)
def test_harmless_weather_keeps_no_operation_from_its_end(story: str, weather: str) -> None:
    for seed in range(SEEDS):
        world = tell(story, weather, seed)
        ends = {name: each.status.reason for name, each in world.api.objects["assignments"].items()}
        assert not any(ends.values()), f"seed {seed}: {ends}"


@pytest.mark.parametrize("story", STORIES)
def test_calm_weather(story: str) -> None:
    world = tell(story, "calm", 0)
    phases = {name: each.status.phase for name, each in world.api.objects["assignments"].items()}
    refused = {"second"} if story == "two_moves" else set()
    assert {name for name, phase in phases.items() if phase is not AssignmentPhase.COMPLETED} == refused
    assert world.checker.acknowledged > 0 < world.checker.read


def test_a_world_repeats_from_its_seed() -> None:
    first, second = replay(7, "reshape", "everything"), replay(7, "reshape", "everything")
    assert first == second
    assert len(first[1]) > 50


class SourceRestarts(World):
    """With disks. The source dies when it is followed and has just acknowledged what the destination has not got yet.

    ``held``: for so many seconds an operator then has it stand fenced; None where it never came to that.
    """

    held: float | None = None

    def watch(self) -> None:
        self.clock.spawn(Process(), self._restart())

    def _restart(self) -> Steps:
        status = self.api.objects["assignments"]["move"].status
        while status.step is not Step.FOLLOWING or self._part("pod1").synced <= self._part("pod2").sequence:
            yield 0.002
            status = self.api.objects["assignments"]["move"].status
            if status.step is Step.PROXYING:
                return
        self.kill_worker("pod1")
        yield 0.05
        self.start_worker("pod1")
        restarted = self._part("pod1").token
        while self._part("pod1").token == restarted:
            yield 0.002
        fenced = self.clock.now
        while self._part("pod1").fenced:
            yield 0.002
        self.held = self.clock.now - fenced

    def _part(self, pod: str) -> Part:
        return self.pods[pod].worker.parts["p"]


def test_nobody_is_held_for_a_copy_that_cannot_go_on_as_its_source_has_restarted() -> None:
    held: list[float] = []
    for seed in range(200):
        world = SourceRestarts(seed, replace(CALM, disk=True))
        STORIES["move"](world)
        world.watch()
        world.run()
        assert world.api.objects["assignments"]["move"].status.phase is AssignmentPhase.COMPLETED
        held += [] if world.held is None else [world.held]
    assert len(held) >= 10
    assert max(held) < LIMITS.fence_max_seconds / 2


def test_the_second_move_waits_and_says_for_whom() -> None:
    waits = {event.message for event in tell("two_moves", "calm", 0).events if event.reason == "Waiting"}
    assert "waits for first, which came first and touches the same" in waits


def test_a_silent_worker_makes_an_operation_say_stalled_and_why() -> None:
    said = set()
    for seed in range(40):
        world = tell("move", "workers", seed)
        said |= {event.message.split(" since ")[0] for event in world.events if event.reason == "WorkerUnreachable"}
    assert said & {"pod1 has not answered", "pod2 has not answered"}


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
    assert "Commit('p'" in said
    assert f"--first {found[1]} --seeds 1 --trace --story move --weather calm" in said

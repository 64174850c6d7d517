"""Whole operations in a simulated world, under many orders of events: what is promised holds at every step.

What is promised is checked in ``world.py`` (A, B, C, E of docs/architecture.md). A failure names its seed; run it again
alone with ``DSTK_WORLDS=1 DSTK_FIRST_WORLD=<seed>``. More worlds: ``DSTK_WORLDS=1000``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from stories import STORIES, WEATHER, tell

from dstk.api import AssignmentPhase
from dstk.lifecycle.merge import Merging
from dstk.lifecycle.move import Move, drained
from dstk.lifecycle.operation import Operation
from dstk.lifecycle.transitions import Row, Transitions

FIRST = int(os.environ.get("DSTK_FIRST_WORLD", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("DSTK_WORLDS", "12")))

CASES = [pytest.param(story, weather, id=f"{story}-{weather}") for story in STORIES for weather in WEATHER]
HARMLESS = ("calm", "calls", "operators")
"""Weather in which nobody deletes anything and no worker dies: nothing may keep an operation from its end."""
EXPECTED = {"two_moves": {"second": "NotTheOwner"}}
"""What is refused even then: by the time it is its turn, the partition has moved."""


@pytest.mark.parametrize(("story", "weather"), CASES)
def test_every_promise_holds(story: str, weather: str) -> None:
    for seed in SEEDS:
        try:
            world = tell(story, weather, seed)
        except AssertionError as broken:
            raise AssertionError(f"world {seed} of {story} in {weather}: {broken}") from broken
        if weather in HARMLESS:
            ends = {name: each.status.reason for name, each in world.assignments.items() if each.status.reason}
            assert ends == EXPECTED.get(story, {}), f"world {seed}"


def test_a_world_repeats_from_its_seed() -> None:
    first, second = tell("seed", "everything", 7), tell("seed", "everything", 7)
    assert first.trace == second.trace


def test_the_second_move_waits_and_says_for_whom() -> None:
    world = tell("two_moves", "calm", FIRST)
    waits = {event.message for event in world.events if event.reason == "Waiting"}
    assert "waits for first, which came first and touches the same" in waits


def test_a_silent_worker_makes_an_operation_say_stalled_and_why() -> None:
    said = set()
    for seed in range(40):
        world = tell("move", "workers", seed)
        said |= {event.message.split(" since ")[0] for event in world.events if event.reason == "WorkerUnreachable"}
        assert all(each.status.phase is not AssignmentPhase.STALLED for each in world.assignments.values())
    assert said & {"pod1 has not answered", "pod2 has not answered"}


# The world is only worth what it notices.


def tell_all(story: str, weather: str) -> None:
    for seed in range(50):
        tell(story, weather, seed)


def unfenced(row: Row) -> Row:
    """Commit as soon as nothing is missing, whether the source holds its writers or not."""
    return replace(row, guard=drained) if row.when == "fenced & drained" else row


def hasty(row: Row) -> Row:
    """Take the parts out of the routing table before the merged partition is in it."""
    return replace(row, effects=row.effects[::-1]) if row.when == "flipped" else row


@pytest.mark.parametrize(
    ("story", "weather", "operation", "change", "promise"),
    [("move", "calm", Move, unfenced, "B: "), ("merge", "calm", Merging, hasty, "C: ")],
    ids=["a commit without a fence", "a range without an owner"],
)
def test_the_world_notices(
    monkeypatch: pytest.MonkeyPatch,
    story: str,
    weather: str,
    operation: type[Operation],
    change: Callable[[Row], Row],
    promise: str,
) -> None:
    monkeypatch.setattr(operation, "table", Transitions(*map(change, operation.table)))
    with pytest.raises(AssertionError, match=promise):
        tell_all(story, weather)

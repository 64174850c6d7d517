"""Beginnings of stories: what is there, and what is asked for, at once or later."""

from __future__ import annotations

from collections.abc import Callable

from dstk.api import Policy

from .checker import KEYS
from .specs import merge, move, new, split
from .weather import UNSETTLED, WEATHERS, Weather
from .world import World

__all__ = ["STORIES", "tell"]


def story_new(world: World) -> None:
    for name, start, end in (("p1", "a", "d"), ("p2", "d", "g"), ("p3", "g", "j"), ("p4", "j", "m"), ("p5", "m", "")):
        world.add_partition(name, start, end)
    world.add_assignment("new", new("p1", "p2", "p3", "p4", "p5", primary="pod1"))


def story_split(world: World) -> None:
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("split", split("p", "j", "e"))


def story_merge(world: World) -> None:
    world.add_partition("p1", "a", "e", "pod1")
    world.add_partition("p2", "j", "o", "pod1")
    world.add_assignment("merge", merge("p2", "p1"))


def story_move(world: World) -> None:
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("move", move("p", "pod1", "pod2"))


def story_there_and_back(world: World) -> None:
    """Away, on, and back, so that every worker meets the partition again."""
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("away", move("p", "pod1", "pod2"))
    world.later(6, "back", move("p", "pod2", "pod1"))
    world.later(12, "away-again", move("p", "pod1", "pod2"))
    world.later(18, "on", move("p", "pod2", "pod3"))


def story_new_and_on(world: World) -> None:
    """Served for the first time, and soon somewhere else."""
    world.add_partition("p", "a", "o")
    world.add_assignment("new", new("p", primary="pod1"))
    world.later(1.5, "away", move("p", "pod1", "pod2"))
    world.later(9, "on", move("p", "pod2", "pod3"))


def story_two_moves(world: World) -> None:
    """Two want the same partition; a third one wants it back."""
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("first", move("p", "pod1", "pod2"))
    world.later(0.5, "second", move("p", "pod1", "pod3"))
    world.later(1.5, "third", move("p", "pod2", "pod1"))


def story_seed(world: World) -> None:
    """What the seed tells: new, split, move, merge back, one after the other."""
    world.add_partition("part", "a", "o")
    world.add_assignment("new", new("part", primary="pod1"))
    world.later(1.0, "split", split("part", "e", names=("subpart1", "subpart2")))
    world.later(2.0, "move1", move("subpart1", "pod1", "pod2"))
    world.later(3.0, "move2", move("subpart2", "pod1", "pod2"))
    world.later(4.0, "merge", merge("subpart1", "subpart2", name="whole"))


def story_reshape(world: World) -> None:
    """The same names come again and again."""
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("split", split("p", "e", names=("low", "high")))
    world.later(2, "merge", merge("low", "high", name="p"))
    world.later(4, "split-again", split("p", "e", names=("low", "high")))
    world.later(6, "move", move("low", "pod1", "pod2"))
    world.later(8, "move-too", move("high", "pod1", "pod2"))
    world.later(16, "merge-again", merge("low", "high", name="p"))


def story_planned(world: World) -> None:
    """Nobody says what is to be done: the Assigner places, splits what is hot, merges what is cold, and evens out."""
    for name, start, end in (("p1", "a", "d"), ("p2", "d", "g"), ("p3", "g", "j"), ("p4", "j", "")):
        world.add_partition(name, start, end)
    world.plan(
        Policy(
            max_ops_per_second=5, merge_below_ops_per_second=1, max_rows=10_000, merge_below_rows=5_000,
            cooldown_seconds=3, replace_after_seconds=4, balance_tolerance_percent=0,
        )
    )  # fmt: skip
    random = world.random

    def change(times: int) -> None:
        world.hot = random.sample(KEYS, 2) if times else []
        world.cordon({random.choice(world.names)} if times and random.random() < 0.4 else set())
        if times:
            world.loop.outside(random.choice((4, 8)), change, times - 1)
        else:
            world.loop.outside(5, world.plan_no_more)

    change(3)


STORIES: dict[str, Callable[[World], None]] = {
    "new": story_new,
    "split": story_split,
    "merge": story_merge,
    "move": story_move,
    "there_and_back": story_there_and_back,
    "new_and_on": story_new_and_on,
    "two_moves": story_two_moves,
    "seed": story_seed,
    "reshape": story_reshape,
    "planned": story_planned,
}


def tell(story: str, weather: str | Weather, seed: int, keep_trace: bool = False, world: type[World] = World) -> World:
    """Run a story to its end under that weather. Raises Broken."""
    told = world(seed, (WEATHERS | UNSETTLED)[weather] if isinstance(weather, str) else weather, keep_trace=keep_trace)
    STORIES[story](told)
    told.run()
    return told

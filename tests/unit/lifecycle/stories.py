"""Beginnings of stories for the simulated world: what is there, what is asked for, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable

from sim_operator import operator
from world import Chances, World

from dstk.api import AssignmentSpec, AssignmentType, MergeParams, MoveParams, NewParams, SplitParams

CALM = Chances()
CALLS = Chances(lost=0.1, unanswered=0.1, uncertain=0.4, label=0.02)
"""Calls to workers and commits get lost, late or unanswered, and somebody edits labels."""
OPERATORS = Chances(operator_crash=0.02, uncertain=0.2, lost=0.03, unanswered=0.03)
"""Operators die in the middle of things, and old ones go on beside the new."""
RIVALS = Chances(operator_crash=0.04, operator_lingers=0.8, unanswered=0.02, cancel=0.002)
"""As before, and nearly all that the old ones were about to do is still done."""
WORKERS = Chances(worker_crash=0.004, pod_deleted=0.004, unreachable=0.01)
"""Workers restart, their pods are deleted, and they do not answer for a while."""
USERS = Chances(cancel=0.01, label=0.02, uncertain=0.2)
"""Users delete Assignments that run."""
VANISHING = Chances(vanish=0.01, uncertain=0.2, lost=0.05, unanswered=0.05)
"""Assignments that run are gone from one moment to the next: recovery brings in line what they leave."""
EVERYTHING = Chances(
    lost=0.03,
    unanswered=0.03,
    uncertain=0.2,
    operator_crash=0.008,
    worker_crash=0.002,
    pod_deleted=0.002,
    unreachable=0.004,
    label=0.01,
    cancel=0.002,
)

WEATHER = {
    "calm": CALM,
    "calls": CALLS,
    "operators": OPERATORS,
    "rivals": RIVALS,
    "workers": WORKERS,
    "users": USERS,
    "vanishing": VANISHING,
    "everything": EVERYTHING,
}


def new(*partitions: str, primary: str) -> AssignmentSpec:
    return AssignmentSpec(type=AssignmentType.NEW, new_params=NewParams(partitions=partitions, primary=primary))


def split(partition: str, *keys: str, names: tuple[str, ...] | None = None) -> AssignmentSpec:
    params = SplitParams(partition=partition, split_keys=keys, names=names)
    return AssignmentSpec(type=AssignmentType.SPLIT, split_params=params)


def merge(*partitions: str, name: str | None = None) -> AssignmentSpec:
    params = MergeParams(partitions=partitions, name=name)
    return AssignmentSpec(type=AssignmentType.MERGE, merge_params=params)


def move(partition: str, source: str, to: str) -> AssignmentSpec:
    params = MoveParams(partition=partition, source=source, to=to)
    return AssignmentSpec(type=AssignmentType.MOVE, move_params=params)


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


def story_two_moves(world: World) -> None:
    """Two want the same partition; a third one wants it back."""
    world.add_partition("p", "a", "o", "pod1")
    world.add_assignment("first", move("p", "pod1", "pod2"))
    world.add_assignment("second", move("p", "pod1", "pod3"))
    world.add_assignment("back", move("p", "pod2", "pod1"))


def story_seed(world: World) -> None:
    """What the seed tells: new, split, move, merge back, one after the other."""
    world.add_partition("part", "a", "o")
    world.add_assignment("new", new("part", primary="pod1"))
    world.add_assignment("split", split("part", "e", names=("subpart1", "subpart2")))
    world.add_assignment("move1", move("subpart1", "pod1", "pod2"))
    world.add_assignment("move2", move("subpart2", "pod1", "pod2"))
    world.add_assignment("merge", merge("subpart1", "subpart2", name="whole"))


STORIES: dict[str, Callable[[World], None]] = {
    "new": story_new,
    "split": story_split,
    "merge": story_merge,
    "move": story_move,
    "two_moves": story_two_moves,
    "seed": story_seed,
}


def tell(story: str, weather: str, seed: int, faults: int = 8) -> World:
    """Run a story to its end under that weather."""
    world = World(seed, operator, chances=WEATHER[weather])
    STORIES[story](world)
    world.run(0 if weather == "calm" else faults)
    return world

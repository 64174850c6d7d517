"""What the demo does next: a pure function of the partitions there are and of what was done so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dstk import keys

MOVES = 4
"""Moves at least; splits and merges: one each."""


@dataclass(frozen=True, slots=True)
class Held:
    """A partition as the story sees it. Bounds are bytes, an empty end is +∞."""

    name: str
    start: bytes
    end: bytes
    primary: str


@dataclass(frozen=True, slots=True)
class Done:
    """How many operations of each type have completed."""

    splits: int = 0
    merges: int = 0
    moves: int = 0

    @property
    def enough(self) -> bool:
        """Every type has been shown."""
        return self.splits >= 1 and self.merges >= 1 and self.moves >= MOVES


def next_operation(partitions: Sequence[Held], workers: Sequence[str], done: Done, key_length: int) -> dict[str, Any]:
    """The spec of the Assignment to create next: moves, a split, moves, a merge, and moves from then on.

    `partitions` in key order.
    """
    if done.splits == 0 and done.moves >= 1:
        return split(partitions, key_length)
    if done.merges == 0 and done.splits >= 1 and done.moves >= 3:
        pair = neighbours(partitions)
        if pair is not None:
            return {"type": "InWorkerMerge", "mergeParams": {"partitions": list(pair)}}
    return move(partitions, workers, done.moves)


def split(partitions: Sequence[Held], key_length: int) -> dict[str, Any]:
    """Cut the widest partition in the middle."""
    widest = max(
        partitions, key=lambda held: _number(held.end, key_length, high=True) - _number(held.start, key_length)
    )
    middle = (_number(widest.start, key_length) + _number(widest.end, key_length, high=True)) // 2
    key = keys.format_bound(middle.to_bytes(key_length, "big"))
    return {"type": "InWorkerSplit", "splitParams": {"partition": widest.name, "splitKey": key}}


def neighbours(partitions: Sequence[Held]) -> tuple[str, str] | None:
    """The last two adjacent partitions on one worker."""
    pairs = list(pairwise(partitions))
    for left, right in reversed(pairs):
        if left.end == right.start and left.primary == right.primary:
            return left.name, right.name
    return None


def move(partitions: Sequence[Held], workers: Sequence[str], turn: int) -> dict[str, Any]:
    """Take a partition of the fullest worker to the emptiest, each time another one; ties go by name."""
    count = Counter(dict.fromkeys(workers, 0))
    count.update(held.primary for held in partitions)
    source = max(sorted(count), key=count.__getitem__)
    to = min(sorted(set(workers) - {source}), key=count.__getitem__)
    candidates = [held for held in partitions if held.primary == source]
    chosen = candidates[turn * 7 % len(candidates)]
    return {"type": "InterWorkerMove", "moveParams": {"partition": chosen.name, "from": source, "to": to}}


def _number(bound: bytes, key_length: int, high: bool = False) -> int:
    if not bound:
        return 1 << (8 * key_length) if high else 0
    return int.from_bytes(bound.ljust(key_length, b"\0"), "big")

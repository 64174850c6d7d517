"""Balance: even out how many partitions the workers hold, with as few moves as that takes."""

from __future__ import annotations

import math

from dstk.plan.draft import Draft
from dstk.plan.view import Part

__all__ = ["balance", "bounds"]


def bounds(total: int, workers: int, tolerance_percent: int) -> tuple[int, int]:
    """How few and how many of ``total`` partitions a worker may hold.

    The even share rounded either way is always allowed, and ``tolerance_percent`` of it on top.
    """
    low = min(total // workers, math.ceil(total * (100 - tolerance_percent) / (100 * workers)))
    high = max(-(-total // workers), total * (100 + tolerance_percent) // (100 * workers))
    return low, high


def balance(draft: Draft) -> None:
    """Proposes moves from who holds most to who holds least until all are within bounds.

    Each move brings the worker that is out of bounds nearer, so their number is the least that can do it: the larger of
    what is above and what is missing below. Among a worker's partitions, the cheapest to copy goes. Nothing is evened
    out while workers are restarted: each that comes back is empty for a while, and would be filled only to be emptied.
    What somebody moved by hand stays where it is.
    """
    view = draft.view
    if any(worker.name in view.rollout.rolling for worker in view.workers):
        return
    takers = [worker.name for worker in view.takers]
    if takers:
        _empty_spares(draft, takers)
    if len(takers) < 2 or not draft.moves_left:
        return
    low, high = bounds(sum(draft.held[name] for name in takers), len(takers), view.policy.balance_tolerance_percent)
    givers = set(takers)
    movable: dict[str, list[Part]] = {}
    while draft.moves_left and givers:
        most, least = max(givers, key=draft.rank), min(takers, key=draft.rank)
        if draft.held[most] <= high and draft.held[least] >= low:
            return
        if draft.held[most] - draft.held[least] < 2:
            return
        if most not in movable:
            movable[most] = sorted(_movable(draft, most), key=lambda part: part.weight, reverse=True)
        if not movable[most]:
            givers.discard(most)
            continue
        # If the cheapest fits nowhere, none does.
        part = movable[most][-1]
        to = min(draft.takers_of(part, takers), key=draft.rank, default=most)
        uneven = draft.held[most] > high or draft.held[to] < low
        if not uneven or draft.held[most] - draft.held[to] < 2:
            givers.discard(most)
            continue
        movable[most].pop()
        counts = f"{most} holds {draft.held[most]}, {to} {draft.held[to]}"
        draft.move(part, to, f"{counts}; {low} to {high} is even")


def _empty_spares(draft: Draft, takers: list[str]) -> None:
    """Workers that are to be kept empty give what they have."""
    for spare in sorted(draft.view.rollout.spares - set(takers)):
        for part in sorted(_movable(draft, spare), key=lambda part: part.weight)[: draft.moves_left]:
            to = min(draft.takers_of(part, takers), key=draft.rank, default=None)
            if to is None:
                continue
            draft.move(part, to, f"{spare} is kept empty for the next restart; {to} holds least")


def _movable(draft: Draft, worker: str) -> list[Part]:
    view = draft.view
    return [
        part
        for part in view.parts
        if part.primary == worker
        and not (part.proxy or part.placed_by_hand)
        and draft.free(part)
        and draft.answers(part)
        and view.cooled(part)
    ]

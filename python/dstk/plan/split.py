"""Split: cut what is too big or too busy."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from dstk.api import AssignmentSpec, AssignmentType, SplitParams
from dstk.keys import format_bound
from dstk.plan.cluster import Load
from dstk.plan.draft import Draft
from dstk.plan.view import Part, View
from dstk.span import Span

__all__ = ["cuts_by_load", "split"]

PIECES_MAX = 16
"""Pieces of one split; what is still above a threshold after that is split again."""

_FILL = 2 / 3
"""Each piece gets at most this share of the threshold, so that it does not cross it again at once."""

_WORTHWHILE = 0.9
"""A split whose heaviest piece keeps more of the load than this does not help: the load is on one key."""


@dataclass(frozen=True, slots=True)
class _Excess:
    """How far a partition is above a threshold: ``times`` of it."""

    times: float
    why: str
    by_load: bool


def split(draft: Draft) -> None:
    """Proposes splits, the furthest above its threshold first.

    By size at once; by load only when the partition is as old as a cool-down, since averages need time to follow.
    """
    view = draft.view
    stays = {worker.name for worker in view.workers if worker.ready and not worker.leaving}
    found = []
    for part in view.parts:
        if part.primary in stays and not part.proxy and part.load is not None and draft.free(part):
            excess = _excess(part, part.load, view)
            if excess is not None:
                found.append((-excess.times, part.name, part, excess))
    for _, _, part, excess in sorted(found, key=lambda item: item[:2]):
        if not draft.reshapes_left:
            return
        cuts = _cuts(part, excess)
        if cuts:
            draft.propose(_spec(part, cuts), [part], excess.why)
            draft.reshapes_left -= 1


def _excess(part: Part, load: Load, view: View) -> _Excess | None:
    policy = view.policy
    rows, size = load.rows / policy.max_rows, load.bytes / policy.max_bytes
    rate = load.operations_per_second / policy.max_ops_per_second
    if max(rows, size, rate) <= 1:
        return None
    if rate > max(rows, size) and view.settled(part):
        why = f"{load.operations_per_second:.0f} operations/s, above maxOpsPerSecond {policy.max_ops_per_second}"
        return _Excess(rate, why, by_load=True)
    if max(rows, size) <= 1:
        return None
    if rows >= size:
        return _Excess(rows, f"{load.rows} rows, above maxRows {policy.max_rows}", by_load=False)
    return _Excess(size, f"{load.bytes} bytes, above maxBytes {policy.max_bytes}", by_load=False)


def _cuts(part: Part, excess: _Excess) -> list[bytes]:
    load = part.load
    assert load is not None
    if excess.by_load and load.sample:
        pieces = min(PIECES_MAX, max(2, math.ceil(excess.times / _FILL)))
        return cuts_by_load(load.sample, part.span, pieces)
    median = load.median_key
    return [median] if median is not None and _inside(median, part.span) else []


def _inside(key: bytes, span: Span) -> bool:
    return span.holds(key) and key != span.start and bool(key.strip(b"\0"))


def cuts_by_load(sample: Sequence[tuple[bytes, float]], span: Span, pieces: int) -> list[bytes]:
    """Keys that cut the sampled load of a span into about equal ``pieces``, ascending; fewer where one key is heavy.

    Empty when no cut helps: one key carries (nearly) all of the load. Each cut is the first key of the upper piece, at
    the place where the load below it is nearest to its share.
    """
    weights: dict[bytes, float] = {}
    for key, weight in sample:
        if span.holds(key) and weight > 0:
            weights[key] = weights.get(key, 0.0) + weight
    keys = sorted(weights)
    below = [0.0, *accumulate(weights[key] for key in keys)]
    total = below[-1]
    places = {_nearest(below, total * share / pieces) for share in range(1, pieces)} - {0, len(keys)}
    places = {place for place in places if _inside(keys[place], span)}
    edges = [0, *sorted(places), len(keys)]
    heaviest = max((below[high] - below[low] for low, high in pairwise(edges)), default=0.0)
    if not places or heaviest > _WORTHWHILE * total:
        return []
    return [keys[place] for place in sorted(places)]


def _nearest(ascending: Sequence[float], wanted: float) -> int:
    at = bisect_left(ascending, wanted)
    if at == len(ascending):
        return at - 1
    if at and wanted - ascending[at - 1] < ascending[at] - wanted:
        return at - 1
    return at


def _spec(part: Part, cuts: list[bytes]) -> AssignmentSpec:
    keys = tuple(format_bound(cut) for cut in cuts)
    if len(keys) == 1:
        params = SplitParams(partition=part.name, split_key=keys[0])
    else:
        params = SplitParams(partition=part.name, split_keys=keys)
    return AssignmentSpec(type=AssignmentType.SPLIT, split_params=params)

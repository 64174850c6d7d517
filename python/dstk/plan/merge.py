"""Merge: join small, idle neighbours of one worker."""

from __future__ import annotations

from collections.abc import Iterator

from dstk.api import AssignmentSpec, AssignmentType, MergeParams, Policy
from dstk.plan.cluster import Load
from dstk.plan.draft import Draft
from dstk.plan.view import Part

__all__ = ["merge"]

PARTS_MAX = 100
"""Parts of one merge: the bound of mergeParams.partitions."""


def merge(draft: Draft) -> None:
    """Proposes merges of runs of cold neighbours, in key order.

    What comes out stays below half of every split threshold, and the keyspace keeps at least as many partitions as it
    was cut into, and one a worker. Where somebody cut by hand nothing is joined.
    """
    view = draft.view
    spare = len(view.parts) - max(view.keyspace.spec.partitions.count, len(view.workers), 1)
    for run in _runs(draft):
        if not draft.reshapes_left or spare <= 0:
            return
        parts = run[: spare + 1]
        rows = sum(part.load.rows for part in parts if part.load)
        params = MergeParams(partitions=tuple(part.name for part in parts))
        why = f"{len(parts)} cold neighbours with {rows} rows together"
        draft.propose(AssignmentSpec(type=AssignmentType.MERGE, merge_params=params), parts, why)
        draft.reshapes_left -= 1
        spare -= len(parts) - 1


def _runs(draft: Draft) -> Iterator[list[Part]]:
    """Maximal runs of at least two parts that may become one."""
    stays = {worker.name for worker in draft.view.workers if worker.ready and not worker.leaving}
    run: list[Part] = []
    total = Load()
    for part in draft.view.parts:
        load = _cold(part, draft) if part.primary in stays else None
        joined = _sum(total, load) if load is not None else None
        if run and load is not None and joined is not None and _fits(run, part, joined, draft.view.policy):
            run.append(part)
            total = joined
            continue
        if len(run) > 1:
            yield run
        run, total = ([part], load) if load is not None else ([], Load())
    if len(run) > 1:
        yield run


def _cold(part: Part, draft: Draft) -> Load | None:
    """The part's load if it may be merged."""
    view, load = draft.view, part.load
    if load is None or part.proxy or not draft.free(part) or not view.settled(part):
        return None
    cold = (
        load.rows < view.policy.merge_below_rows
        and load.operations_per_second <= view.policy.merge_below_ops_per_second
    )
    return load if cold else None


def _fits(run: list[Part], part: Part, together: Load, policy: Policy) -> bool:
    return (
        len(run) < PARTS_MAX
        and run[-1].primary == part.primary
        and run[-1].span.end == part.span.start
        and not part.cut_by_hand
        and 2 * together.rows <= policy.max_rows
        and 2 * together.bytes <= policy.max_bytes
        and 2 * together.operations_per_second <= policy.max_ops_per_second
    )


def _sum(left: Load, right: Load) -> Load:
    return Load(
        rows=left.rows + right.rows,
        bytes=left.bytes + right.bytes,
        operations_per_second=left.operations_per_second + right.operations_per_second,
    )

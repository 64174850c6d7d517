"""Place: give what nobody serves to workers, evenly."""

from __future__ import annotations

import heapq
from collections import defaultdict

from dstk.api import AssignmentSpec, AssignmentType, NewParams, OnLoss
from dstk.plan.coverage import Coverage
from dstk.plan.draft import Draft
from dstk.plan.view import Part, View

__all__ = ["place"]

BATCH = 1000
"""Partitions in one Assignment: the bound of newParams.partitions."""


def place(draft: Draft) -> None:
    """Proposes New for what has no owner, at once for all; in turn over the workers that hold least.

    Going round in key order gives neighbours to different workers, so a hot stretch of keys does not meet one worker.
    """
    view = draft.view
    takers = [worker for worker in view.takers if draft.room.is_open(worker.name)] or view.takers
    heap = [draft.rank(worker) for worker in takers]
    if not heap:
        return
    heapq.heapify(heap)
    given: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for why, parts in (("no worker has it", _unassigned(draft)), ("its worker is gone", _orphans(draft))):
        for part in parts:
            worker = heap[0][2]
            draft.held[worker] += 1
            heapq.heapreplace(heap, draft.rank(worker))
            given[worker, why].append(part)
    for (worker, why), parts in sorted(given.items(), key=lambda item: item[0]):
        for first in range(0, len(parts), BATCH):
            batch = parts[first : first + BATCH]
            draft.propose(_new(worker, batch), batch, f"{why}; {worker} holds least")


def _new(worker: str, parts: list[Part]) -> AssignmentSpec:
    if len(parts) == 1:
        params = NewParams(partition=parts[0].name, primary=worker)
    else:
        params = NewParams(partitions=tuple(part.name for part in parts), primary=worker)
    return AssignmentSpec(type=AssignmentType.NEW, new_params=params)


def _unassigned(draft: Draft) -> list[Part]:
    """Free partitions without an owner. Of two that overlap, the one that came first: New would refuse the other."""
    owned = Coverage(part.span for part in draft.view.parts if part.primary or part.proxy)
    waiting = [part for part in draft.view.parts if not part.primary and not part.proxy and draft.free(part)]
    kept = []
    for part in sorted(waiting, key=lambda part: (-part.epoch, part.created, part.name)):
        if not owned.overlaps(part.span):
            owned.add(part.span)
            kept.append(part)
    return sorted(kept, key=lambda part: (part.span, part.name))


def _orphans(draft: Draft) -> list[Part]:
    """Free partitions whose pod is gone and has had its time to come back; with Disk, the rows are where it was."""
    view = draft.view
    spec = view.keyspace.spec
    if spec.durable:
        return []
    recreated = spec.on_loss is OnLoss.RECREATE
    lost = {name for name, since in view.absent.items() if view.now - since >= view.policy.replace_after_seconds}
    lost = (lost - view.pods) | _lapsed(view)
    given_up = [part for part in view.parts if part.primary in lost and (recreated or part.given_up)]
    return [part for part in given_up if draft.free(part)]


def _lapsed(view: View) -> set[str]:
    """Workers that have been silent for longer than the lease, and then some: the reconciler knows for certain."""
    lease = view.keyspace.spec.worker_lease
    if not lease:
        return set()
    silent = ((worker.name, worker.silent_since) for worker in view.workers)
    return {name for name, since in silent if since is not None and view.now - since >= 1.5 * lease + 2.0}

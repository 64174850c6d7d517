"""Drain: empty the workers that leave."""

from __future__ import annotations

from dstk.plan.draft import Draft

__all__ = ["drain"]


def drain(draft: Draft) -> None:
    """Proposes moves off workers that leave to those that hold least, the cheapest to copy first.

    While a new revision rolls out, to those that have it: the others will have to give it away again. No cool-down: a
    worker that leaves does not wait.
    """
    view = draft.view
    leaving = {worker.name for worker in view.workers if worker.leaving}
    if not leaving or not view.takers or not draft.moves_left:
        return
    outdated = view.standing.outdated
    fresh = [worker for worker in view.takers if worker.name not in outdated]
    parts = [part for part in view.parts if part.primary in leaving and not part.proxy and draft.free(part)]
    for part in sorted(parts, key=lambda part: part.weight)[: draft.moves_left]:
        to = min(fresh or view.takers, key=draft.rank).name
        why = view.standing.leaving.get(part.primary or "")
        suits = "is restarted already" if outdated and fresh else "holds least"
        draft.move(part, to, f"{part.primary} leaves{f': {why}' if why else ''}; {to} {suits}")

"""Drain: empty the workers that leave."""

from __future__ import annotations

from dstk.plan.draft import Draft

__all__ = ["drain"]


def drain(draft: Draft) -> None:
    """Proposes moves off workers that leave to those that hold least, the cheapest to copy first.

    While a new revision rolls out, to those that have it: the others will have to give it away again. No cool-down: a
    worker that leaves does not wait. What fits nowhere stays, and the draft says so.
    """
    view = draft.view
    leaving = {worker.name for worker in view.workers if worker.leaving}
    if not leaving:
        return
    outdated = view.rollout.outdated
    takers = [worker.name for worker in view.takers]
    fresh = [name for name in takers if name not in outdated]
    parts = [part for part in view.parts if part.primary in leaving and not part.proxy and draft.free(part)]
    for part in sorted(filter(draft.answers, parts), key=lambda part: part.weight):
        if not draft.moves_left:
            return
        able = draft.takers_of(part, fresh) or draft.takers_of(part, takers)
        if not able:
            assert part.primary is not None
            draft.stuck.setdefault(part.primary, f"{part.name} fits nowhere: {draft.room.why_not(part.load, takers)}")
            continue
        to = min(able, key=draft.rank)
        why = view.rollout.leaving.get(part.primary or "")
        suits = "is restarted already" if outdated and to in fresh else "holds least"
        draft.move(part, to, f"{part.primary} leaves{f': {why}' if why else ''}; {to} {suits}")

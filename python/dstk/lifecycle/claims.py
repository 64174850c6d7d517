"""What workers hold as primaries, whatever the objects say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstk.control.views import PartitionView, WorkerView
from dstk.span import Span

if TYPE_CHECKING:
    from dstk.api import Partition

__all__ = ["Claim", "claims_of", "unsettled"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker is primary of a partition."""

    worker: str
    name: str
    part: PartitionView


def claims_of(views: Iterable[WorkerView], keyspace: str) -> list[Claim]:
    """Of the workers that answer, in one keyspace."""
    return [
        Claim(view.name, name, part)
        for view in views
        if view.reachable
        for name, part in view.parts.items()
        if part.role == "primary" and part.keyspace == keyspace
    ]


def unsettled(claims: Iterable[Claim], name: str, span: Span, epoch: int, objects: Iterable[Partition]) -> list[Claim]:
    """Claims of other names, in later epochs, on keys of a partition, that `objects` (those with keys of it) hide.

    They are of a split or merge that the objects know nothing of, as they were set back. Whoever holds them gets
    objects before anybody serves these keys from empty.
    """
    shown = {each.metadata.name: each.spec.epoch for each in objects}
    return [
        claim
        for claim in claims
        if claim.name != name
        and claim.part.epoch > epoch
        and claim.part.span.overlaps(span)
        and shown.get(claim.name, -1) < claim.part.epoch
    ]

"""What workers hold as primaries, whatever the objects say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dstk.api import Assignment, Keyspace, Partition
from dstk.api.span import span_of
from dstk.api.validation import Overlapping, Refusal
from dstk.control.views import PartitionView, WorkerView
from dstk.errors import InvalidRequest
from dstk.span import Span

__all__ = ["Claim", "claims_of", "held_elsewhere", "unsettled"]


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


def held_elsewhere(
    assignment: Assignment,
    keyspace: Keyspace,
    views: Sequence[WorkerView],
    partitions: Mapping[str, Partition],
    overlapping: Overlapping,
) -> Refusal | None:
    """Whether a worker has rows of what a New gives to another one, as nobody owns it by its object.

    `views`: all workers with all that they hold; none: they were not asked. `overlapping`: names of the Partitions
    with a key in a range. That worker is to get its object back first.
    """
    new = assignment.spec.new_params
    if new is None or not views:
        return None
    claims = claims_of(views, keyspace.metadata.name)
    holders = {claim.name: claim.worker for claim in claims}
    for name in new.names:
        partition = partitions.get(name)
        if partition is None:
            continue
        holder = holders.get(name)
        if holder is None or holder == new.primary or partition.spec.primary:
            found = _unsettled(partition, keyspace, claims, partitions, overlapping)
            holder = next((claim.worker for claim in found), None)
        if holder is not None:
            return Refusal("HeldElsewhere", f'pod "{holder}" has rows of Partition "{name}", and gets them back')
    return None


def _unsettled(
    partition: Partition,
    keyspace: Keyspace,
    claims: Iterable[Claim],
    partitions: Mapping[str, Partition],
    overlapping: Overlapping,
) -> list[Claim]:
    """Who holds keys of it that no object shows."""
    try:
        span = span_of(partition.spec.range, keyspace.spec.key_length)
    except InvalidRequest:
        return []
    names = overlapping(keyspace.metadata.name, span.start, span.end)
    over = [each for name in names if (each := partitions.get(name)) is not None]
    return unsettled(claims, partition.metadata.name, span, partition.spec.epoch, over)

"""recover: what to do about what one worker holds, and what it should hold, where no Assignment is in charge.

It is asked when a worker connects, in whatever life, and after an Assignment has ended. Like decisions it is
level-triggered, and whatever it does may be done again. ``facts`` is what one row of the tables in ``rules`` may ask.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from dstk.api import Keyspace, Partition
from dstk.control.views import WorkerView
from dstk.lifecycle.actions import Action, Parallel
from dstk.lifecycle.claims import Claim
from dstk.lifecycle.recovery.facts import NOTHING, Overlapping, RecoveredPartition, WorkerFacts
from dstk.lifecycle.recovery.rules import FOREIGN, OWNED

__all__ = ["FOREIGN", "OWNED", "recover"]


def recover(
    partitions: Mapping[str, Partition],
    worker: WorkerView,
    keyspace: Keyspace,
    busy: Collection[str],
    addresses: Mapping[str, str] | None = None,
    overlapping: Overlapping | None = None,
    claims: Iterable[Claim] | None = None,
    unasked: Collection[str] = (),
) -> list[Action]:
    """What has to be done so that `worker` holds what the objects say, and nothing else.

    `partitions`: every Partition of the keyspace that names the worker as primary or proxy, or that the
    worker holds; one that the worker holds and that is missing has no object. They are read before the
    worker is asked. `busy`: partitions that an unfinished Assignment touches, children and merged ones
    included (``touched``), found out after the worker was asked: they are left to it. `addresses`: data plane
    by worker name. `overlapping`: every Partition with a key in a range. `claims`: what all workers that answer are
    primary of in the keyspace; None: they were not asked, as nothing is missing. `unasked`: workers that may hold what
    no object shows, since the objects may have been set back, and that do not answer: nothing is served from empty
    before. The result is one Parallel with a lane for each partition, or nothing. A lane has to be broken off as soon
    as its partition becomes busy.
    """
    if not worker.reachable:
        return []
    facts = WorkerFacts(partitions, worker, keyspace, busy, addresses or {}, overlapping, claims, unasked)
    lanes = (_lane(RecoveredPartition(facts, name)) for name in facts.names)
    found = tuple(lane for lane in lanes if lane)
    return [Parallel(found)] if found else []


def _lane(partition: RecoveredPartition) -> tuple[Action, ...]:
    table = OWNED if partition.is_owned else FOREIGN
    held = partition.held
    row = table.pick(held.role if held is not None else NOTHING, partition)
    return tuple(action for effect in row.effects for action in effect.actions(partition))

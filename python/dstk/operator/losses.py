"""The ranges whose rows were lost, as clients are told of them with the routes."""

from __future__ import annotations

from collections import defaultdict

from dstk.api import Keyspace, Partition, PartitionPhase
from dstk.api.losses import is_accepted, loss_of
from dstk.api.span import span_of
from dstk.errors import InvalidRequest
from dstk.lifecycle.availability import is_away
from dstk.lifecycle.losses import HELD
from dstk.wire import Loss

__all__ = ["Losses", "loss_in"]


class Losses:
    """What the Partitions say by condition DataLost and nobody has accepted, by keyspace. Told of every change."""

    def __init__(self) -> None:
        self._lost: defaultdict[str, dict[str, Loss]] = defaultdict(dict)

    def learn(self, old: Partition | None, new: Partition | None, keyspace: Keyspace | None) -> bool:
        """Take in that a Partition has changed; whether that changes what there is to tell of its keyspace."""
        partition = new or old
        assert partition is not None
        lost = self._lost[partition.spec.keyspace]
        name = partition.metadata.name
        loss = loss_in(new, keyspace) if new is not None and keyspace is not None else None
        if lost.get(name) == loss:
            return False
        if loss is None:
            del lost[name]
        else:
            lost[name] = loss
        return True

    def of(self, keyspace: str) -> list[Loss]:
        """All of them in the order of keys."""
        return sorted(self._lost[keyspace].values(), key=lambda loss: (loss.start, loss.partition))


def loss_in(partition: Partition, keyspace: Keyspace) -> Loss | None:
    """What there is to tell of a Partition."""
    loss = loss_of(partition)
    if loss is None or partition.spec.merged_away:
        return None
    unavailable = partition.status.phase is PartitionPhase.UNAVAILABLE and not is_away(partition)
    # For any other reason it is served from empty in a moment, which a request can wait for.
    held = unavailable and loss.reason in HELD
    if is_accepted(partition) and not held:
        return None
    try:
        span = span_of(partition.spec.range, keyspace.spec.key_length)
    except InvalidRequest:
        return None
    since = loss.last_transition_time.timestamp()
    return Loss(partition.metadata.name, span.start, span.end, since, loss.reason, held)

"""What is said of a Partition whose rows were lost, and how that ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dstk.api import Condition, Partition, PartitionPhase
from dstk.api.losses import is_accepted, loss_of
from dstk.lifecycle.actions import Action, Record, SetPartitionStatus

__all__ = ["DISK_OLDER", "HELD", "ROWS_MISSING", "held_back", "settled", "worst_of"]

DISK_OLDER = "DiskOlder"
"""Reason: the worker's disk has rows, and they are not the latest."""
ROWS_MISSING = "RowsMissing"
"""Reason: the worker has no rows of it."""

HELD = (DISK_OLDER, ROWS_MISSING)
"""Reasons for which a Partition is not served before the loss is accepted, or is none any more."""


def held_back(partition: Partition, reason: str, message: str) -> Iterator[Action]:
    """Say that it is not served, and why; once."""
    name, loss = partition.metadata.name, loss_of(partition)
    if loss is not None and loss.reason == reason and partition.status.phase is PartitionPhase.UNAVAILABLE:
        return
    yield SetPartitionStatus(name, PartitionPhase.UNAVAILABLE, "", Partition.DATA_LOST, reason, message)
    yield Record("Warning", Partition.DATA_LOST, message, name)


def settled(partition: Partition, incarnation: str, durable: bool) -> Iterator[Action]:
    """End what is said of a loss, of a Partition that its worker serves, where it is accepted or none any more."""
    loss, name = loss_of(partition), partition.metadata.name
    if loss is None:
        return
    if is_accepted(partition):
        reason, message = "Accepted", f"accepted: {loss.message}"
    elif durable and loss.reason in HELD:
        reason, message = "Restored", f"the rows are there again; before that: {loss.message}"
    else:
        return
    ready = PartitionPhase.READY
    yield SetPartitionStatus(name, ready, incarnation, Partition.DATA_LOST, reason, message, holds=False)
    yield Record("Normal", f"Loss{reason}", message, name)


def worst_of(partitions: Iterable[Partition]) -> Condition | None:
    """The loss that what is made of these Partitions has to tell of: the latest of theirs that nobody has accepted."""
    losses = [loss for each in partitions if (loss := loss_of(each)) is not None and not is_accepted(each)]
    return max(losses, key=lambda loss: loss.last_transition_time, default=None)

"""What a Partition says of rows that were lost, and whether somebody has accepted that."""

from __future__ import annotations

from dstk.api.conditions import Condition, ConditionStatus, find
from dstk.api.group import ACCEPT_LOSS_ANNOTATION
from dstk.api.partition import Partition

__all__ = ["acceptance", "is_accepted", "loss_of"]


def loss_of(partition: Partition) -> Condition | None:
    """Its condition DataLost, if that holds."""
    condition = find(partition.status.conditions, Partition.DATA_LOST)
    return condition if condition is not None and condition.status is ConditionStatus.TRUE else None


def acceptance(loss: Condition) -> str:
    """What the annotation has to say of who accepts this loss, and no later one."""
    return loss.last_transition_time.strftime("%Y-%m-%dT%H:%M:%SZ")


def is_accepted(partition: Partition) -> bool:
    """Whether somebody has accepted the loss that its condition tells of."""
    loss = loss_of(partition)
    return loss is not None and partition.metadata.annotations.get(ACCEPT_LOSS_ANNOTATION) == acceptance(loss)

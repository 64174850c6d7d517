"""What clients are told of a Partition whose rows were lost: above all whether its range waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dstk.api import (
    Condition,
    ConditionStatus,
    KeyRange,
    Keyspace,
    KeyspaceSpec,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
    PartitionStatus,
)
from dstk.operator.losses import loss_in

KEYSPACE = Keyspace(metadata=ObjectMeta(name="default"), spec=KeyspaceSpec(key_length=4))


def lost(phase: PartitionPhase, reason: str) -> Partition:
    condition = Condition(
        type=Partition.DATA_LOST,
        status=ConditionStatus.TRUE,
        reason=reason,
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Partition(
        metadata=ObjectMeta(name="p"),
        spec=PartitionSpec(keyspace="default", range=KeyRange(start="a", end="o"), primary="pod1", epoch=3),
        status=PartitionStatus(phase=phase, conditions=(condition,)),
    )


@pytest.mark.parametrize(
    ("phase", "reason", "held"),
    [
        (PartitionPhase.UNAVAILABLE, "RowsMissing", True),
        (PartitionPhase.UNAVAILABLE, "DiskOlder", True),
        # It is about to be served from empty: a request waits for that, and is not refused.
        (PartitionPhase.UNAVAILABLE, "WorkerRestarted", False),
        (PartitionPhase.LOADING, "WorkerGone", False),
        (PartitionPhase.READY, "WorkerRestarted", False),
    ],
)
def test_a_range_is_held_only_where_a_person_has_to_accept_the_loss(
    phase: PartitionPhase, reason: str, held: bool
) -> None:
    told = loss_in(lost(phase, reason), KEYSPACE)
    assert told is not None
    assert (told.reason, told.held) == (reason, held)

"""What the operator tells Prometheus."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from dstk.api import (
    Condition,
    ConditionStatus,
    KeyRange,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
    PartitionStatus,
)
from dstk.operator.metrics import Metrics, PartitionCollector
from expositions import complaints, ours

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def partition(name: str, phase: PartitionPhase | None, *conditions: tuple[str, ConditionStatus]) -> Partition:
    said = tuple(
        Condition(type=type_, status=status, last_transition_time=NOW, reason="Because") for type_, status in conditions
    )
    return Partition(
        metadata=ObjectMeta(name=name),
        spec=PartitionSpec(range=KeyRange()),
        status=PartitionStatus(phase=phase, conditions=said),
    )


def test_it_keeps_to_the_conventions() -> None:
    metrics = Metrics()
    metrics.registry.register(PartitionCollector([]))
    metrics.on_write("patch", "partitions")
    metrics.on_condition("default", Partition.DATA_LOST, "WorkerGone")
    assert complaints(ours(metrics.registry)) == []


def test_partitions_are_counted_by_phase_and_by_what_is_wrong_with_them() -> None:
    partitions = [
        partition("a", PartitionPhase.READY, ("Ready", ConditionStatus.TRUE)),
        partition("b", PartitionPhase.READY, (Partition.REPAIRED, ConditionStatus.FALSE)),
        partition("c", None, (Partition.DATA_LOST, ConditionStatus.TRUE), ("Ready", ConditionStatus.FALSE)),
    ]
    registry = CollectorRegistry()
    registry.register(PartitionCollector(partitions))
    told = {family.name.removeprefix("dstk_operator_"): family for family in ours(registry)}
    phases = {sample.labels["phase"]: sample.value for sample in told["partitions"].samples}
    assert phases == {"ready": 2, "unassigned": 1}
    conditions = [(sample.labels, sample.value) for sample in told["partition_conditions"].samples]
    assert conditions == [({"keyspace": "default", "condition": "DataLost"}, 1)]


def test_losses_and_repairs_are_counted_by_reason() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.on_condition("default", Partition.DATA_LOST, "WorkerGone")
    metrics.on_condition("default", Partition.REPAIRED, "PrimaryEdited")
    labels = {"keyspace": "default", "reason": "WorkerGone"}
    assert metrics.registry.get_sample_value("dstk_operator_data_losses_total", labels) == 2
    labels["reason"] = "PrimaryEdited"
    assert metrics.registry.get_sample_value("dstk_operator_repairs_total", labels) == 1

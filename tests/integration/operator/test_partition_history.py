"""What was done to a Partition can be read from it when the Assignments are gone; the log has a line of each end."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from harness import World, world

from dstk.api import Partition


def told(partition: Partition) -> list[tuple[str, str, str]]:
    return [(each.assignment, each.outcome, each.reason) for each in partition.status.history]


async def has(cluster: World, name: str, *assignments: str) -> Partition:
    """The Partition once its history names these, the latest first."""

    def is_told(partition: Any) -> bool:
        return tuple(each.assignment for each in partition.status.history) == assignments

    found: Partition = await cluster.until(name, is_told)
    return found


async def move(cluster: World, name: str, to: str, reason: str = "") -> None:
    partition = await cluster.partitions.get("part")
    params = {"partition": "part", "from": partition.spec.primary, "to": to}
    spec = {"type": "InterWorkerMove", "moveParams": params, "reason": reason}
    await cluster.assignments.create({"metadata": {"name": name}, "spec": spec})


async def test_a_partition_remembers_its_last_five_operations() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        for number in range(5):
            await move(cluster, f"move-{number}", ("pod2", "pod1")[number % 2], f"for reason {number}")
            await cluster.ended(f"move-{number}", "Completed")
        found = await has(cluster, "part", "move-4", "move-3", "move-2", "move-1", "move-0")
    latest = found.status.history[0]
    assert (latest.type, latest.outcome) == ("InterWorkerMove", "Completed")
    assert latest.message == "from pod1 to pod2; for reason 4"


async def test_what_was_aborted_is_remembered_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dstk.operator")
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        await move(cluster, "there", "pod9", "because")
        ended = await cluster.ended("there", "Aborted")
        found = await has(cluster, "part", "there", "new-part")
    latest = found.status.history[0]
    assert (latest.outcome, latest.reason) == ("Aborted", ended.status.reason)
    assert latest.message == f"from pod1 to pod9; because; {ended.status.message}"
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (line,) = [each for each in lines if each.startswith("assignment there: Aborted")]
    for figure in (f"reason={ended.status.reason}", "partitions=part", "from=pod1", "to=pod9", "planned=because"):
        assert f" {figure}" in line


async def test_pieces_and_what_is_merged_go_on_with_the_history_of_what_they_are_made_of() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        params = {"partition": "part", "splitKey": "e", "names": ["low", "high"]}
        await cluster.assign("cut", "InWorkerSplit", splitParams=params)
        await cluster.ended("cut", "Completed")
        await has(cluster, "low", "cut", "new-part")
        await has(cluster, "high", "cut", "new-part")
        await cluster.assign("join", "InWorkerMerge", mergeParams={"partitions": ["low", "high"], "name": "whole"})
        await cluster.ended("join", "Completed")
        found = await has(cluster, "whole", "join", "cut", "new-part")
    assert told(found) == [(name, "Completed", "") for name in ("join", "cut", "new-part")]


async def test_lost_rows_have_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dstk.operator")
    async with world() as cluster, cluster.operating() as operator:
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        await cluster.restart("pod1")
        await cluster.until("part", lambda it: any(each.type == "DataLost" for each in it.status.conditions))
        losses = {"keyspace": "default", "reason": "WorkerRestarted"}
        assert operator.metrics.registry.get_sample_value("dstk_operator_data_losses_total", losses) == 1
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (line,) = [each for each in lines if each.startswith("partition part: DataLost")]
    assert " reason=WorkerRestarted keyspace=default worker=pod1 epoch=3 rows=0 message=" in line


async def test_what_was_set_right_has_a_line_in_the_log_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dstk.operator")
    async with world() as cluster, cluster.operating() as operator:
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        partition = await cluster.partitions.get("part")
        edited = {"spec": {"primary": "pod2", "epoch": partition.spec.epoch + 1}}
        await cluster.partitions.patch("part", edited)
        await cluster.until("part", lambda it: any(each.type == "Repaired" for each in it.status.conditions))
        repairs = {"keyspace": "default", "reason": "PrimaryEdited"}
        assert operator.metrics.registry.get_sample_value("dstk_operator_repairs_total", repairs) == 1
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (line,) = [each for each in lines if each.startswith("partition part:")]
    assert line.startswith("partition part: Repaired reason=PrimaryEdited keyspace=default worker=pod1 ")

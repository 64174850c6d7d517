"""Conditions that others put on our objects, while the operator writes its own there."""

from __future__ import annotations

import asyncio
from typing import Any

from harness import World, world

from dstk.api import Assignment, Partition, PartitionPhase
from dstk.api.conditions import find
from dstk.clock import SYSTEM
from dstk.kube import Cache, Objects
from dstk.lifecycle import actions
from dstk.lifecycle.outcome import Outcome
from dstk.operator.executor import ActionExecutor
from dstk.operator.metrics import Metrics


def other(type_: str) -> dict[str, str]:
    return {"type": type_, "status": "True", "reason": "Checked", "lastTransitionTime": "2026-01-01T00:00:00Z"}


class Late:
    """A cluster of which the Partitions are known as they were when it was made."""

    def __init__(self, partitions: Cache[Partition]) -> None:
        self.partitions, self.clock = partitions, SYSTEM


async def executor(cluster: World) -> tuple[ActionExecutor, Cache[Partition]]:
    cache: Cache[Partition] = Cache(cluster.partitions)
    for each in await cluster.partitions.list_all():
        cache.learn(each)
    late: Any = Late(cache)
    nobody: Any = None
    made = ActionExecutor(late, nobody, Metrics(), lambda: 1, asyncio.Semaphore(1), lambda partition: None)
    return made, cache


async def test_what_others_said_since_a_partition_was_read_stays() -> None:
    async with world(()) as cluster:
        await cluster.partition("part", "a", "o")
        writer, cache = await executor(cluster)
        await cluster.partitions.patch_status("part", {"conditions": [other("Audited")]})
        outcome = Outcome()
        await writer.carry_out(None, actions.SetPartitionStatus("part", PartitionPhase.LOADING), outcome)
        live = await cluster.partitions.get("part")
        assert live.status.phase is PartitionPhase.LOADING
        assert {each.type: each.status.value for each in live.status.conditions} == {
            "Audited": "True",
            "Ready": "False",
        }
        assert cache.get("part") == live
        assert outcome.stale


async def test_a_status_is_written_though_others_have_taken_all_the_room_for_conditions() -> None:
    async with world(("pod1",)) as cluster:
        await cluster.keyspace()
        await cluster.partition("part", "a", "o")
        await cluster.assign("new", "New", newParams={"partition": "part", "primary": "pod1"})
        theirs = [other(f"Other{number}") for number in range(16)]
        objects: tuple[tuple[Objects[Any], str], ...] = ((cluster.partitions, "part"), (cluster.assignments, "new"))
        for kind, name in objects:
            await kind.patch_status(name, {"conditions": theirs})
        async with cluster.operating():
            done: Assignment = await cluster.ended("new", "Completed")
        part = await cluster.partitions.get("part")
        assert part.status.phase is PartitionPhase.READY
        for conditions in (done.status.conditions, part.status.conditions):
            assert {each.type for each in conditions} == {each["type"] for each in theirs}
            assert find(conditions, "Ready") is None

"""What the operator does itself while recovery looks at a worker is not taken for somebody's deed."""

from __future__ import annotations

from typing import Any

import pytest
from harness import World, world

from dstk.api.conditions import find
from dstk.kube import EVENTS, Objects


async def reasons(cluster: World, name: str) -> set[str]:
    """Of the Events about the object."""
    events = Objects(cluster.connection, EVENTS, "default")
    return {event.reason for event in (await events.list_page()).items if event.involved_object.name == name}


CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "split": (
        "InWorkerSplit",
        {"splitParams": {"partition": "low", "splitKey": "c", "names": ["one", "two"]}},
        ["one", "two"],
    ),
    "merge": ("InWorkerMerge", {"mergeParams": {"partitions": ["low", "high"], "name": "whole"}}, ["whole"]),
    "move": ("InterWorkerMove", {"moveParams": {"partition": "low", "from": "pod1", "to": "pod2"}}, ["low"]),
}


@pytest.mark.parametrize("case", CASES)
async def test_an_operation_that_begins_and_ends_while_recovery_looks_is_nobodys_deed(case: str) -> None:
    """It has read the objects before, and is told after it what the workers hold."""
    type_, params, made = CASES[case]
    async with world() as cluster, cluster.operating(relook_interval=0.05):
        await cluster.keyspace()
        await cluster.served("low", "a", "e", "pod1")
        await cluster.served("high", "e", "o", "pod1")
        workers = list(cluster.workers.values())
        for worker in workers:
            worker.hold_looks()
        for worker in workers:
            await worker.looked(worker.looks)
        await cluster.assign("a1", type_, **params)
        await cluster.ended("a1", "Completed")
        looks = [worker.looks for worker in workers]
        for worker in workers:
            worker.let_look()
        for worker, before in zip(workers, looks, strict=True):
            await worker.looked(before + 1)  # so the first of them has come to its end
        for name in made:
            partition = await cluster.partitions.get(name)
            assert find(partition.status.conditions, "Repaired") is None, partition.status.conditions
            assert not await reasons(cluster, name) & {"ObjectDeleted", "PrimaryEdited", "DataLost"}

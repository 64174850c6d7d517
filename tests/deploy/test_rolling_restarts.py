"""Rolling restarts and scale-in of the StatefulSet that the chart renders: real operator, real workers, under load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from charts import rendered
from statefulsets import Node

import worlds
from dstk import aio, kube
from dstk.api import Assignment, AssignmentPhase, AssignmentType, Partition
from dstk.local.apiserver.files import poll
from dstk.local.cluster import LocalCluster
from dstk.operator.cluster import ASSIGNMENTS, PARTITIONS
from dstk.testing.load import LoadSettings
from verifying import verifying

BUDGETS: kube.Kind[dict[str, Any]] = kube.Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", dict)
PARTITION_COUNT = 12
LONG = 240.0
"""Seconds; a bound against hanging, not a measure."""
LOOK_SECONDS = 0.2
LOAD = LoadSettings(keys=2000, tasks=4, rate=400.0)


@dataclass
class Scene:
    """A cluster with a StatefulSet that is settled."""

    node: Node
    partitions: kube.Objects[Partition]
    assignments: kube.Objects[Assignment]
    kubeconfig: Path

    def dstk(self, *arguments: str) -> str:
        """What a dstk command prints."""
        command = [sys.executable, "-m", "dstk.cli", *arguments, "--kubeconfig", str(self.kubeconfig)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    async def said(self, reason: str) -> str:
        """The message of the first Event with that reason, once there is one."""
        events = kube.Objects(self.node.connection, kube.EVENTS, self.node.namespace)

        async def found() -> str | None:
            items = (await events.list_page()).items
            return next((each.message for each in items if each.reason == reason), None)

        return await poll(found, LOOK_SECONDS)

    async def counts(self) -> Counter[str]:
        """Partitions of each worker that has some."""
        found = (await self.partitions.list_page()).items
        return Counter(each.spec.primary for each in found if each.spec.primary and not each.spec.proxy)

    async def moves(self) -> int:
        """Moves that were completed."""
        found = (await self.assignments.list_page()).items
        return sum(
            each.spec.type is AssignmentType.MOVE and each.status.phase is AssignmentPhase.COMPLETED for each in found
        )

    async def until(self, holds: Callable[[Counter[str]], bool]) -> None:
        """Wait until nothing is under way and the partitions are spread so."""

        async def settled() -> bool:
            under_way = any(not each.finished for each in (await self.assignments.list_page()).items)
            counts = await self.counts()
            return not under_way and sum(counts.values()) == PARTITION_COUNT and holds(counts)

        await poll(settled, LOOK_SECONDS)

    async def restarted(self, count: int) -> None:
        """Wait until so many pods have gone, and as many are there and ready as before."""

        async def done() -> bool:
            return len(self.node.ended) >= count and self.node.complete

        await poll(done, LOOK_SECONDS)


@asynccontextmanager
async def scene(folder: Path, **workers: Any) -> AsyncIterator[Scene]:
    keyspace = {
        "apiVersion": "dstk.io/v1alpha1",
        "kind": "Keyspace",
        "metadata": {"name": "default"},
        "spec": {
            "keyLength": 16,
            "proxySeconds": 1,
            "partitions": {"initial": PARTITION_COUNT},
            "policy": {"maxConcurrentMoves": 4, "cooldownSeconds": 1},
        },
    }
    local = LocalCluster(folder, workers=0, keyspace=keyspace, settings=worlds.settings(folder))
    async with asyncio.timeout(LONG), local as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        try:
            namespace = connection.namespace
            node = Node(connection, namespace, folder)
            await node.create(rendered({"workers": workers}).one("StatefulSet", "dstk-worker"))
            running = asyncio.create_task(node.run())
            made = Scene(
                node,
                kube.Objects(connection, PARTITIONS, namespace),
                kube.Objects(connection, ASSIGNMENTS, namespace),
                cluster.kubeconfig,
            )
            try:
                yield made
                assert not running.done(), "the node has ended by itself"
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        finally:
            await connection.close()


@asynccontextmanager
async def under_load(found: Scene, workers: int) -> AsyncIterator[None]:
    """Rows are written and read all the time; none is lost, no read wrong, and nobody is told of a failure."""
    addresses = [found.node.address(ordinal) for ordinal in range(workers)]
    async with aio.connect(addresses) as client, verifying(client, LOAD) as load:
        yield
    assert load.report.acked_writes > 2000


def spread(serving: int) -> Callable[[Counter[str]], bool]:
    """Evenly over so many workers, and nothing on any other."""
    return lambda counts: len(counts) == serving and set(counts.values()) == {PARTITION_COUNT // serving}


@pytest.mark.parametrize("restarts", ["Operator", "StatefulSet"])
async def test_a_rolling_restart_moves_every_partition_once(tmp_path: Path, restarts: str) -> None:
    async with scene(tmp_path, replicas=3, spare=1, restarts=restarts) as found:
        await found.until(spread(3))
        async with under_load(found, 4):
            before, counts = await found.moves(), await found.counts()
            # The controller begins at the top, which is not the empty one if that came up before the others.
            twice = counts["dstk-worker-3"] if restarts == "StatefulSet" else 0
            await found.node.roll("second")
            await found.restarted(4)
            await found.until(spread(3))
            assert await found.moves() - before == PARTITION_COUNT + twice
            if restarts == "Operator":
                await found.node.roll("third")
                await found.restarted(8)
                await found.until(spread(3))
                assert await found.moves() - before == 2 * PARTITION_COUNT
        order = [name for name, _, _ in found.node.ended]
        names = [f"dstk-worker-{n}" for n in (3, 2, 1, 0)]
        if restarts == "StatefulSet":
            assert order == names
        else:
            assert order[0] not in counts, "the empty one first"
            assert sorted(order[:4]) == sorted(order[4:]) == sorted(names)
            assert order[4] == order[3], "which the last of them is the next time"
        assert [code for _, _, code in found.node.ended] == [0] * len(order), "each ended by itself"


async def test_scale_in_moves_only_what_leaves(tmp_path: Path) -> None:
    async with scene(tmp_path, replicas=4, spare=0) as found:
        await found.until(spread(4))
        async with under_load(found, 2):
            before, counts = await found.moves(), await found.counts()
            await found.node.scale(2)
            await found.restarted(2)
            await found.until(spread(2))
        assert await found.moves() - before == counts["dstk-worker-2"] + counts["dstk-worker-3"]
        assert sorted((name, code) for name, _, code in found.node.ended) == [
            ("dstk-worker-2", 0),
            ("dstk-worker-3", 0),
        ]


@pytest.mark.skipif(not worlds.REAL, reason="the embedded API has no disruption budgets: make test-kubernetes")
async def test_a_disruption_budget_holds_up_restarts_and_the_set_says_so(tmp_path: Path) -> None:
    """There is no controller that counts pods here, so the budget allows nothing until it is removed."""
    async with scene(tmp_path, replicas=2, spare=1) as found:
        await found.until(spread(2))
        await found.restarted(0)
        budget = rendered().one("PodDisruptionBudget", "dstk-worker")
        budgets = kube.Objects(found.node.connection, BUDGETS, found.node.namespace)
        await budgets.create({"metadata": {"name": "dstk-worker"}, "spec": budget["spec"]})
        await found.node.roll("second")
        assert "its PodDisruptionBudget does not allow an eviction now" in await found.said("RestartStuck")
        assert not found.node.ended
        await budgets.delete("dstk-worker")
        await found.restarted(3)
        assert "is empty; its pod is evicted" in await found.said("WorkerRestarted")


async def test_a_worker_that_is_cordoned_by_a_person_is_emptied_and_refilled(tmp_path: Path) -> None:
    async with scene(tmp_path, replicas=3, spare=0) as found:
        await found.until(spread(3))
        async with under_load(found, 3):
            assert await asyncio.to_thread(found.dstk, "cordon", "dstk-worker-1") == "pod/dstk-worker-1 cordoned\n"
            await found.until(lambda counts: counts["dstk-worker-1"] == 0)
            assert await asyncio.to_thread(found.dstk, "uncordon", "dstk-worker-1") == "pod/dstk-worker-1 uncordoned\n"
            await found.until(spread(3))

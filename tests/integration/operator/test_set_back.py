"""An operator that starts knows nothing of the past: the objects may have been set back to a backup."""

from __future__ import annotations

import pytest
from fake_worker import Held
from harness import World, world

from dstk.api import PartitionPhase
from dstk.kube import EVENTS, Objects
from waiting import until


async def one_that_restarts_and_one_that_is_silent(cluster: World) -> None:
    """By its object pod1 has the partition; it restarts without rows, and pod2 does not answer."""
    async with cluster.operating():
        await cluster.keyspace()
        await cluster.served("low", "a", "e", "pod1")
    await cluster.restart("pod1")
    await cluster.workers["pod2"].stop()


async def sought(cluster: World) -> bool:
    events = await Objects(cluster.connection, EVENTS, "default").list_page()
    return any(event.reason == "HolderSought" for event in events.items)


async def comes_back(cluster: World, **held: Held) -> None:
    old = cluster.workers["pod2"]
    cluster.workers["pod2"] = again = type(old)("pod2", cluster.fleet)
    again.incarnation, again.held, again.term = old.incarnation, held, old.term
    await again.start(old.address, int(old.data_address.rpartition(":")[2]))


async def test_nothing_is_served_from_empty_while_one_that_may_have_it_is_silent() -> None:
    """It has what became of the partition, of which the objects know nothing."""
    async with world() as cluster:
        await one_that_restarts_and_one_that_is_silent(cluster)
        async with cluster.operating():
            await until(lambda: sought(cluster), "it says whom it waits for")
            assert (await cluster.partitions.get("low")).status.phase is PartitionPhase.UNAVAILABLE
            assert cluster.workers["pod1"].held == {}
            one = Held("default", b"a\0\0\0", b"c\0\0\0", "primary", 8, {b"a\0\0\0": b"1"}, sequence=9)
            two = Held("default", b"c\0\0\0", b"e\0\0\0", "primary", 8)
            await comes_back(cluster, one=one, two=two)
            await cluster.gone("low")
            for name in ("one", "two"):
                found = await cluster.partitions.get(name)
                assert (found.spec.primary, found.spec.epoch) == ("pod2", 8)
            assert cluster.workers["pod2"].held["one"].rows
            assert cluster.workers["pod1"].held == {}


@pytest.mark.parametrize("how", ["its pod goes", "it comes back without any"])
async def test_once_nobody_has_it_it_is_served_from_empty_and_says_so(how: str) -> None:
    async with world() as cluster:
        await one_that_restarts_and_one_that_is_silent(cluster)
        async with cluster.operating():
            await until(lambda: sought(cluster), "it says whom it waits for")
            if how == "its pod goes":
                await cluster.pods.delete("pod2", grace_seconds=0)
            else:
                await comes_back(cluster)
            await cluster.until(
                "low", lambda item: item.status.phase == "ready" and _lost(item) and item.spec.epoch > 1
            )


def _lost(item: object) -> bool:
    return any(each.type == "DataLost" for each in item.status.conditions)  # type: ignore[attr-defined]

"""A Keyspace that is deleted and created again with other immutable fields, and one of which nothing is left."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from stage import KEYSPACES, PARTITIONS
from upcluster import STEP_SECONDS

import dstk
import worlds
from dstk import aio, errors, kube
from dstk.api import standing
from dstk.api.conditions import Condition, find
from dstk.local.cluster import LocalCluster
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSettings
from waiting import until

POLICY = {"cooldownSeconds": 3600, "replaceAfterSeconds": 0}


class Site:
    """A running cluster of two workers, and its Keyspace "kv"."""

    def __init__(self, cluster: LocalCluster, connection: kube.Connection) -> None:
        self.cluster = cluster
        self.keyspaces = kube.Objects(connection, KEYSPACES, connection.namespace)
        self.partitions = kube.Objects(connection, PARTITIONS, connection.namespace)
        self.pods = kube.Objects(connection, kube.PODS, connection.namespace)
        self.events = kube.Objects(connection, kube.EVENTS, connection.namespace)

    async def create(self, **spec: Any) -> None:
        body = {"keyLength": 8, "partitions": {"initial": 4}, "policy": POLICY} | spec
        await self.keyspaces.create({"metadata": {"name": "kv"}, "spec": body})

    async def recreate(self, **spec: Any) -> None:
        await self.keyspaces.delete("kv")
        await self.create(**spec)

    async def ready(self) -> None:
        await self.says("Served")

    async def says(self, reason: str) -> Condition:
        """Wait until the Keyspace's Ready is for that reason."""
        seen: Any = None

        async def said() -> Condition | None:
            nonlocal seen
            found = await self.keyspaces.find("kv")
            seen = found.status if found is not None else None
            condition = find(found.status.conditions, standing.READY) if found is not None else None
            return condition if condition is not None and condition.reason == reason else None

        return await until(said, lambda: f"it says {reason}: {seen}")

    async def told(self, name: str, reason: str) -> None:
        async def there() -> bool:
            found = (await self.events.list_page()).items
            return any(event.involved_object.name == name and event.reason == reason for event in found)

        await until(there, f"an Event about {name} says {reason}")

    def client(self, seconds: float = STEP_SECONDS) -> aio.Connecting:
        addresses = [each["data"] for each in self.cluster.endpoints()["workers"].values()]
        return aio.connect(addresses, "kv", settings=dstk.ClientSettings(timeout_seconds=seconds))

    async def kill_workers(self) -> None:
        """All pods go, with what they have in memory; others come under their names."""
        before = {pod.metadata.uid for pod in (await self.pods.list_page()).items}
        for name in ("worker-0", "worker-1"):
            self.cluster.kill_worker(name)

        async def anew() -> bool:
            return len(before & {pod.metadata.uid for pod in (await self.pods.list_page()).items}) == 0

        await until(anew, "the pods are others")
        assert self.cluster.workers is not None
        await self.cluster.workers.ready()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Site]:
    backoff = CrashBackoff(0.02, 0.02)
    settings = worlds.settings(folder, workers=WorkerSettings(backoff=backoff), backoff=backoff)
    async with LocalCluster(folder, workers=2, settings=settings) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        try:
            yield Site(cluster, connection)
        finally:
            await connection.close()


def key(number: int, length: int = 8) -> bytes:
    return number.to_bytes(length, "big")


SPREAD = [key(number << 60) for number in range(0, 16, 3)]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"durability": "Disk"}, "durability Memory, not Disk"),
        ({"keyLength": 4}, "keyLength 8, not 4"),
    ],
    ids=["durability", "keyLength"],
)
async def test_what_workers_hold_is_not_served_as_another_keyspace(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    async with running(tmp_path / "c") as site:
        await site.create()
        await site.ready()
        async with site.client() as client:
            for number, each in enumerate(SPREAD):
                await client.put(each, b"%d" % number)
        await site.recreate(**changed)
        message = (await site.says("Misfit")).message
        assert why in message
        assert "create the Keyspace with the old fields" in message
        await site.told("kv", "Misfit")

        async def refused() -> bool:
            """Nothing is acknowledged that the Keyspace does not promise. Who waits behind the fence knows no more than
            that, as the old fields may come back."""
            try:
                async with site.client(0.5) as client:
                    await client.put(SPREAD[0], b"late")
            except errors.DstkError as error:
                told = errors.Unavailable | errors.InvalidRequest | errors.UnknownKeyspace | errors.OutcomeUnknown
                return isinstance(error, told)
            return False

        await until(refused, "writes are refused")
        async with site.client(0.5) as client:
            for each in SPREAD:
                with pytest.raises((errors.Unavailable, errors.InvalidRequest)):
                    await client.get(each)
        # With the old fields all of it is there again.
        await site.recreate()
        await site.ready()
        async with site.client() as client:
            rows = [await client.get(each) for each in SPREAD]
            assert [row.value if row is not None else None for row in rows][1:] == [
                b"%d" % number for number in range(1, len(SPREAD))
            ]
        # Or it goes, with the pods that hold it, and the Keyspace begins anew.
        await site.recreate(**changed)
        await site.says("Misfit")
        await site.kill_workers()
        await site.ready()
        length = changed.get("keyLength", 8)
        async with site.client() as client:
            assert client.key_length == length
            assert await client.get(key(1, length)) is None
            await client.put(key(1, length), b"new")
            assert await client.get(key(1, length)) is not None


async def test_a_keyspace_whose_partitions_and_pods_went_while_no_operator_ran_is_cut_again(tmp_path: Path) -> None:
    async with running(tmp_path / "c") as site:
        await site.create()
        await site.ready()
        site.cluster.kill_operator(signal.SIGSTOP)
        await site.kill_workers()
        for partition in (await site.partitions.list_page()).items:
            await site.partitions.delete(partition.metadata.name)
        site.cluster.kill_operator()
        await site.told("kv", "CutAgain")
        await site.ready()
        async with site.client() as client:
            for each in SPREAD:
                await client.put(each, b"v")
        assert len((await site.partitions.list_page()).items) == 4


async def test_rows_on_disks_are_waited_for(tmp_path: Path) -> None:
    """The same with durability Disk: what is on the disks of workers that are away is not given up unasked."""
    async with running(tmp_path / "c") as site:
        await site.create(durability="Disk")
        await site.ready()
        async with site.client() as client:
            for each in SPREAD:
                await client.put(each, b"v")
        await site.cluster.scale(0)
        for partition in (await site.partitions.list_page()).items:
            await site.partitions.delete(partition.metadata.name)
        message = (await site.says("Uncovered")).message
        assert "bring those back" in message
        await site.cluster.scale(2)
        await site.ready()
        async with site.client() as client:
            assert all([await client.get(each) is not None for each in SPREAD])

"""Data directories that are older than they should be, put back under real workers: nothing old is served unawares."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec
import pytest

import worlds
from dstk import aio, api, errors, kube
from dstk.api.conditions import find
from dstk.api.losses import loss_of
from dstk.local.cluster import LocalCluster
from dstk.operator.disks import FLOOR_ANNOTATION, lease_name
from dstk.wire import ControlClient
from waiting import until

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)
HURT = "worker-0"
KEYSPACE: dict[str, Any] = {
    "apiVersion": api.API_VERSION,
    "kind": "Keyspace",
    "metadata": {"name": "default"},
    "spec": {"keyLength": 16, "durability": "Disk", "partitions": {"initial": 4}, "proxySeconds": 0},
}


class Stage:
    """A cluster whose directories can be exchanged between two of its lives."""

    def __init__(self, folder: Path, keyspace: dict[str, Any]) -> None:
        self.folder = folder
        settings = replace(worlds.settings(folder), start_seconds=300.0)
        self.cluster = LocalCluster(folder, workers=2, keyspace=keyspace, settings=settings)

    @property
    def disk(self) -> Path:
        return self.folder / "data" / HURT

    @asynccontextmanager
    async def objects(self, kind: kube.Kind[Any]) -> AsyncIterator[kube.Objects[Any]]:
        connection = await kube.connect(self.cluster.kubeconfig)
        try:
            yield kube.Objects(connection, kind, connection.namespace)
        finally:
            await connection.close()

    async def partitions(self) -> list[api.Partition]:
        async with self.objects(PARTITIONS) as partitions:
            found: list[api.Partition] = await partitions.list_all()
            return sorted(found, key=lambda each: each.metadata.name)

    async def served(self) -> None:
        async def ready() -> bool:
            found = await self.partitions()
            return len(found) == 4 and all(each.status.phase is api.PartitionPhase.READY for each in found)

        await until(ready, "all partitions are served")

    async def lost(self) -> list[api.Partition]:
        """The partitions of the worker, once each of them says that it is not served, and why."""

        async def said() -> list[api.Partition] | None:
            theirs = [each for each in await self.partitions() if each.spec.primary == HURT]
            held = [each for each in theirs if each.status.phase is api.PartitionPhase.UNAVAILABLE]
            return theirs if theirs and len(held) == len(theirs) and all(map(loss_of, theirs)) else None

        return await until(said, "the partitions of the worker say DataLost")

    async def remembered(self) -> None:
        """Wait until it is written down outside of the disk how far the worker's log is now."""
        async with self.objects(kube.LEASES) as leases:
            client = ControlClient(self.cluster.endpoints()["workers"][HURT]["control"], timeout_seconds=10)
            status = await client.status(())
            await client.close()
            assert status.disk is not None
            position = status.disk.position

            async def written() -> bool:
                lease = await leases.find(lease_name(HURT))
                if lease is None:
                    return False
                return msgspec.json.decode(lease.metadata.annotations[FLOOR_ANNOTATION])["position"] >= position

            await until(written, f"position {position} is remembered")

    async def connect(self) -> aio.Client:
        return await aio.connect([each["data"] for each in self.cluster.endpoints()["workers"].values()])

    async def dstk(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dstk.cli", *arguments, "--dir", str(self.folder)]
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, KEYSPACE)
    await made.cluster.start()
    try:
        await made.served()
        yield made
    finally:
        await made.cluster.stop()


def keys_of(partitions: list[api.Partition], worker: str) -> list[bytes]:
    """A key in each of the worker's partitions, which are cut evenly."""
    starts = [each.spec.range.start for each in partitions if each.spec.primary == worker]
    firsts = [bytes.fromhex(start.removeprefix("0x")) if start else b"" for start in starts]
    return [(first + b"\1").ljust(16, b"\1") for first in firsts]


async def write(stage: Stage, keys: list[bytes], value: bytes) -> dict[bytes, int]:
    client = await stage.connect()
    versions = {key: await client.put(key, value) for key in keys}
    await client.close()
    return versions


async def hears_of_no_loss(client: aio.Client) -> None:
    """Wait until what the routes say of losses has reached the client: a moment after the status."""

    async def forgotten() -> bool:
        return client.losses() == []

    await until(forgotten, "the client knows that nothing is lost any more")


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_copy_that_is_put_back_is_not_served_before_somebody_accepts_it(stage: Stage, kill: bool) -> None:
    before = await stage.partitions()
    keys, others = keys_of(before, HURT), keys_of(before, "worker-1")
    await write(stage, keys, b"old")
    shutil.copytree(stage.disk, stage.folder / "copy")
    versions = await write(stage, [*keys, *others], b"new")
    await stage.remembered()
    if kill:
        stage.cluster.kill_worker(HURT, SIGKILL)
    await stage.cluster.stop()
    shutil.move(stage.disk, stage.folder / "right")
    shutil.move(stage.folder / "copy", stage.disk)
    await stage.cluster.start()

    lost = await stage.lost()
    assert {loss.reason for each in lost if (loss := loss_of(each)) is not None} == {"DiskOlder"}
    client = await stage.connect()
    for key in others:
        assert (await client.get(key) or (b"", 0))[0] == b"new"

    async def told() -> bool:
        return {each.partition for each in client.losses() if each.held} == {each.metadata.name for each in lost}

    await until(told, "the client knows of the losses")
    for key in keys:
        with pytest.raises(errors.DataLost, match="accept-loss"):
            await client.get(key)
        with pytest.raises(errors.DataLost):
            await client.put(key, b"over it")
    assert "DiskOlder" in await stage.dstk("status")

    assert "accepted" in await stage.dstk("accept-loss", "--all")
    await stage.served()

    await hears_of_no_loss(client)
    for key in keys:
        row = await client.get(key)
        assert row is not None
        assert row.value == b"old"
        version = await client.put(key, b"newer")
        assert version > versions[key], "a version of a lost write fits no new row"
    await client.close()
    for each in await stage.partitions():
        condition = find(each.status.conditions, api.Partition.DATA_LOST)
        assert (condition is not None) is (each.spec.primary == HURT)
        assert condition is None or condition.reason == "Accepted"

    # What was accepted is what the worker has to have from now on.
    await stage.cluster.stop()
    await stage.cluster.start()
    await stage.served()
    client = await stage.connect()
    for key in keys:
        assert (await client.get(key) or (b"", 0))[0] == b"newer"
    await client.close()


async def test_the_right_volume_ends_it(stage: Stage) -> None:
    keys = keys_of(await stage.partitions(), HURT)
    await write(stage, keys, b"old")
    shutil.copytree(stage.disk, stage.folder / "copy")
    await write(stage, keys, b"new")
    await stage.remembered()
    await stage.cluster.stop()
    shutil.move(stage.disk, stage.folder / "right")
    shutil.move(stage.folder / "copy", stage.disk)
    await stage.cluster.start()
    await stage.lost()

    await stage.cluster.stop()
    shutil.rmtree(stage.disk)
    shutil.move(stage.folder / "right", stage.disk)
    await stage.cluster.start()
    await stage.served()
    client = await stage.connect()

    await hears_of_no_loss(client)
    for key in keys:
        assert (await client.get(key) or (b"", 0))[0] == b"new"
    await client.close()
    for each in await stage.partitions():
        condition = find(each.status.conditions, api.Partition.DATA_LOST)
        assert condition is None or (condition.status, condition.reason) == (api.ConditionStatus.FALSE, "Restored")


async def test_a_volume_that_is_another_one_is_told_from_its_own_and_an_empty_one_can_be_accepted(stage: Stage) -> None:
    keys = keys_of(await stage.partitions(), HURT)
    versions = await write(stage, keys, b"new")
    await stage.cluster.stop()
    shutil.rmtree(stage.disk)
    await stage.cluster.start()

    lost = await stage.lost()
    assert {loss.reason for each in lost if (loss := loss_of(each)) is not None} == {"RowsMissing"}
    await stage.dstk("accept-loss", *(each.metadata.name for each in lost))
    await stage.served()
    client = await stage.connect()

    await hears_of_no_loss(client)
    for key in keys:
        assert await client.get(key) is None
        assert await client.put(key, b"anew", 0) > versions[key]
    await client.close()


async def test_what_was_moved_away_and_back_is_not_served_from_before_that(stage: Stage) -> None:
    part = next(each for each in await stage.partitions() if each.spec.primary == HURT)
    key = keys_of([part], HURT)[0]
    await write(stage, [key], b"old")
    shutil.copytree(stage.disk, stage.folder / "copy")
    for to in ("worker-1", HURT):
        await stage.dstk("move", part.metadata.name, "--to", to)
        await write(stage, [key], b"at " + to.encode())
    await stage.cluster.stop()
    shutil.rmtree(stage.disk)
    shutil.move(stage.folder / "copy", stage.disk)
    await stage.cluster.start()

    async def said() -> bool:
        async with stage.objects(PARTITIONS) as partitions:
            found = await partitions.find(part.metadata.name)
            loss = loss_of(found) if found is not None else None
            return loss is not None and loss.reason == "DiskOlder"

    await until(said, "the partition says DataLost")
    client = await stage.connect()

    async def told() -> bool:
        return part.metadata.name in {each.partition for each in client.losses()}

    await until(told, "the client knows of the loss")
    with pytest.raises(errors.DataLost):
        await client.get(key)
    await client.close()

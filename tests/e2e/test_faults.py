"""Each process killed in its turn, with real processes: what is promised of the others holds, and it heals."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any, TypeVar

import pytest

import worlds
from dstk import aio, api, kube
from dstk.errors import DstkError, OutcomeUnknown
from dstk.local.cluster import LocalCluster
from dstk.testing.load import LoadSettings, VerifyingLoad
from verifying import verifying
from waiting import until, until_true

T = TypeVar("T")

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)
KEYSPACE: dict[str, Any] = {
    "apiVersion": api.API_VERSION,
    "kind": "Keyspace",
    "metadata": {"name": "default"},
    "spec": {"keyLength": 16, "partitions": {"initial": 6}, "policy": {"mode": "Auto"}, "proxySeconds": 1},
}
LOAD = LoadSettings(keys=20_000, tasks=8)


class Objects:
    """What kubectl would show."""

    def __init__(self, connection: kube.Connection) -> None:
        self._assignments = kube.Objects(connection, ASSIGNMENTS, connection.namespace)
        self._partitions = kube.Objects(connection, PARTITIONS, connection.namespace)
        self._events = kube.Objects(connection, kube.EVENTS, connection.namespace)
        self._keyspaces = kube.Objects(connection, KEYSPACES, connection.namespace)

    async def assignment(self, name: str) -> api.Assignment:
        found = await self._assignments.find(name)
        assert found is not None
        return found

    async def partition(self, name: str) -> api.Partition:
        found = await self._partitions.find(name)
        assert found is not None
        return found

    async def partitions(self) -> list[api.Partition]:
        page = await self._partitions.list_page()
        return sorted(page.items, key=lambda partition: partition.metadata.name)

    async def events(self, about: api.Partition) -> list[str]:
        """Reasons of the Events that `kubectl describe` shows under the Partition."""
        page = await self._events.list_page()
        return [event.reason for event in page.items if event.involved_object.uid == about.metadata.uid]

    async def served(self) -> bool:
        keyspace = await self._keyspaces.find("default")
        return keyspace is not None and keyspace.status.partitions == keyspace.status.ready == 6

    async def move(self, name: str, partition: api.Partition, to: str) -> None:
        params = {"partition": partition.metadata.name, "from": partition.spec.primary, "to": to}
        await self._assignments.create(
            {
                "apiVersion": api.API_VERSION,
                "kind": "Assignment",
                "metadata": {"name": name},
                "spec": {"type": "InterWorkerMove", "moveParams": params},
            }
        )


@pytest.fixture
def asked() -> dict[str, Any]:
    """What the Keyspace's spec says besides."""
    return {}


@pytest.fixture
async def cluster(tmp_path: Path, asked: dict[str, Any]) -> AsyncIterator[LocalCluster]:
    keyspace = {**KEYSPACE, "spec": {**KEYSPACE["spec"], **asked}}
    async with LocalCluster(tmp_path, workers=3, keyspace=keyspace, settings=worlds.settings(tmp_path)) as running:
        yield running


@pytest.fixture
async def objects(cluster: LocalCluster) -> AsyncIterator[Objects]:
    connection = await kube.connect(cluster.kubeconfig)
    found = Objects(connection)
    await until(found.served, "the keyspace is served")
    yield found
    await connection.close()


@pytest.fixture
async def client(cluster: LocalCluster, objects: Objects) -> AsyncIterator[aio.Client]:
    connected = await aio.connect([worker["data"] for worker in cluster.endpoints()["workers"].values()])
    yield connected
    await connected.close()


async def progress(load: VerifyingLoad, operations: int) -> None:
    """Wait for so many more operations."""
    goal = load.report.operations + operations

    async def reached() -> bool:
        return load.report.operations >= goal

    await until(reached, f"the load does {operations} operations more")


def key_in(partition: api.Partition) -> bytes:
    """A key of the partition, one of those that are cut evenly."""
    start = partition.spec.range.start
    first = bytes.fromhex(start.removeprefix("0x")) if start.startswith("0x") else start.encode()
    return (first + b"\1").ljust(16, b"\1")


def data_lost(partition: api.Partition) -> bool:
    return any(
        condition.type == api.Partition.DATA_LOST and condition.status is api.ConditionStatus.TRUE
        for condition in partition.status.conditions
    )


async def test_a_killed_worker_comes_back_empty_and_says_so(
    cluster: LocalCluster, objects: Objects, client: aio.Client
) -> None:
    before = await objects.partitions()
    rows = {partition.metadata.name: key_in(partition) for partition in before}
    versions = {name: await client.put(key, name.encode()) for name, key in rows.items()}
    hit = [partition for partition in before if partition.spec.primary == "worker-1"]
    spared = {partition.metadata.name: partition for partition in before if partition.spec.primary != "worker-1"}
    assert hit
    assert spared
    stop = asyncio.Event()

    async def others() -> int:
        """Whoever has nothing to do with the dead worker notices nothing."""
        rounds = 0
        while not stop.is_set():
            for name in spared:
                row = await client.get(rows[name])
                assert row is not None
                await client.put(rows[name], row.value, row.version)
            rounds += 1
        return rounds

    going_on = asyncio.create_task(others())
    cluster.kill_worker("worker-1")
    for was in hit:
        name = was.metadata.name

        async def back(name: str = name) -> api.Partition | None:
            now = await objects.partition(name)
            return now if data_lost(now) and now.status.phase is api.PartitionPhase.READY else None

        now = await until(back, f"{name} is served again and says that its rows are lost")
        assert now.spec.epoch > was.spec.epoch
        assert now.spec.primary == "worker-1"

        async def told(now: api.Partition = now) -> bool:
            return api.Partition.DATA_LOST in await objects.events(now)

        await until(told, f"an Event about {name} says DataLost")
        assert await client.get(rows[name]) is None
        version = await client.put(rows[name], b"anew", 0)
        assert version > versions[name]  # an etag of the lost row fits no new one
        assert await client.get(rows[name]) == (b"anew", version)
    stop.set()
    assert await going_on > 0
    for name, partition in spared.items():
        row = await client.get(rows[name])
        assert row is not None
        assert row.value == name.encode()
        assert not data_lost(await objects.partition(name))
        assert (await objects.partition(name)).spec.epoch == partition.spec.epoch


@pytest.mark.parametrize("asked", [{"durability": "Disk"}], ids=["Disk"])
async def test_a_killed_worker_loses_nothing_that_is_on_disk(
    cluster: LocalCluster, objects: Objects, client: aio.Client
) -> None:
    before = await objects.partitions()
    for round_ in range(3):
        acknowledged: dict[bytes, int] = {}
        writes: Counter[int] = Counter()
        stop = asyncio.Event()

        async def write(
            writer: int,
            round_: int = round_,
            acknowledged: dict[bytes, int] = acknowledged,
            writes: Counter[int] = writes,
            stop: asyncio.Event = stop,
        ) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                key = key_in(before[number % 6])[:8] + b"%d-%d-%d" % (round_, writer, number % 500)
                key = key[:16].ljust(16, b"\0")
                with contextlib.suppress(OutcomeUnknown):
                    acknowledged[key] = await client.put(key, b"%d" % number)
                    writes[number % 6] += 1

        async def written_everywhere(times: int, writes: Counter[int] = writes) -> None:
            """More of each partition than there are writers: not all were under way before."""
            goal = {number: writes[number] + times for number in range(6)}
            await until_true(
                lambda: all(writes[number] >= goal[number] for number in goal), "all partitions are written"
            )

        writers = [asyncio.create_task(write(writer)) for writer in range(16)]
        await written_everywhere(50)
        cluster.kill_worker("worker-1")
        await written_everywhere(20)
        stop.set()
        await asyncio.gather(*writers)
        assert len(acknowledged) > 100
        for key, version in acknowledged.items():
            row = await client.get(key)
            assert row is not None
            assert row.version >= version
    for was in before:
        now = await objects.partition(was.metadata.name)
        assert now.spec.primary == was.spec.primary
        assert not data_lost(now)


@pytest.mark.parametrize("asked", [{"failover": "Lease", "leaseSeconds": 2}], ids=["Lease"])
async def test_a_silent_worker_stops_serving_by_itself_and_its_partitions_are_given_away(
    cluster: LocalCluster, objects: Objects, client: aio.Client
) -> None:
    hit = [partition for partition in await objects.partitions() if partition.spec.primary == "worker-1"]
    rows = {partition.metadata.name: key_in(partition) for partition in hit}
    for key in rows.values():
        await client.put(key, b"before")
    old = cluster.endpoints()["workers"]["worker-1"]["data"]
    cluster.kill_worker("worker-1", SIGSTOP)
    for name, key in rows.items():

        async def given(name: str = name) -> api.Partition | None:
            now = await objects.partition(name)
            elsewhere = now.spec.primary != "worker-1" and now.status.phase is api.PartitionPhase.READY
            return now if elsewhere and data_lost(now) else None

        await until(given, f"{name} is served by another worker, which says that the rows are lost")
        await client.put(key, b"after", timeout=30.0)
    cluster.kill_worker("worker-1", SIGCONT)
    # Asked directly, the worker that was away answers with what is true now.
    late = await aio.connect([old])
    for key in rows.values():
        row = await late.get(key, timeout=30.0)
        assert row is not None
        assert row.value == b"after"
    await late.close()


@pytest.mark.parametrize("step", ["created", "loading", "following", "proxying"])
async def test_a_move_whose_operator_is_killed_ends(
    cluster: LocalCluster, objects: Objects, client: aio.Client, step: str
) -> None:
    async with verifying(client, LOAD) as load:
        partition = (await objects.partitions())[2]
        source = partition.spec.primary
        to = next(f"worker-{number}" for number in range(3) if f"worker-{number}" != source)
        await objects.move("m1", partition, to)
        steps = ["created", "loading", "following", "proxying", "completed"]

        async def at_step() -> bool:
            move = (await objects.assignment("m1")).status.move
            return steps.index(str(move.status) if move is not None else "created") >= steps.index(step)

        await until(at_step, f"the move is {step}")
        cluster.kill_operator()

        async def ended() -> api.Assignment | None:
            assignment = await objects.assignment("m1")
            return assignment if assignment.finished else None

        assignment = await until(ended, "the move ends")
        await progress(load, 1000)
        now = await objects.partition(partition.metadata.name)
        moved = assignment.status.phase is api.AssignmentPhase.COMPLETED
        assert now.spec.primary == (to if moved else source), assignment.status
        assert moved or assignment.status.phase is api.AssignmentPhase.ABORTED
        assert now.spec.proxy is None


async def test_reads_and_writes_go_on_without_the_api_server_and_operations_once_it_is_back(
    cluster: LocalCluster, objects: Objects, client: aio.Client
) -> None:
    async def lives() -> dict[str, Any]:
        return {name: each["data"] for name, each in cluster.endpoints()["workers"].items()}

    workers = await lives()
    async with verifying(client, LOAD) as load:
        cluster.kill_api(SIGSTOP)  # silent, and not replaced, for as long as is wanted
        await progress(load, 5000)
        late = await aio.connect(list(workers.values()))
        assert await late.get(b"\xff" * 16) is None
        await late.close()
        cluster.kill_api(SIGKILL)
        await progress(load, 1000)
        partition = await until(lambda: _first(objects), "the API server answers again")
        to = next(name for name in workers if name != partition.spec.primary)
        await objects.move("after", partition, to)

        async def completed() -> bool:
            assignment = await objects.assignment("after")
            assert assignment.status.phase is not api.AssignmentPhase.ABORTED, assignment.status
            return assignment.status.phase is api.AssignmentPhase.COMPLETED

        await until(completed, "a move completes after the API server is back")
    assert await lives() == workers
    assert not any(map(data_lost, await objects.partitions()))


async def _first(objects: Objects) -> api.Partition | None:
    try:
        return (await objects.partitions())[0]
    except DstkError:
        return None

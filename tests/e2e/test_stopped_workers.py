"""Workers that stand still, are fewer, or have no room, with real processes: what objects say and who is chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import worlds
from dstk import aio, api, errors, kube
from dstk.api.conditions import find
from dstk.api.span import span_of
from dstk.local.cluster import LocalCluster
from dstk.local.runner import Life, WorkerSettings, worker_command
from waiting import until

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)
SPEC: dict[str, Any] = {"keyLength": 16, "partitions": {"initial": 6}, "policy": {"mode": "Auto"}, "proxySeconds": 0}


class Scene:
    """A cluster, and its objects."""

    def __init__(self, cluster: LocalCluster, connection: kube.Connection) -> None:
        self.cluster = cluster
        self.keyspaces = kube.Objects(connection, KEYSPACES, connection.namespace)
        self.partitions = kube.Objects(connection, PARTITIONS, connection.namespace)
        self.assignments = kube.Objects(connection, ASSIGNMENTS, connection.namespace)
        self.pods = kube.Objects(connection, kube.PODS, connection.namespace)

    async def of(self, worker: str) -> list[api.Partition]:
        """Its partitions."""
        page = await self.partitions.list_page()
        return [each for each in page.items if each.spec.primary == worker]

    async def say(self, names: list[str], reason: str) -> None:
        """Wait until condition Ready of all of them has that reason."""

        async def said() -> bool:
            found = [find((await self.partitions.get(name)).status.conditions, "Ready") for name in names]
            return all(condition is not None and condition.reason == reason for condition in found)

        await until(said, f"{names} say {reason}")

    async def ready(self, wanted: bool) -> None:
        """Wait until the Keyspace says so."""

        async def is_so() -> bool:
            condition = find((await self.keyspaces.get("default")).status.conditions, "Ready")
            return condition is not None and (condition.status.value == "True") is wanted

        await until(is_so, f"the keyspace is {'ready' if wanted else 'not ready'}")

    async def cordon(self, worker: str) -> None:
        await self.pods.patch(worker, {"metadata": {"annotations": {api.CORDONED_ANNOTATION: "true"}}})

    async def empty(self, worker: str) -> None:
        async def is_so() -> bool:
            return not await self.of(worker)

        await until(is_so, f"{worker} is empty")


@asynccontextmanager
async def scene(folder: Path, workers: WorkerSettings | None = None, **spec: Any) -> AsyncIterator[Scene]:
    keyspace = {
        "apiVersion": api.API_VERSION,
        "kind": "Keyspace",
        "metadata": {"name": "default"},
        "spec": {**SPEC, **spec},
    }
    more = {"workers": workers} if workers is not None else {}
    settings = worlds.settings(folder, **more)
    async with LocalCluster(folder, workers=3, keyspace=keyspace, settings=settings) as running:
        connection = await kube.connect(running.kubeconfig)
        made = Scene(running, connection)
        await made.ready(True)
        yield made
        await connection.close()


async def test_a_drain_goes_past_a_worker_that_stands_still_and_its_own_partitions_say_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as played:
        still = [each.metadata.name for each in await played.of("worker-1")]
        assert still
        played.cluster.kill_worker("worker-1", SIGSTOP)
        try:
            # At once: the operator does not know yet that it stands still.
            await played.cordon("worker-0")
            await played.empty("worker-0")
            await played.say(still, "WorkerSilent")
            await played.ready(False)
            assert {each.metadata.name for each in await played.of("worker-1")} == set(still)
        finally:
            played.cluster.kill_worker("worker-1", SIGCONT)
        await played.say(still, "Served")
        await played.ready(True)


async def test_partitions_of_workers_that_are_no_more_say_so(tmp_path: Path) -> None:
    async with scene(tmp_path, durability="Disk") as played:
        left = [each.metadata.name for each in await played.of("worker-2")]
        assert left
        # As with fewer workers at the next start: nobody is asked to give away what it has.
        await played.keyspaces.patch("default", {"spec": {"policy": {"mode": "Off"}}})
        await played.cluster.scale(2)
        await played.say(left, "WorkerGone")
        await played.ready(False)
        await played.cluster.scale(3)
        await played.say(left, "Served")
        await played.ready(True)


LIMIT = 8_000_000
VALUE = bytes(10_000)


def limited(life: Life) -> list[str]:
    """A worker whose rows may take 8 MB."""
    return [*worker_command(life), f"--limit=memory_limit_bytes={LIMIT}"]


def key(partition: api.Partition, number: int) -> bytes:
    """One of its keys."""
    start = span_of(partition.spec.range, 16).start.ljust(16, b"\0")
    return (int.from_bytes(start, "big") + number).to_bytes(16, "big")


async def test_a_drain_takes_no_room_from_partitions_that_are_served(tmp_path: Path) -> None:
    """Of three workers that may hold 8 MB each the first has 6 MB, the second 5, the third 1: only the third has room."""
    workers = WorkerSettings(command=limited)
    async with scene(tmp_path, workers, partitions={"initial": 3}) as played:
        (first,), (second,), (third,) = [await played.of(f"worker-{number}") for number in range(3)]
        async with await aio.connect(
            [each["data"] for each in played.cluster.endpoints()["workers"].values()]
        ) as client:
            for partition, count in ((first, 600), (second, 500), (third, 100)):
                for number in range(count):
                    await client.put(key(partition, number), VALUE)
            await played.cordon("worker-0")
            await played.empty("worker-0")
            assert (await played.partitions.get(first.metadata.name)).spec.primary == "worker-2"
            # And now no one has room for the second's: it stays, and everybody writes on.
            await played.cordon("worker-1")

            async def said() -> bool:
                log = played.cluster.directory / "logs" / "operator.log"
                return "worker-1 cannot be emptied" in log.read_text()

            await until(said, "the operator says that it cannot be emptied")
            for partition in (second, third):
                await client.put(key(partition, 9999), VALUE)
            assert await played.of("worker-1")


async def test_the_bound_is_exact_and_a_move_beyond_it_is_refused_with_the_figures(tmp_path: Path) -> None:
    workers = WorkerSettings(command=limited)
    async with scene(tmp_path, workers, partitions={"initial": 3}) as played:
        await played.keyspaces.patch("default", {"spec": {"policy": {"mode": "Off"}}})
        (first,), (second,) = [await played.of(f"worker-{number}") for number in range(2)]
        async with await aio.connect(
            [each["data"] for each in played.cluster.endpoints()["workers"].values()]
        ) as client:
            stored = 0
            try:
                while stored < 2000:
                    await client.put(key(first, stored), VALUE, timeout=2.0)
                    stored += 1
            except errors.LimitReached:
                pass
            assert stored == LIMIT // (16 + len(VALUE) + 60)
            await client.put(key(second, 0), VALUE)
            params = {"partition": first.metadata.name, "from": "worker-0", "to": "worker-1"}
            await played.assignments.create(
                {"metadata": {"name": "m1"}, "spec": {"type": "InterWorkerMove", "moveParams": params}}
            )

            async def ended() -> api.Assignment | None:
                assignment = await played.assignments.get("m1")
                return assignment if assignment.finished else None

            move = await until(ended, "the move ends")
            assert (move.status.phase, move.status.reason) == (api.AssignmentPhase.ABORTED, "NoRoom")
            assert "worker-1 has room for" in move.status.message
            await client.put(key(second, 1), VALUE)

"""Every operation is stopped before and after each of its steps, at the operator and at the worker: it ends right.

The points are those of ``dstk.faults``. A process is killed there and started again, or the step fails, or it stands
still for a moment; rows are on disk, so a worker that is killed loses nothing. Whatever happened, the Assignment ends,
every partition is served, and every row that was acknowledged is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from upcluster import STEP_SECONDS

from dstk import aio, api, faults, kube
from dstk.local.cluster import LocalCluster

KEYSPACE = {
    "apiVersion": api.API_VERSION,
    "kind": "Keyspace",
    "metadata": {"name": "default", "namespace": "default"},
    "spec": {
        "keyLength": 4,
        "durability": "Disk",
        "partitions": {"initial": 0},
        "policy": {"mode": "Off"},
        "proxySeconds": 0,
    },
}
DONE, GIVEN_UP = api.AssignmentPhase.COMPLETED, api.AssignmentPhase.ABORTED

OPERATOR_STEPS = {
    "New": ("commit", "serve", "set-partition-status", "set-status"),
    "InWorkerSplit": ("split", "create-partition", "delete-partition", "set-status"),
    "InWorkerMerge": ("merge", "create-partition", "commit", "set-partition-status", "delete-partition", "set-status"),
    "InterWorkerMove": ("follow", "fence", "commit", "promote", "proxy", "set-partition-status", "release"),
}
WORKER_STEPS = {
    "New": ("serve",),
    "InWorkerSplit": ("split",),
    "InWorkerMerge": ("merge",),
    "InterWorkerMove": ("follow", "fence", "promote", "proxy", "release"),
}
UNDECIDED = ("follow", "fence")
"""A move may be given up there: nothing is committed yet."""


def cases(kind: str) -> list[tuple[str, str]]:
    """(point, action) of every stop of an operation."""
    stops = [f"operator.{when}-{step}" for step in OPERATOR_STEPS[kind] for when in ("before", "after")]
    worker = [f"worker.{when}-{step}" for step in WORKER_STEPS[kind] for when in ("before", "after")]
    failing = [(f"operator.before-{step}", "fail") for step in OPERATOR_STEPS[kind]]
    paused = [(point, "pause:0.3") for point in worker if kind == "InterWorkerMove"]
    return [(point, "kill") for point in (*stops, *worker)] + failing + paused


@dataclass
class Scene:
    """A running cluster, and what is in it."""

    partitions: kube.Objects[api.Partition]
    assignments: kube.Objects[api.Assignment]
    client: aio.Client
    points: faults.Armed
    rows: dict[bytes, int]

    async def create(self, name: str, type_: str, **params: Any) -> None:
        """An Assignment."""
        metadata = {"name": name, "namespace": "default"}
        spec = {"type": type_, **params}
        body = {"apiVersion": api.API_VERSION, "kind": "Assignment", "metadata": metadata, "spec": spec}
        await self.assignments.create(body)

    async def partition(self, name: str, start: str, end: str) -> None:
        """A Partition that nobody serves."""
        metadata = {"name": name, "namespace": "default"}
        spec = {"keyspace": "default", "range": {"start": start, "end": end}}
        body = {"apiVersion": api.API_VERSION, "kind": "Partition", "metadata": metadata, "spec": spec}
        await self.partitions.create(body)

    async def ended(self, name: str) -> api.Assignment:
        """The Assignment, once it has ended."""

        async def end() -> api.Assignment | None:
            found = await self.assignments.find(name)
            assert found is not None
            return found if found.finished else None

        return await until(end, f"{name} ends")

    async def write(self, number: int) -> None:
        """One row more in every partition, acknowledged."""
        for partition in (await self.partitions.list_page()).items:
            key = bytes([partition.spec.range.start.encode()[0], number // 250, number % 250, 1])
            self.rows[key] = await self.client.put(key, b"%d" % number, timeout=60.0)

    async def check(self) -> None:
        """Every row that was acknowledged is there, and every partition says that it is served."""
        for key, version in self.rows.items():
            row = await self.client.get(key, timeout=60.0)
            assert row is not None, key
            assert row.version == version

        async def ready() -> bool:
            found = (await self.partitions.list_page()).items
            return all(each.status.phase is api.PartitionPhase.READY and not each.spec.proxy for each in found)

        await until(ready, "every partition is ready, and none has a proxy")


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until it gives something true, and that."""
    try:
        async with asyncio.timeout(STEP_SECONDS):
            while not (value := await condition()):
                await asyncio.sleep(0.02)
            return value
    except TimeoutError:
        raise AssertionError(f"waited {STEP_SECONDS} s in vain: {what}") from None


@asynccontextmanager
async def scene(folder: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> AsyncIterator[Scene]:
    """Three workers, and partitions called like their first letter, one after the other, all on worker-0."""
    file = folder / "fault"
    monkeypatch.setenv("DSTK_FAULTS", str(file))
    async with LocalCluster(folder, workers=3, keyspace=KEYSPACE) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        workers = [each["data"] for each in cluster.endpoints()["workers"].values()]
        async with aio.connect(workers) as client:
            partitions = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
            assignments = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)
            running = Scene(
                kube.Objects(connection, partitions, "default"),
                kube.Objects(connection, assignments, "default"),
                client,
                faults.Armed(file),
                {},
            )
            for name in names:
                await running.partition(name, name, chr(ord(name) + 1))
                await running.create(f"new-{name}", "New", newParams={"partition": name, "primary": "worker-0"})
            for name in names:
                assert (await running.ended(f"new-{name}")).status.phase is DONE
            yield running
        await connection.close()


async def stop_at(running: Scene, point: str, action: str, name: str, type_: str, **params: Any) -> api.Assignment:
    """Run an Assignment that is stopped there; how it has ended."""
    running.points.arm(point, action)
    await running.create(name, type_, **params)
    ended = await running.ended(name)

    async def reached() -> bool:
        return not running.points.is_armed

    await until(reached, f"{point} is reached")
    return ended


async def test_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch, ("a",)) as running:
        for number, (point, action) in enumerate(cases("New")):
            name = chr(ord("b") + number)
            await running.partition(name, name, chr(ord(name) + 1))
            params = {"partition": name, "primary": f"worker-{number % 3}"}
            ended = await stop_at(running, point, action, f"n{number}", "New", newParams=params)
            assert ended.status.phase is DONE, (point, action, ended.status)
            await running.write(number)
            await running.check()


async def test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(chr(ord("a") + number) for number in range(len(cases("InWorkerSplit"))))
    async with scene(tmp_path, monkeypatch, names) as running:
        await running.write(0)
        for number, (point, action) in enumerate(cases("InWorkerSplit")):
            name = names[number]
            params = {"partition": name, "splitKey": f"{name}m", "names": [f"{name}-low", f"{name}-high"]}
            ended = await stop_at(running, point, action, f"s{number}", "InWorkerSplit", splitParams=params)
            assert ended.status.phase is DONE, (point, action, ended.status)
            await running.write(number + 1)
            await running.check()


async def test_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_cases = cases("InWorkerMerge")
    async with scene(tmp_path, monkeypatch, ("a", "b")) as running:
        await running.write(0)
        parts = ["a", "b"]
        for number, (point, action) in enumerate(all_cases):
            params = {"partitions": parts, "name": f"whole{number}"}
            ended = await stop_at(running, point, action, f"m{number}", "InWorkerMerge", mergeParams=params)
            assert ended.status.phase is DONE, (point, action, ended.status)
            await running.write(number + 1)
            await running.check()
            parts = [f"a{number}", f"b{number}"]
            split = {"partition": f"whole{number}", "splitKey": "b", "names": parts}
            await running.create(f"s{number}", "InWorkerSplit", splitParams=split)
            assert (await running.ended(f"s{number}")).status.phase is DONE


async def test_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, monkeypatch, ("a", "b")) as running:
        await running.write(0)
        at = "worker-0"
        for number, (point, action) in enumerate(cases("InterWorkerMove")):
            to = f"worker-{(int(at[-1]) + 1) % 3}"
            params = {"partition": "a", "from": at, "to": to}
            ended = await stop_at(running, point, action, f"m{number}", "InterWorkerMove", moveParams=params)
            may_give_up = point.endswith(UNDECIDED)
            assert ended.status.phase is DONE or (may_give_up and ended.status.phase is GIVEN_UP), (point, ended.status)
            await running.write(number + 1)
            await running.check()
            now = await running.partitions.find("a")
            assert now is not None
            assert now.spec.primary == (to if ended.status.phase is DONE else at)
            at = now.spec.primary or ""


def test_what_does_not_exist_is_refused(tmp_path: Path) -> None:
    points = faults.Armed(tmp_path / "fault")
    with pytest.raises(faults.errors.ConfigError, match="no fault point"):
        points.arm("operator.before-breakfast", "kill")
    with pytest.raises(faults.errors.ConfigError, match="no fault"):
        points.arm("operator.before-commit", "explode")
    assert not points.is_armed

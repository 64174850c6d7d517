"""The operator in this process, the embedded API server beside it, and workers that speak the real control wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fake_worker import FakeWorker, Fleet
from kubernetes.aio.client.configuration import Configuration

from dstk.api import Assignment, Keyspace, Partition, crds
from dstk.kube import PODS, Connection, ElectionSettings, Kind, Objects, Pod, client_of
from dstk.kube.objects import WatchEvent
from dstk.lifecycle.observed import Limits
from dstk.local.apiserver import ApiServer, Settings
from dstk.operator import Operator, OperatorSettings
from dstk.operator.cluster import ASSIGNMENTS, KEYSPACES, PARTITIONS

LONG = 60.0
"""Seconds; a bound against hanging, not a measure."""

DEFINITIONS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", dict)


def settings_for_tests(**changes: Any) -> OperatorSettings:
    quick = OperatorSettings(
        namespace="default",
        plan_interval=0.05,
        load_interval=0.1,
        reconnect_longest=0.1,
        limits=Limits(wait_seconds=0.05, fence_retry_seconds=0.05, follow_retry_seconds=0.05),
        election=ElectionSettings(15.0, 10.0, 0.1),
    )
    return replace(quick, **changes)


@dataclass
class World:
    """One cluster. ``history`` holds every state of every Assignment and Partition that a watch has shown."""

    url: str
    connection: Connection
    fleet: Fleet = field(default_factory=Fleet)
    workers: dict[str, FakeWorker] = field(default_factory=dict)
    history: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keyspaces: Objects[Keyspace] = Objects(self.connection, KEYSPACES, "default")
        self.partitions: Objects[Partition] = Objects(self.connection, PARTITIONS, "default")
        self.assignments: Objects[Assignment] = Objects(self.connection, ASSIGNMENTS, "default")
        self.pods: Objects[Pod] = Objects(self.connection, PODS, "default")
        self._seen = asyncio.Condition()

    @property
    def recorded(self) -> tuple[Objects[Any], ...]:
        return (self.keyspaces, self.partitions, self.assignments)

    async def keyspace(self, name: str = "default", **spec: Any) -> Keyspace:
        body = {"keyLength": 4, "partitions": {"initial": 0}, "policy": {"mode": "Off"}, "proxySeconds": 0} | spec
        return await self.keyspaces.create({"metadata": {"name": name}, "spec": body})

    async def partition(self, name: str, start: str, end: str, **spec: Any) -> Partition:
        body = {"range": {"start": start, "end": end}} | spec
        return await self.partitions.create({"metadata": {"name": name}, "spec": body})

    async def assign(self, name: str, type_: str, **params: Any) -> Assignment:
        return await self.assignments.create({"metadata": {"name": name}, "spec": {"type": type_} | params})

    async def served(self, name: str, start: str, end: str, worker: str) -> None:
        """A Partition with a New that has completed."""
        await self.partition(name, start, end)
        await self.assign(f"new-{name}", "New", newParams={"partition": name, "primary": worker})
        await self.ended(f"new-{name}", "Completed")

    async def worker(self, name: str) -> FakeWorker:
        """A pod and the worker in it."""
        worker = self.workers[name] = FakeWorker(name, self.fleet)
        await worker.start()
        addresses = {"control": worker.address, "data": worker.data_address}
        ports = [
            {"name": port, "containerPort": int(address.rpartition(":")[2])} for port, address in addresses.items()
        ]
        pod = await self.pods.create(
            {
                "metadata": {"name": name, "labels": {"app": "kv"}},
                "spec": {"containers": [{"name": "worker", "image": "none", "ports": ports}]},
            }
        )
        worker.incarnation = f"{pod.metadata.uid}/{worker.boot}"
        await self.pods.patch_status(name, {"phase": "Running", "podIP": "127.0.0.1"})
        return worker

    async def restart(self, name: str) -> FakeWorker:
        """The container starts again in the same pod, under the same address: what it held is lost."""
        old = self.workers[name]
        await old.stop()
        worker = self.workers[name] = FakeWorker(name, self.fleet)
        worker.incarnation = f"{old.incarnation.partition('/')[0]}/{worker.boot}"
        await worker.start(old.address, int(old.data_address.rpartition(":")[2]))
        return worker

    @asynccontextmanager
    async def operating(self, **changes: Any) -> AsyncIterator[Operator]:
        """An operator runs while the context lasts; then it is stopped as by SIGTERM."""
        stop, operator, task = self.start_operator(**changes)
        try:
            yield operator
            assert not task.done(), "the operator has ended by itself"
        finally:
            stop.set()
            await task

    def start_operator(self, **changes: Any) -> tuple[asyncio.Event, Operator, asyncio.Task[None]]:
        stop = asyncio.Event()
        connection = Connection(client_of(self.connection.configuration), "default")
        operator = Operator(connection, settings_for_tests(**changes))

        async def run() -> None:
            try:
                await operator.run(stop)
            finally:
                await connection.close()

        return stop, operator, asyncio.create_task(run(), name="operator")

    async def ended(self, name: str, phase: str) -> Assignment:
        """Wait until the Assignment has ended, and check how."""

        def is_final(item: Assignment) -> bool:
            return item.status.phase is not None and item.status.phase.final

        found = await self.until(name, is_final)
        assert found.status.phase == phase, (found.status.phase, found.status.reason, found.status.message)
        return found

    async def until(self, name: str, predicate: Callable[[Any], bool]) -> Any:
        """Wait until some state of the object, past or coming, holds; that state."""
        async with asyncio.timeout(LONG), self._seen:
            while True:
                for event, item in self.history.get(name, ()):
                    if event != "DELETED" and predicate(item):
                        return item
                await self._seen.wait()

    async def any_assignment(self, predicate: Callable[[Assignment], bool] = lambda item: True) -> Assignment:
        """Wait until there is one of which some state holds; the first that was created, in that state."""
        async with asyncio.timeout(LONG), self._seen:
            while True:
                for _, item in (state for states in self.history.values() for state in states):
                    if isinstance(item, Assignment) and predicate(item):
                        return item
                await self._seen.wait()

    async def gone(self, name: str) -> None:
        """Wait until the object is deleted."""
        async with asyncio.timeout(LONG), self._seen:
            while not any(event == "DELETED" for event, _ in self.history.get(name, ())):
                await self._seen.wait()

    def steps(self, name: str, field_: str) -> list[Any]:
        """The values of ``status.<field_>`` that the Assignment has had, one after the other."""
        found: list[Any] = []
        for event, item in self.history[name]:
            value = getattr(item.status, field_)
            if event != "DELETED" and value is not None and (not found or found[-1] != value):
                found.append(value)
        return found

    def specs(self, name: str) -> list[tuple[str | None, str | None, int]]:
        """(primary, proxy, epoch) of the Partition, one after the other."""
        found: list[tuple[str | None, str | None, int]] = []
        for event, item in self.history[name]:
            value = (item.spec.primary, item.spec.proxy, item.spec.epoch)
            if event != "DELETED" and (not found or found[-1] != value):
                found.append(value)
        return found

    async def record(self, objects: Objects[Any]) -> None:
        page = await objects.list_page()
        version = page.resource_version
        while True:
            async for event in objects.watch(version):
                await self._note(event)
                version = event.resource_version or version

    async def _note(self, event: WatchEvent[Any]) -> None:
        if event.object is None:
            return
        async with self._seen:
            self.history.setdefault(event.object.metadata.name, []).append((event.type, event.object))
            self._seen.notify_all()

    async def close(self) -> None:
        for worker in self.workers.values():
            await worker.stop()


@asynccontextmanager
async def world(workers: Sequence[str] = ("pod1", "pod2")) -> AsyncIterator[World]:
    """An empty cluster with the CRDs and some workers."""
    async with ApiServer(Settings()) as server:
        connection = Connection(client_of(Configuration(host=server.url)), "default")
        await _define(connection)
        made = World(server.url, connection)
        recorders = [asyncio.create_task(made.record(objects)) for objects in made.recorded]
        try:
            for name in workers:
                await made.worker(name)
            yield made
        finally:
            for recorder in recorders:
                recorder.cancel()
            await asyncio.gather(*recorders, return_exceptions=True)
            await made.close()
            await connection.close()


async def _define(connection: Connection) -> None:
    definitions = Objects(connection, DEFINITIONS, "")
    definitions._collection = f"{DEFINITIONS.root}/{DEFINITIONS.plural}"  # not namespaced
    for definition in crds():
        await definitions.create(definition)


__all__ = ["LONG", "World", "world"]

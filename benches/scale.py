"""How much one operator can have in its charge: many Partitions, fifty workers, two hundred Assignments at a time.

`make bench-scale`: 10,000 Partitions against a real kube-apiserver and etcd, 100,000 against the embedded API. The
workers are not real, but speak the real control wire and refuse what real ones refuse; the operator is a process of its
own, with the rights that the Helm chart gives it. All of it runs on this machine: API server, workers and operator
compete for its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dstk import api, kube
from dstk.control.commands import Request
from dstk.local.apiserver.files import poll
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.operator.reconciler import FINALIZER
from dstk.testing.control_plane import ControlPlane, binaries
from dstk.wire.v1 import data_pb2
from report import ROOT, Report, Row

# The worker of the operator's own tests.
sys.path.insert(0, str(ROOT / "tests" / "integration" / "operator"))
from fake_worker import FakeWorker, Fleet, Held

WORKERS = 50
AT_ONCE = 200
IDLE_SECONDS = 20.0
PARALLEL = 64
LONG = 900.0
RULES = ROOT / "deploy" / "helm" / "dstk" / "files" / "operator-role-rules.yaml"
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
NAMESPACE = "scale"
KEYSPACE = {
    "metadata": {"name": "default"},
    "spec": {"keyLength": 8, "partitions": {"initial": 0}, "policy": {"mode": "Off"}, "proxySeconds": 0},
}


def kind(name: str, plural: str, model: Any) -> kube.Kind[Any]:
    return kube.Kind(api.API_VERSION, name, plural, model)


class Worker(FakeWorker):
    """Notes when it was first told of a partition, and counts routes instead of keeping them."""

    def __init__(self, name: str, fleet: Fleet) -> None:
        super().__init__(name, fleet)
        self.routed_partitions = 0
        self.told: dict[str, float] = {}

    async def act(self, request: Request) -> Any:
        self.told.setdefault(request.partition, time.monotonic())
        return await super().act(request)

    async def routes(self, term: int, update: bytes, said: float | None) -> None:
        self.term = max(self.term, term)
        parsed = data_pb2.RoutesUpdate.FromString(update)
        if parsed.full:
            self.routed_partitions = 0
        self.routed_partitions += sum(len(keyspace.routes) for keyspace in parsed.keyspaces)


@dataclass
class World:
    """One API server with its objects, and the workers."""

    operator_kubeconfig: Path
    connection: kube.Connection
    plane: ControlPlane | None = None
    """None: the embedded API."""
    fleet: Fleet = field(default_factory=Fleet)
    workers: list[Worker] = field(default_factory=list)

    def objects(self, of: kube.Kind[Any]) -> kube.Objects[Any]:
        return kube.Objects(self.connection, of, self.connection.namespace)

    @property
    def assignments(self) -> kube.Objects[api.Assignment]:
        return self.objects(kind("Assignment", "assignments", api.Assignment))

    async def fill(self, partitions: int) -> None:
        """Partitions that are served, each by one of the workers, as objects and with the workers."""
        await self.objects(kind("Keyspace", "keyspaces", api.Keyspace)).create(KEYSPACE)
        for number in range(WORKERS):
            await self._start_worker(f"w-{number:02}")
        objects = self.objects(kind("Partition", "partitions", api.Partition))
        step = 2**64 // partitions

        async def create(number: int) -> None:
            name, worker = name_of(number), self.workers[number * WORKERS // partitions]
            start = (number * step).to_bytes(8, "big") if number else b""
            end = ((number + 1) * step).to_bytes(8, "big") if number + 1 < partitions else b""
            held = Held("default", start.ljust(8, b"\0"), end, "primary", 1)
            worker.held[name] = held
            range_ = {"start": text(start), "end": text(end)}
            spec = {"keyspace": "default", "range": range_, "primary": worker.name, "epoch": 1}
            await objects.create({"metadata": {"name": name}, "spec": spec})
            await objects.patch_status(name, {"phase": "ready", "incarnation": worker.incarnation})

        await at_most(PARALLEL, (lambda number=number: create(number) for number in range(partitions)))

    async def _start_worker(self, name: str) -> None:
        worker = Worker(name, self.fleet)
        await worker.start()
        self.workers.append(worker)
        addresses = {"control": worker.address, "data": worker.data_address}
        ports = [{"name": port, "containerPort": int(each.rpartition(":")[2])} for port, each in addresses.items()]
        container = {"name": "worker", "image": "none", "ports": ports}
        body = {"metadata": {"name": name, "labels": {"app": "kv"}}, "spec": {"containers": [container]}}
        pods = self.objects(kube.Kind("v1", "Pod", "pods", kube.Pod))
        pod = await pods.create(body)
        worker.incarnation = f"{pod.metadata.uid}/{worker.boot}"
        await pods.patch_status(name, {"phase": "Running", "podIP": "127.0.0.1"})

    async def close(self) -> None:
        for worker in self.workers:
            await worker.stop()
        await self.connection.close()

    def operator_writes(self) -> Counter[str]:
        """What the operator has written to Assignments and Partitions, kopf's part included; real API server only."""
        assert self.plane is not None
        return Counter(
            f"{event.verb} {event.resource}"
            for event in self.plane.audit()
            if event.verb in ("create", "update", "patch", "delete")
            and event.resource.partition("/")[0] in ("assignments", "partitions")
        )


@asynccontextmanager
async def real_world(folder: Path) -> AsyncIterator[World]:
    """etcd and kube-apiserver."""
    with ControlPlane(folder / "plane", binaries()) as plane:
        tenant = plane.tenant(NAMESPACE, yaml.safe_load(RULES.read_text()))
        async with bare_world(folder, ClusterSettings(operator=False, api=tenant), tenant.operator_kubeconfig) as world:
            world.plane = plane
            yield world


@asynccontextmanager
async def bare_world(folder: Path, settings: ClusterSettings, operator_kubeconfig: Path | None) -> AsyncIterator[World]:
    """An API server with dstk's definitions, without operator and workers of its own."""
    async with LocalCluster(folder, workers=0, settings=settings) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        world = World(operator_kubeconfig or cluster.kubeconfig, connection)
        try:
            yield world
        finally:
            await world.close()


class Operator:
    """The operator's process."""

    def __init__(self, process: asyncio.subprocess.Process, metrics: str) -> None:
        self._process = process
        self._metrics = metrics
        self._stat = Path(f"/proc/{process.pid}")

    def check(self) -> None:
        """Raises SystemExit when it has ended."""
        if self._process.returncode is not None:
            raise SystemExit(f"the operator has ended with {self._process.returncode}; see its log")

    @property
    def resident_mib(self) -> float:
        return int((self._stat / "statm").read_text().split()[1]) * PAGE / 2**20

    @property
    def cpu_seconds(self) -> float:
        fields = (self._stat / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self._metrics}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
            return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@asynccontextmanager
async def operating(world: World, log: Path) -> AsyncIterator[Operator]:
    """An operator, ended by SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "dstk.cli", "operator", "--kubeconfig", str(world.operator_kubeconfig)]
    command += ["--namespace", world.connection.namespace, "--metrics-address", metrics, "--log-level", "warning"]
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            yield Operator(process, metrics)
        finally:
            process.terminate()
            await process.wait()


def name_of(number: int) -> str:
    return f"p{number:06}"


def text(bound: bytes) -> str:
    return f"0x{bound.hex()}" if bound else ""


async def at_most(limit: int, works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """All of it, so much at a time."""
    waiting = iter(works)

    async def some() -> None:
        for work in waiting:
            await work()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(limit):
            tasks.create_task(some())


async def ready(world: World, operator: Operator, partitions: int, began: float) -> float:
    """Seconds until the operator leads, has looked at every worker, and every worker has every route."""

    async def done() -> bool:
        operator.check()
        return all(worker.routed_partitions >= partitions for worker in world.workers)

    async with asyncio.timeout(LONG):
        await poll(done, 0.05)
    took = time.monotonic() - began
    assert await operator.metric("dstk_operator_workers_reachable") == WORKERS
    return took


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of Assignments that were created at once. Seconds."""

    seconds: float
    to_action: Sequence[float]
    """From the object until a worker was told."""
    writes: dict[str, float]
    """A completed Assignment's, by verb and resource; "all": all of them."""


async def assign(world: World, operator: Operator, specs: Sequence[tuple[str, dict[str, Any]]]) -> Batch:
    """Create Assignments at once and wait until all are Completed. Each with the partition whose telling counts."""
    before = world.operator_writes() if world.plane is not None else Counter()
    written = await operator.metric("dstk_operator_api_writes_total")
    created: dict[str, float] = {}
    for worker in world.workers:
        worker.told.clear()
    began = time.monotonic()
    names: list[str] = []

    async def create(partition: str, spec: dict[str, Any]) -> None:
        # As the Assigner creates it.
        metadata = {"generateName": "bench-", "finalizers": [FINALIZER]}
        made = await world.assignments.create({"metadata": metadata, "spec": spec})
        created[partition] = time.monotonic()
        names.append(made.metadata.name)

    async with asyncio.TaskGroup() as tasks:
        for partition, spec in specs:
            tasks.create_task(create(partition, spec))

    async def ended() -> bool:
        operator.check()
        found = {each.metadata.name: each for each in await world.assignments.list_all()}
        for name in names:
            phase = found[name].status.phase
            if phase is not None and phase.final and phase is not api.AssignmentPhase.COMPLETED:
                raise SystemExit(f"{name} ended {phase}: {found[name].status.message}")
        return all(found[name].finished and not found[name].metadata.finalizers for name in names)

    async with asyncio.timeout(LONG):
        await poll(ended, 0.25)
    took = time.monotonic() - began
    told = {name: at for worker in world.workers for name, at in worker.told.items()}
    if world.plane is not None:
        writes: Counter[str] = world.operator_writes() - before
    else:
        writes = Counter({"all": int(await operator.metric("dstk_operator_api_writes_total") - written)})
    shares = {what: count / len(specs) for what, count in writes.items()}
    if world.plane is not None:
        shares["all"] = sum(shares.values())
    to_action = [told[partition] - created[partition] for partition, _ in specs if partition in told]
    return Batch(took, to_action, shares)


def moves(world: World, numbers: Sequence[int], partitions: int) -> list[tuple[str, dict[str, Any]]]:
    """Each to the next worker."""
    specs = []
    for number in numbers:
        at = number * WORKERS // partitions
        source, to = world.workers[at].name, world.workers[(at + 1) % WORKERS].name
        params = {"partition": name_of(number), "from": source, "to": to}
        specs.append((name_of(number), {"type": "InterWorkerMove", "moveParams": params}))
    return specs


def splits(numbers: Sequence[int], partitions: int) -> list[tuple[str, dict[str, Any]]]:
    """Each in the middle."""
    step = 2**64 // partitions
    specs = []
    for number in numbers:
        key, names = text((number * step + step // 2).to_bytes(8, "big")), halves(number)
        params = {"partition": name_of(number), "splitKey": key, "names": names}
        specs.append((name_of(number), {"type": "InWorkerSplit", "splitParams": params}))
    return specs


def merges(numbers: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
    """What was split, together again."""
    specs = []
    for number in numbers:
        name = f"{name_of(number)}-again"
        specs.append((name, {"type": "InWorkerMerge", "mergeParams": {"partitions": halves(number), "name": name}}))
    return specs


def halves(number: int) -> list[str]:
    return [f"{name_of(number)}-low", f"{name_of(number)}-high"]


@dataclass(frozen=True, slots=True)
class Goals:
    """What is to be reached; None: nothing."""

    ready: float
    mib: float | None = None
    move_writes: float | None = None
    split_writes: float | None = None


async def measure(report: Report, world: World, where: str, partitions: int, folder: Path, goals: Goals) -> None:
    """One API server, from the operator's start."""
    case = f"{partitions:,} Partitions, {where}"
    began = time.monotonic()
    await world.fill(partitions)
    print(f"{case}: created in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    async with operating(world, folder / "operator.log") as operator:
        took = await ready(world, operator, partitions, began)
        report.add(Row("operator: start to ready", case, "s", took, goal=goals.ready))
        report.add(Row("operator: processor until ready", case, "s", operator.cpu_seconds))
        spent = operator.cpu_seconds
        await asyncio.sleep(IDLE_SECONDS)
        idle = (operator.cpu_seconds - spent) / IDLE_SECONDS * 100
        report.add(Row("operator: processor when idle", case, "% of a core", idle))
        report.add(Row("operator: resident memory, idle", case, "MiB", operator.resident_mib, goal=goals.mib))
        numbers = [number * (partitions // AT_ONCE) for number in range(AT_ONCE)]
        resting = [number + 1 for number in numbers]
        for what, specs, goal in (
            ("move", moves(world, numbers, partitions), goals.move_writes),
            ("split", splits(resting, partitions), goals.split_writes),
            ("merge", merges(resting), None),
        ):
            batch = await assign(world, operator, specs)
            label = f"{AT_ONCE} {what}s at once"
            report.add(Row(f"{label}: until all have ended", case, "s", batch.seconds))
            report.add(Row(f"{label}: object to action, median", case, "s", statistics.median(batch.to_action)))
            report.add(Row(f"{label}: object to action, longest", case, "s", max(batch.to_action)))
            report.add(Row(f"{label}: API writes each", case, "writes", batch.writes["all"], goal=goal))
            print(f"  {what}: {dict(sorted(batch.writes.items()))}", flush=True)
        report.add(Row("operator: resident memory, after all", case, "MiB", operator.resident_mib, goal=goals.mib))


async def run(report: Report, real: int, embedded: int, folder: Path) -> None:
    """Both API servers, one after the other; 0 Partitions: not that one."""
    if real:
        async with real_world(folder / "real") as world:
            await measure(report, world, "kube-apiserver", real, folder, Goals(30, 400, 8, 6))
    if embedded:
        async with bare_world(folder / "embedded", ClusterSettings(operator=False), None) as world:
            await measure(report, world, "embedded API", embedded, folder, Goals(120))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=int, default=10_000, help="Partitions against kube-apiserver")
    parser.add_argument("--embedded", type=int, default=100_000, help="Partitions against the embedded API")
    parser.add_argument("--dir", type=Path, help="keep logs here")
    parsed = parser.parse_args()
    report = Report("scale", ["dstk", "kopf", "kubernetes"])
    if parsed.dir is not None:
        parsed.dir.mkdir(parents=True, exist_ok=True)
        asyncio.run(run(report, parsed.real, parsed.embedded, parsed.dir))
    else:
        with tempfile.TemporaryDirectory(prefix="dstk-scale-") as folder:
            asyncio.run(run(report, parsed.real, parsed.embedded, Path(folder)))
    report.write()


if __name__ == "__main__":
    main()

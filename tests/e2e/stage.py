"""Where the rows of the failure tables are played: one cluster, whose operator gets its faults case by case."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import brisk_operator
from upcluster import STEP_SECONDS

import worlds
from dstk import aio, api, faults, kube
from dstk.errors import OutcomeUnknown, UnknownKeyspace
from dstk.local.cluster import LocalCluster
from dstk.local.operators import OperatorLife
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSettings, worker_command
from dstk.testing.network import Network
from waiting import until

T = TypeVar("T")

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)
SOURCE, DESTINATION, OTHER = "worker-0", "worker-1", "worker-2"
KEYS = 32
"""Rows of each case."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A point, what happens there, and about which object: what follows the case's name in its name, or a worker."""

    point: str
    action: str
    part: str = ""
    worker: str = ""

    @classmethod
    def of(cls, text: str) -> Stop:
        """``POINT[PART]=ACTION``, where [PART] may be left out, or ``POINT@WORKER=ACTION``."""
        where, _, action = text.partition("=")
        where, _, worker = where.partition("@")
        point, _, part = where.rstrip("]").partition("[")
        return cls(point, action, part, worker)

    @classmethod
    def all_of(cls, texts: str) -> list[Stop]:
        """Those of a list with commas."""
        return [cls.of(text) for text in texts.split(", ") if text]

    def subject(self, name: str) -> str:
        """The object's name, in the case of that name."""
        return self.worker or name + self.part


@dataclass(slots=True)
class Rows:
    """The rows of one case, one writer each: a row that is read is the last acknowledged one, or one in doubt."""

    keys: Sequence[bytes]
    value_bytes: int = 0
    acked: dict[bytes, int] = field(default_factory=dict)
    written: int = 0
    refused: list[str] = field(default_factory=list)

    async def write(self, client: aio.Client, key: bytes, number: int) -> None:
        """One write; its outcome may stay unknown, it may not fail otherwise."""
        with contextlib.suppress(OutcomeUnknown):
            await client.put(key, (b"%d" % number).ljust(self.value_bytes), timeout=STEP_SECONDS)
            self.acked[key] = number
            self.written += 1

    async def check(self, client: aio.Client) -> None:
        """Everything acknowledged is there."""
        rows = await asyncio.gather(*(client.get(key, timeout=STEP_SECONDS) for key in self.keys))
        for key, row in zip(self.keys, rows, strict=True):
            assert row is not None, f"{key.hex()} is lost; {self.acked[key]} was acknowledged"
            assert int(row.value) >= self.acked[key], (
                f"{key.hex()} is {int(row.value)}; {self.acked[key]} was acknowledged"
            )


class Stage:
    """A running cluster of three workers with Keyspaces "disk" and "memory", where nothing happens by itself."""

    def __init__(self, folder: Path, points: faults.Armed, worker_limits: Sequence[str] = ()) -> None:
        def command(*given: Any) -> Sequence[str]:
            return [*worker_command(*given), *(f"--limit={limit}" for limit in worker_limits)]

        self.folder = folder
        self._life = folder / "life.json"
        self.points = points
        self.network = Network(self.pids)
        self._limits: dict[str, float] = {}
        self._tell(self._limits)
        self.cluster = LocalCluster(
            folder,
            workers=3,
            settings=worlds.settings(
                folder,
                operator_command=self._operator_command,
                workers=WorkerSettings(
                    command=self.network.interpose(command), keep_ports=False, backoff=CrashBackoff(0.02, 0.02)
                ),
                backoff=CrashBackoff(0.05, 0.05),
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        """Until the block is left."""
        async with self.cluster as cluster:
            connection = self.connection = await kube.connect(cluster.kubeconfig)
            self.keyspaces = kube.Objects(connection, KEYSPACES, connection.namespace)
            self.partitions = kube.Objects(connection, PARTITIONS, connection.namespace)
            self.assignments = kube.Objects(connection, ASSIGNMENTS, connection.namespace)
            for name, durability in (("disk", "Disk"), ("memory", "Memory")):
                spec = {"keyLength": 16, "durability": durability, "policy": {"mode": "Off"}, "proxySeconds": 0}
                await self.keyspaces.create({"metadata": {"name": name}, "spec": spec})
                # A keyspace of which nothing is served is not known to clients.
                spec = {"keyspace": name, "range": {"start": "0xfd", "end": "0xfe"}}
                await self.partitions.create({"metadata": {"name": f"anchor-{name}"}, "spec": spec})
                spec = {"type": "New", "newParams": {"partition": f"anchor-{name}", "primary": OTHER}}
                await self.assignments.create({"metadata": {"name": f"anchor-{name}"}, "spec": spec})
            try:
                yield self
            finally:
                await connection.close()
        await self.network.stop()

    def pids(self) -> dict[str, int]:
        """The workers' processes."""
        workers = self.cluster.workers
        pids = {name: workers.pid(name) for name in (SOURCE, DESTINATION, OTHER)} if workers is not None else {}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def _operator_command(self, life: OperatorLife) -> Sequence[str]:
        return [sys.executable, brisk_operator.__file__, str(life.kubeconfig), life.namespace, str(self._life)]

    def _tell(self, limits: dict[str, float]) -> None:
        self._life.write_text(json.dumps({"limits": limits}))

    async def limit(self, limits: dict[str, float]) -> None:
        """Have an operator with these limits, and the usual ones."""
        if limits != self._limits:
            self._limits = limits
            self._tell(limits)
            await self.new_operator()

    async def new_operator(self, beside: bool = False) -> None:
        """Another life of the operator, instead of the present ones (or `beside` them), once it leads."""
        log = Log(self.folder)
        self.cluster.kill_operator(signal.SIGUSR1 if beside else signal.SIGHUP)
        await log.says("reconciler runs with term")

    @asynccontextmanager
    async def without_operator(self) -> AsyncIterator[None]:
        """No operator until the block is left."""
        log = Log(self.folder)
        self.cluster.kill_operator(signal.SIGUSR2)
        await log.says("no operator")
        yield
        await self.new_operator()

    def cluster_log(self, process: str) -> str:
        """All that a process has logged."""
        return (self.folder / "logs" / f"{process}.log").read_text()

    def log(self) -> Log:
        """What is logged from now on."""
        return Log(self.folder)

    async def connect(self, keyspace: str) -> aio.Client:
        """A client that begins with the workers as they are now."""
        workers = self.cluster.endpoints()["workers"]

        async def connected() -> aio.Client | None:
            try:
                return await aio.connect([worker["data"] for worker in workers.values()], keyspace)
            except UnknownKeyspace:
                return None

        return await until(connected, f"{keyspace} is known")


class Log:
    """What all processes have logged since this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "logs"
        self._from = {path: path.stat().st_size for path in self._folder.glob("*.log")}

    def text(self) -> str:
        """All of it, a process after the other."""
        found = []
        for path in sorted(self._folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._from.get(path, 0))
                found.append(file.read().decode("utf-8", "replace"))
        return "\n".join(found)

    async def says(self, what: str) -> None:
        """Wait until somebody has said that."""

        async def said() -> bool:
            return what in self.text()

        await until(said, lambda: f"{what!r} is said; what is said is\n{self.text()[-3000:]}")


class Scene:
    """One case while it is played: its partitions, its rows, its Assignment."""

    def __init__(self, stage: Stage, client: aio.Client, number: int, operation: str, keyspace: str) -> None:
        self.stage = stage
        self.name = name_of(number)
        self.operation = operation
        self.keyspace = keyspace
        self.log = stage.log()
        self._number = number
        self.at: Stop | None = None
        self._stops: list[Stop] = []
        self.source = SOURCE
        first = number.to_bytes(2, "big")
        self.rows = Rows([first + bytes([each * 256 // KEYS]) + b"\1".ljust(13, b"\0") for each in range(KEYS)])
        self._stop = asyncio.Event()
        self.writers: list[asyncio.Task[None]] = []
        self.client = client

    # Before it

    async def prepare(self) -> None:
        """The partitions that the operation is about, served by the source, with rows."""
        assert self.stage.cluster.workers is not None
        await self.stage.cluster.workers.ready()
        lower, middle, upper = (f"0x{self._number:04x}", f"0x{self._number:04x}80", f"0x{self._number + 1:04x}")
        if self.operation == "merge":
            await self.create_partition(self.name + "-a", lower, middle)
            await self.create_partition(self.name + "-b", middle, upper)
        else:
            await self.create_partition(self.name, lower, upper)
        if self.operation == "new":
            return
        names = [self.name] if self.operation != "merge" else [self.name + "-a", self.name + "-b"]
        await self.assign(self.name + "-new", {"type": "New", "newParams": {"partitions": names, "primary": SOURCE}})
        await self.ended("Completed", self.name + "-new")
        await asyncio.gather(*(self.rows.write(self.client, key, 0) for key in self.rows.keys))
        self.writers = [asyncio.create_task(self._write(keys)) for keys in (self.rows.keys[::2], self.rows.keys[1::2])]

    async def create_partition(self, name: str, start: str, end: str) -> None:
        spec = {"keyspace": self.keyspace, "range": {"start": start, "end": end}}
        await self.stage.partitions.create({"metadata": {"name": name}, "spec": spec})

    async def _write(self, keys: Sequence[bytes]) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            for key in keys:
                await self.rows.write(self.client, key, number)
                await asyncio.sleep(0.001)  # a pace: the cases are for what is held and forwarded, not for load

    # It

    def arm(self, stops: Sequence[Stop]) -> None:
        """These, for the objects of this case alone."""
        self._stops += stops
        for stop in stops:
            self.stage.points.arm(stop.point, stop.action, stop.subject(self.name))

    def disarm(self, stops: Sequence[Stop]) -> None:
        """No longer these."""
        for stop in stops:
            self.stage.points.disarm(stop.point, stop.subject(self.name))

    async def held(self, stop: Stop) -> None:
        """Wait until a process waits there."""

        async def there() -> bool:
            return self.stage.points.is_held(stop.point, stop.subject(self.name))

        await until(there, lambda: f"{stop} is reached\n{self.log.text()[-6000:]}")
        self.at = stop

    def release(self) -> None:
        """What is held goes on."""
        if self.at is not None:
            self.stage.points.release(self.at.point, self.at.subject(self.name))
            self.at = None

    async def begin(self) -> None:
        """Create the Assignment."""
        half = f"0x{self._number:04x}80"
        a, b = self.name + "-a", self.name + "-b"
        specs: dict[str, dict[str, Any]] = {
            "new": {"type": "New", "newParams": {"partition": self.name, "primary": self.source}},
            "split": {
                "type": "InWorkerSplit",
                "splitParams": {"partition": self.name, "splitKey": half, "names": [a, b]},
            },
            "merge": {"type": "InWorkerMerge", "mergeParams": {"partitions": [a, b], "name": self.name}},
            "move": {
                "type": "InterWorkerMove",
                "moveParams": {"partition": self.name, "from": SOURCE, "to": DESTINATION},
            },
        }
        # It stays to be looked at when it is deleted.
        await self.assign(self.name, specs[self.operation], finalizers=["tests.dstk.io/kept"])

    async def assign(self, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        await self.stage.assignments.create({"metadata": {"name": name, **metadata}, "spec": spec})

    async def let_go(self) -> None:
        """The Assignment may vanish, if it was deleted."""
        if await self.stage.assignments.find(self.name) is not None:
            await self.stage.assignments.patch(self.name, {"metadata": {"finalizers": None}})

    async def struck(self) -> None:
        """Wait until every point that was armed has been reached."""

        async def all_of_them() -> bool:
            return not self.stage.points.is_armed

        await until(all_of_them, lambda: f"every point of {self.name} is reached\n{self.log.text()[-6000:]}")

    async def phase(self, name: str = "") -> str:
        """The Assignment's phase, with its reason if it has one; "gone" when there is none."""
        assignment = await self.stage.assignments.find(name or self.name)
        if assignment is None:
            return "gone"
        return " ".join(filter(None, (assignment.status.phase or "", assignment.status.reason or "")))

    async def ended(self, wanted: str, name: str = "") -> None:
        """Wait for the Assignment's end, which has to be that."""
        seen = ""

        async def over() -> bool:
            nonlocal seen
            seen = await self.phase(name)
            return seen == "gone" or seen.startswith(("Completed", "Aborted"))

        await until(over, lambda: f"{name or self.name} ends; it is {seen}\n{self.log.text()[-6000:]}")
        assert seen == wanted, f"{name or self.name} is {seen}, not {wanted}\n{self.log.text()[-6000:]}"

    async def says(self, phase: str) -> None:
        """Wait until the Assignment says that on its way."""
        seen = ""

        async def there() -> bool:
            nonlocal seen
            seen = await self.phase()
            return seen == phase

        await until(there, lambda: f"{self.name} is {phase}; it is {seen}\n{self.log.text()[-6000:]}")

    # After it

    async def serves(self, owners: dict[str, str]) -> None:
        """Wait until these partitions, and no others, cover the case's range, ready, each with its owner alone."""
        seen: dict[str, Any] = {}

        async def right() -> bool:
            nonlocal seen
            page = await self.stage.partitions.list_page()
            mine = [each for each in page.items if each.metadata.name.startswith(self.name)]
            seen = {each.metadata.name: (each.spec.primary, each.spec.proxy, each.status.phase) for each in mine}
            wanted = {name: (owner or None, None, api.PartitionPhase.READY) for name, owner in owners.items()}
            return seen == {
                name: state if state[0] else (None, None, seen[name][2])
                for name, state in wanted.items()
                if name in seen or state[0]
            }

        await until(right, lambda: f"{owners} and nothing else is served; there is {seen}\n{self.log.text()[-6000:]}")

    async def finish(self, lost: bool) -> None:
        """The writers, which have gone on all the time, stop; what was acknowledged is there, unless it may be lost."""
        if not self.writers or lost:
            await self.quiet()
            await asyncio.gather(*(self.rows.write(self.client, key, 1 << 30) for key in self.rows.keys))
        elif not self._stop.is_set():
            # Both writers come round once more: requests are served, none was failed.
            goal = self.rows.written + 2 * KEYS

            async def reached() -> bool:
                for task in self.writers:
                    if task.done():
                        task.result()
                return self.rows.written >= goal

            await until(reached, "writes go on")
            await self.quiet()
        await self.rows.check(self.client)

    async def quiet(self) -> None:
        """No writes any more."""
        self._stop.set()
        await asyncio.gather(*self.writers)

    async def close(self) -> None:
        """Whatever came of it."""
        self.release()
        self.disarm(self._stops)
        for task in self.writers:
            task.cancel()
        await asyncio.gather(*self.writers, return_exceptions=True)
        await self.client.close()

    async def loses(self, names: set[str]) -> None:
        """Wait until these of the case's partitions say DataLost; no others do."""
        seen: set[str] = set()

        async def right() -> bool:
            nonlocal seen
            seen = await self._lost()
            return seen == names

        await until(right, lambda: f"{names} say DataLost; {seen} do\n{self.log.text()[-6000:]}")

    async def _lost(self) -> set[str]:
        page = await self.stage.partitions.list_page()
        return {
            each.metadata.name
            for each in page.items
            if each.metadata.name.startswith(self.name)
            for condition in each.status.conditions
            if condition.type == api.Partition.DATA_LOST and condition.status is api.ConditionStatus.TRUE
        }


def name_of(number: int) -> str:
    """What a case's objects are called."""
    return f"c{number:03}"

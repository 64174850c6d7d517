"""Faults against the real processes of a local cluster: one small class a kind, and a schedule drawn from a seed.

The schedule is a pure function, so the same seed strikes with the same kinds at the same moments; whom a strike hits
is drawn from the same seed among those that are there at that moment. Every strike ends by itself.

Longer than 400 lines: a list of small classes, one a kind of fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from dstk import kube
from dstk.errors import ConfigError, DstkError
from dstk.local.cluster import LocalCluster
from dstk.local.kubeconfig import write_kubeconfig
from dstk.local.operators import OperatorCommand, OperatorLife
from dstk.testing.network import Cut, Network

__all__ = ["KINDS", "Fault", "Nemesis", "Strike", "Target", "Volume", "kinds_for", "schedule"]

log = logging.getLogger(__name__)

RECONCILER_LEASE = "dstk-reconciler"

API = "api"
"""The API server, as a party that can be cut off."""


@dataclass(slots=True)
class Target:
    """What faults act on."""

    cluster: LocalCluster
    network: Network
    clients: dict[str, int]
    """Processes of clients, by name."""
    lease_seconds: float
    volume: Volume | None = None
    """The data directory that can be filled."""

    def workers(self) -> list[str]:
        """Workers that listen, by name."""
        return sorted(self.cluster.endpoints()["workers"])

    def operators(self) -> list[str]:
        """Operators that run, by name."""
        return [f"operator-{n}" for n, pid in enumerate(self.cluster.operator_pids()) if pid is not None]

    def processes(self) -> dict[str, int]:
        """Every process that may connect to a worker."""
        workers = self.cluster.workers
        found = {} if workers is None else {name: workers.pid(name) for name in self.workers()}
        found.update({f"operator-{n}": pid for n, pid in enumerate(self.cluster.operator_pids())})
        return {name: pid for name, pid in found.items() if pid is not None} | self.clients


@dataclass(slots=True)
class Fault(ABC):
    """Something that goes wrong from start() to stop(). `parties`: whom it hits; no two faults hit one at a time."""

    kind: ClassVar[str]
    seconds: ClassVar[tuple[float, float]]
    """How long it lasts, at least and at most."""
    parties: frozenset[str]
    target: Target

    @classmethod
    @abstractmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        """One of its kind against somebody who is not busy; None when there is nobody."""

    @abstractmethod
    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Nothing, where it is over by itself."""
        return


def _one(chance: random.Random, names: Sequence[str], busy: Collection[str]) -> str | None:
    free = [name for name in names if name not in busy]
    return chance.choice(free) if free else None


async def _leading(target: Target, busy: Collection[str]) -> str | None:
    """The operator that holds the reconciler's lease, else any."""
    running = [name for name in target.operators() if name not in busy]
    with contextlib.suppress(DstkError, TimeoutError):
        connection = await kube.connect(target.cluster.directory / "run" / "kubeconfig")
        try:
            async with asyncio.timeout(1.0):
                leases = kube.Objects(connection, kube.LEASES, target.cluster.namespace)
                lease = await leases.find(RECONCILER_LEASE)
        finally:
            await connection.close()
        holder = (lease.spec.holder_identity if lease is not None else None) or ""
        for name in running:
            pid = target.cluster.operator_pids()[_number(name)]
            if f"_{pid}_" in holder:
                return name
    return running[0] if running else None


def _number(operator: str) -> int:
    return int(operator.rpartition("-")[2])


@dataclass(slots=True)
class _Signalled(Fault):
    """A process gets a signal, and another when that is over."""

    signals: ClassVar[tuple[signal.Signals, signal.Signals | None]] = (signal.SIGKILL, None)

    @abstractmethod
    def send(self, number: signal.Signals) -> None: ...

    async def start(self) -> None:
        self.send(self.signals[0])

    async def stop(self) -> None:
        if self.signals[1] is not None:
            self.send(self.signals[1])


@dataclass(slots=True)
class WorkerKill(_Signalled):
    """SIGKILL; the runner starts the worker again, with the same data directory."""

    kind: ClassVar[str] = "worker-kill"
    seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        name = _one(chance, target.workers(), busy)
        return cls(frozenset({name}), target) if name else None

    def send(self, number: signal.Signals) -> None:
        (name,) = self.parties
        self.target.cluster.kill_worker(name, number)


@dataclass(slots=True)
class WorkerPause(WorkerKill):
    """SIGSTOP, and SIGCONT some seconds later: a worker that is slow beyond all measure, then goes on as if nothing
    had happened."""

    kind: ClassVar[str] = "worker-pause"
    seconds: ClassVar[tuple[float, float]] = (0.3, 6.0)
    signals: ClassVar[tuple[signal.Signals, signal.Signals | None]] = (signal.SIGSTOP, signal.SIGCONT)


@dataclass(slots=True)
class OperatorKill(_Signalled):
    """SIGKILL of the operator that leads, in the middle of whatever it does; it is started again."""

    kind: ClassVar[str] = "operator-kill"
    seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        name = await _leading(target, busy)
        return cls(frozenset({name}), target) if name else None

    def send(self, number: signal.Signals) -> None:
        (name,) = self.parties
        self.target.cluster.kill_operator(number, which=_number(name))


@dataclass(slots=True)
class OperatorPause(OperatorKill):
    """SIGSTOP of the operator that leads for longer than its lease: another takes over, then the old one wakes up in
    the middle of what it was about to do."""

    kind: ClassVar[str] = "operator-pause"
    seconds: ClassVar[tuple[float, float]] = (1.5, 3.0)
    """Leases."""
    signals: ClassVar[tuple[signal.Signals, signal.Signals | None]] = (signal.SIGSTOP, signal.SIGCONT)


@dataclass(slots=True)
class ApiRestart(_Signalled):
    """SIGKILL of the API server; it is started again with its objects."""

    kind: ClassVar[str] = "api-restart"
    seconds: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        return None if API in busy else cls(frozenset({API}), target)

    def send(self, number: signal.Signals) -> None:
        self.target.cluster.kill_api(number)


@dataclass(slots=True)
class ApiPause(ApiRestart):
    """SIGSTOP of the API server, and SIGCONT: calls hang, and are carried out late."""

    kind: ClassVar[str] = "api-pause"
    seconds: ClassVar[tuple[float, float]] = (0.3, 6.0)
    signals: ClassVar[tuple[signal.Signals, signal.Signals | None]] = (signal.SIGSTOP, signal.SIGCONT)


@dataclass(slots=True)
class _Cut(Fault):
    """Nothing goes between two parties; `loud`: connections are reset, else they fall silent."""

    loud: bool
    cut: Cut | None = None

    @property
    @abstractmethod
    def ends(self) -> tuple[str, str]:
        """Between whom."""

    async def start(self) -> None:
        self.cut = self.target.network.cut(*self.ends, "loud" if self.loud else "silent")

    async def stop(self) -> None:
        if self.cut is not None:
            self.target.network.heal(self.cut)


@dataclass(slots=True)
class CutLeader(_Cut):
    """Between the operator that leads and the API server, for longer than its lease: another takes over, and what the
    old one was writing may arrive afterwards."""

    kind: ClassVar[str] = "cut-leader"
    seconds: ClassVar[tuple[float, float]] = (1.5, 3.0)
    """Leases."""

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        name = await _leading(target, busy)
        return cls(frozenset({name}), target, chance.random() < 0.3) if name else None

    @property
    def ends(self) -> tuple[str, str]:
        (name,) = self.parties
        return API, name


@dataclass(slots=True)
class _CutWorker(_Cut):
    """Between a worker and one of the `others`."""

    seconds: ClassVar[tuple[float, float]] = (0.5, 8.0)
    others: ClassVar[Callable[[Target], Iterable[str]]]

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        pairs = {(worker, other) for worker in target.workers() for other in cls.others(target) if worker != other}
        chosen = _one(chance, sorted({"/".join(sorted(pair)) for pair in pairs}), busy)
        return cls(frozenset({chosen}), target, chance.random() < 0.3) if chosen else None

    @property
    def ends(self) -> tuple[str, str]:
        (link,) = self.parties
        one, _, other = link.partition("/")
        return one, other


@dataclass(slots=True)
class CutWorkers(_CutWorker):
    """Between two workers: replication and forwarding."""

    kind: ClassVar[str] = "cut-workers"
    others: ClassVar[Callable[[Target], Iterable[str]]] = Target.workers


@dataclass(slots=True)
class CutOperator(_CutWorker):
    """Between an operator and a worker: control calls linger, and arrive late."""

    kind: ClassVar[str] = "cut-operator"
    others: ClassVar[Callable[[Target], Iterable[str]]] = Target.operators


@dataclass(slots=True)
class CutClient(_CutWorker):
    """Between a client and a worker."""

    kind: ClassVar[str] = "cut-client"
    others: ClassVar[Callable[[Target], Iterable[str]]] = lambda target: target.clients


@dataclass(slots=True)
class Volume:
    """A small file system of its own for the data directory of one worker; needs the right to mount."""

    worker: str
    path: Path
    megabytes: int = 160
    mounted: bool = False

    def mount(self) -> bool:
        """Before the worker starts. Whether it is permitted here."""
        self.path.mkdir(parents=True, exist_ok=True)
        size = f"size={self.megabytes}m"
        command = ["mount", "-t", "tmpfs", "-o", size, "dstk-soak", str(self.path)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError:
            return False
        self.mounted = done.returncode == 0
        return self.mounted

    def unmount(self) -> None:
        """After the worker has ended."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)
            self.mounted = False

    def fill(self) -> None:
        """Until nothing more fits."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def clear(self) -> None:
        """There is room again."""
        (self.path / "ballast").unlink(missing_ok=True)


@dataclass(slots=True)
class DiskFull(Fault):
    """The data directory of one worker has no room, then has room again."""

    kind: ClassVar[str] = "disk-full"
    seconds: ClassVar[tuple[float, float]] = (1.0, 5.0)
    volume: Volume

    @classmethod
    async def aim(cls, target: Target, chance: random.Random, busy: Collection[str]) -> Fault | None:
        if target.volume is None or "disk" in busy:
            return None
        return cls(frozenset({"disk"}), target, target.volume)

    async def start(self) -> None:
        await asyncio.to_thread(self.volume.fill)

    async def stop(self) -> None:
        self.volume.clear()


_ALL: tuple[type[Fault], ...] = (
    WorkerKill,
    WorkerPause,
    OperatorKill,
    OperatorPause,
    CutLeader,
    ApiPause,
    ApiRestart,
    CutWorkers,
    CutOperator,
    CutClient,
    DiskFull,
)
KINDS: Mapping[str, type[Fault]] = {fault.kind: fault for fault in _ALL}
"""Every kind of fault by its name."""


def kinds_for(durability: str, wanted: Sequence[str] = ()) -> list[str]:
    """The kinds that a keyspace of that durability survives: Memory loses a dead worker's rows by design, and has no
    disk that could be full. Raises ConfigError for a kind that is not among them."""
    possible = [kind for kind in KINDS if durability == "Disk" or kind not in ("worker-kill", "disk-full")]
    for kind in wanted:
        if kind not in possible:
            raise ConfigError(f"{kind!r} is no fault for durability {durability}; there are {', '.join(possible)}")
    return list(wanted) or possible


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault to come: when, in seconds from the start, of which kind, for how long, and the seed of its aim."""

    at: float
    kind: str
    seconds: float
    seed: int

    @property
    def end(self) -> float:
        return self.at + self.seconds


def schedule(
    seed: int, seconds: float, kinds: Sequence[str], *, lease_seconds: float = 3.0, pause: float = 1.5
) -> list[Strike]:
    """Strikes that all end within `seconds`, `pause` seconds apart in the mean, every kind about as often."""
    chance = random.Random(f"nemesis/{seed}")
    strikes: list[Strike] = []
    deck: list[str] = []
    at = 0.0
    while kinds:
        at += min(chance.expovariate(1 / pause), 4 * pause)
        if not deck:
            deck = chance.sample(list(kinds), len(kinds))
        kind = deck.pop()
        shortest, longest = KINDS[kind].seconds
        unit = lease_seconds if kind in (OperatorPause.kind, CutLeader.kind) else 1.0
        # Short ones more often than long ones.
        lasts = unit * (shortest + (longest - shortest) * chance.random() ** 2)
        strike = Strike(round(at, 3), kind, round(lasts, 3), chance.getrandbits(32))
        if at >= seconds:
            return strikes
        if strike.end <= seconds:
            strikes.append(strike)
    return strikes


@dataclass(slots=True)
class Nemesis:
    """Carries a schedule out."""

    target: Target
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    struck: Counter[str] = field(default_factory=Counter)
    """Faults that did happen, by kind."""
    _busy: set[str] = field(default_factory=set)

    async def run(self, strikes: Sequence[Strike]) -> None:
        """Every strike at its moment. However this ends, no fault is left."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                group.create_task(self._strike(strike, began))

    async def _strike(self, strike: Strike, began: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, began + strike.at - loop.time()))
        fault = await KINDS[strike.kind].aim(self.target, random.Random(strike.seed), self._busy)
        if fault is None or fault.parties & self._busy:
            return
        self._busy |= fault.parties
        whom = ", ".join(sorted(fault.parties))
        try:
            self.say(f"{loop.time() - began:7.2f} s  {strike.kind} {whom}, {strike.seconds:.2f} s")
            await fault.start()
            self.struck[strike.kind] += 1
            await asyncio.sleep(strike.seconds)
        finally:
            await fault.stop()
            self._busy -= fault.parties
            if strike.seconds:
                self.say(f"{loop.time() - began:7.2f} s  {strike.kind} {whom} is over")


def operator_command(lease_seconds: float, front: str) -> OperatorCommand:
    """The command of one of several operators, which elect a leader, and which reach the API server through the proxy
    at `front`: see :class:`ClusterSettings`."""

    def command(life: OperatorLife) -> Sequence[str]:
        own = life.kubeconfig.with_name("operators.kubeconfig")
        write_kubeconfig(own, f"http://{front}", life.namespace)
        arguments = replace(life, kubeconfig=own).arguments
        return [sys.executable, "-m", "dstk.cli", "operator", *arguments, "--lease-seconds", str(lease_seconds)]

    return command

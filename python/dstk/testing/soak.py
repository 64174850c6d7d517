"""A soak: a verifying load, operations all the time, and a nemesis, on a local cluster of real processes.

``python -m dstk.testing.soak --seconds 300 --workers 3 --seed 1 --durability Memory`` ends by itself. Progress goes to
standard error; the last line of standard output is one JSON object. Exit code 0 only if no acknowledged write was lost,
nothing was violated, every Assignment has ended (or says Stalled and why) and every partition is served.

In order: the cluster starts and rows are loaded; for so many seconds faults strike; then nothing strikes any more and
all has to heal within a bound, still under load; then everything is read once more and judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstk import aio, api, errors, keys, kube
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.files import poll
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSettings, worker_command
from dstk.testing.invariants import Owners, Watcher, uncovered
from dstk.testing.linearizability import Judgement, Operation, check
from dstk.testing.nemesis import KINDS, DiskFull, Nemesis, Target, Volume, kinds_for, operator_command, schedule
from dstk.testing.network import Network
from dstk.testing.operations import PARTITIONS, Operations, everything
from dstk.testing.process import LoadProcess
from dstk.testing.recorder import recorded
from dstk.testing.shared import shared_key

__all__ = ["Findings", "SoakSettings", "faulty_cluster", "judge", "main", "soak"]

KEY_LENGTH = 16
_TELL_SECONDS = 5.0
_IMPOSSIBLE_VERSION = 2**62


@dataclass(frozen=True, slots=True)
class SoakSettings:
    """What a soak does. Seconds unless a name says otherwise."""

    seconds: float = 300.0
    """For so long faults strike."""
    workers: int = 3
    seed: int = 1
    durability: str = "Memory"
    kinds: tuple[str, ...] = ()
    """Empty: all that the durability allows."""
    operators: int = 2
    lease_seconds: float = 3.0
    clients: int = 3
    """Processes, every third one with threads and the blocking client."""
    rate: float = 300.0
    """Operations a second of each, at most."""
    tasks: int = 12
    """Operations under way at once in each."""
    keys: int = 2000
    """Rows of each process's own."""
    shared: int = 240
    """Keys that all of them write."""
    partitions: int = 8
    pause: float = 1.5
    """Between two strikes, in the mean."""
    start_seconds: float = 120.0
    heal_seconds: float = 90.0
    """Within this after the last fault all is served and every Assignment has ended."""
    call_seconds: float = 4.0
    """Deadline of a client's call: shorter than the longer faults."""

    def keyspace(self) -> dict[str, Any]:
        """The Keyspace under test."""
        return {
            "apiVersion": api.API_VERSION,
            "kind": "Keyspace",
            "metadata": {"name": "default"},
            "spec": {
                "keyLength": KEY_LENGTH,
                "durability": self.durability,
                "partitions": {"initial": self.partitions},
                "policy": {"mode": "Auto", "mergeBelowRows": 0},
                "proxySeconds": 1,
            },
        }


@dataclass(slots=True)
class Findings:
    """What was found at the end."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged writes that are not there any more."""
    violations: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    operations: int = 0
    """Operations on shared keys that were judged."""


def lost_write(history: Sequence[Operation]) -> str:
    """Whether the last read of a key misses an acknowledged write, by versions alone; what is lost, or "".

    The last operation has to be a read after which nothing was written.
    """
    reads = [each for each in history if each.verb == "get" and each.outcome == "ok"]
    acked = [each for each in history if each.verb != "get" and each.outcome == "ok" and each.version]
    if not reads or not acked:
        return ""
    last = max(reads, key=lambda each: each.returned)
    newest = max(acked, key=lambda each: each.version or 0)
    if last.version is not None:
        return f"{last} after {newest}" if last.version < (newest.version or 0) else ""
    removal_in_doubt = any(each.verb == "delete" and each.outcome == "unknown" for each in history)
    if newest.verb == "put" and not removal_in_doubt:
        return f"{last} after {newest}"
    return ""


def judge(folder: Path) -> Findings:
    """What the recorded histories of all keys say."""
    findings = Findings()
    for number, history in recorded(folder):
        findings.operations += len(history)
        missing = lost_write(history)
        if missing:
            findings.lost.append(f"shared key {number}: {missing}")
        verdict = check(history)
        if verdict.judgement is Judgement.VIOLATION:
            findings.violations.append(f"shared key {number}: {verdict.reason}")
        elif verdict.judgement is Judgement.UNDECIDED:
            findings.undecided.append(f"shared key {number}: {verdict.reason}")
    return findings


@asynccontextmanager
async def faulty_cluster(folder: Path, settings: SoakSettings) -> AsyncIterator[Target]:
    """A local cluster with everything in place that faults need: proxies, several operators, short leases."""
    clients: dict[str, int] = {}
    target: Target | None = None
    network = Network(lambda: target.processes() if target is not None else {})
    cluster = LocalCluster(
        folder,
        settings.workers,
        keyspace=settings.keyspace(),
        settings=ClusterSettings(
            operators=settings.operators,
            operator_command=operator_command(settings.lease_seconds),
            workers=WorkerSettings(command=network.interpose(worker_command), backoff=CrashBackoff(longest=1.0)),
            backoff=CrashBackoff(longest=1.0),
            start_seconds=settings.start_seconds,
        ),
    )
    target = Target(cluster, network, clients, settings.lease_seconds)
    if DiskFull.kind in kinds_for(settings.durability, settings.kinds):
        volume = Volume("worker-0", cluster.directory / "data" / "worker-0")
        target.volume = volume if volume.mount() else None
    try:
        async with cluster:
            yield target
    finally:
        await network.stop()
        if target.volume is not None:
            target.volume.unmount()


class Soak:
    """One run."""

    def __init__(self, settings: SoakSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        """A line of progress."""
        print(f"{time.monotonic() - self._began:7.1f}  {line}", file=sys.stderr, flush=True)

    async def run(self) -> dict[str, Any]:
        """The result: what is printed last."""
        settings = self._settings
        kinds = kinds_for(settings.durability, settings.kinds)
        self.say(f"seed {settings.seed}, {settings.durability}, {', '.join(kinds)}; files in {self._folder}")
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(faulty_cluster(self._folder, settings))
            if DiskFull.kind in kinds and target.volume is None:
                self.say("disk-full is left out: this process has no right to mount a file system")
                kinds.remove(DiskFull.kind)
            connection = await kube.connect(target.cluster.directory / "run" / "kubeconfig")
            stack.push_async_callback(connection.close)
            await self._served(connection, settings.start_seconds)
            loads = await self._load(target, stack)
            owners = await stack.enter_async_context(Watcher(lambda: _controls(target)).watching())
            operations = Operations(
                connection, KEY_LENGTH, target.workers, self._cuts(), settings.seed,
                most=2 * settings.partitions, say=self.say,
            )  # fmt: skip
            nemesis = Nemesis(target, say=self.say)
            lives = {name: target.cluster.workers.uid(name) for name in target.workers()}  # type: ignore[union-attr]
            self.say("faults begin")
            await self._strike(nemesis, operations, loads, kinds)
            self.say("faults have ended")
            open_ends = await self._heal(connection, operations)
            self.say("the load ends and reads everything")
            reports = [await self._finish(load) for load in loads]
            unserved = await self._unserved(target, connection)
            survived = {name: target.cluster.workers.uid(name) for name in lives}  # type: ignore[union-attr]
            if settings.durability == "Memory" and survived != lives:
                open_ends.append("a worker ended though nobody killed it; see its log")
        findings = await asyncio.to_thread(judge, self._folder / "history")
        return self._result(nemesis, operations, reports, findings, owners, open_ends, unserved)

    async def _load(self, target: Target, stack: AsyncExitStack) -> list[LoadProcess]:
        settings = self._settings
        addresses = [worker["data"] for worker in target.cluster.endpoints()["workers"].values()]
        loads = []
        for number in range(settings.clients):
            load = await LoadProcess.start(
                addresses, "--writer", str(number), "--seed", str(settings.seed), "--keys", str(settings.keys),
                "--tasks", str(settings.tasks), "--rate", str(settings.rate), "--timeout", str(settings.call_seconds),
                "--shared", str(settings.shared), "--record", str(self._folder / "history"),
                *(["--threads"] if number % 3 == 2 else []),
            )  # fmt: skip
            stack.push_async_callback(load.kill)
            loads.append(load)
            target.clients[f"client-{number}"] = load.pid  # type: ignore[index]
        async with asyncio.timeout(settings.start_seconds):
            for load in loads:
                await load.wait_loaded()
        return loads

    def _cuts(self) -> list[bytes]:
        """Where partitions are split: between groups of shared keys, and inside them."""
        chance = random.Random(f"cuts/{self._settings.seed}")
        shared = [shared_key(number, KEY_LENGTH) for number in range(self._settings.shared)]
        return chance.sample(shared, min(40, len(shared)))

    async def _strike(
        self, nemesis: Nemesis, operations: Operations, loads: Sequence[LoadProcess], kinds: Sequence[str]
    ) -> None:
        settings = self._settings
        strikes = schedule(
            settings.seed, settings.seconds, kinds, lease_seconds=settings.lease_seconds, pause=settings.pause
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(operations.run(stop))
            telling = group.create_task(self._tell(operations, loads))
            striking = group.create_task(nemesis.run(strikes))
            await asyncio.sleep(settings.seconds)
            await striking
            stop.set()
            telling.cancel()

    async def _tell(self, operations: Operations, loads: Sequence[LoadProcess]) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            done = sum(load.latest.get("operations", 0) for load in loads)
            wrong = sum(load.latest.get("wrong", 0) for load in loads)
            self.say(f"{done} operations, {wrong} wrong; assignments {operations.totals()}")
            for load in loads:
                if load.ended:
                    raise errors.DstkError("a load process has ended too early; what it said is above")

    async def _heal(self, connection: kube.Connection, operations: Operations) -> list[str]:
        """Wait until all is served and every Assignment has ended; what has not by then."""
        deadline = time.monotonic() + self._settings.heal_seconds
        while True:
            try:
                waiting = [
                    f"{each.metadata.name} ({each.spec.type}) is {each.status.phase} {each.status.reason}: "
                    f"{each.status.message}"
                    for each in await operations.unfinished()
                ]
                waiting += uncovered(await self._partitions(connection), KEY_LENGTH)
            except errors.DstkError as error:
                waiting = [f"the API server: {error}"]
            if not waiting:
                self.say("all is healed")
                return []
            if time.monotonic() > deadline:
                for each in waiting:
                    self.say(each)
                # Stalled with a reason is an end that may be: somebody has been told.
                stalled = [name for name, phase in operations.phases.items() if phase.startswith("Stalled ")]
                return [each for each in waiting if each.split()[0] not in stalled]
            await asyncio.sleep(0.2)

    async def _finish(self, load: LoadProcess) -> dict[str, Any]:
        async with asyncio.timeout(self._settings.start_seconds):
            return await load.finish()

    async def _served(self, connection: kube.Connection, seconds: float) -> None:
        async def served() -> bool:
            return not uncovered(await self._partitions(connection), KEY_LENGTH)

        async with asyncio.timeout(seconds):
            await poll(served, 0.05)

    async def _partitions(self, connection: kube.Connection) -> list[api.Partition]:
        return await everything(kube.Objects(connection, PARTITIONS, connection.namespace))

    async def _unserved(self, target: Target, connection: kube.Connection) -> list[str]:
        """Partitions that do not answer a read and a write; the write is one that no version can meet."""
        unserved = []
        addresses = [worker["data"] for worker in target.cluster.endpoints()["workers"].values()]
        async with aio.connect(addresses) as client:
            for each in await self._partitions(connection):
                key = keys.parse_bound(each.spec.range.start, KEY_LENGTH) or bytes(KEY_LENGTH)
                try:
                    await client.get(key, timeout=self._settings.call_seconds)
                    await client.put(key, b"", _IMPOSSIBLE_VERSION, timeout=self._settings.call_seconds)
                except errors.VersionMismatch:
                    continue
                except errors.DstkError as error:
                    unserved.append(f"{each.metadata.name}: {error}")
        return unserved

    def _result(
        self,
        nemesis: Nemesis,
        operations: Operations,
        reports: Sequence[dict[str, Any]],
        findings: Findings,
        owners: Owners,
        open_ends: list[str],
        unserved: list[str],
    ) -> dict[str, Any]:
        for report in reports:
            wrong = ("lost_writes", "wrong_reads")
            findings.violations += [line for line in report["examples"] if line.startswith(wrong)]
        for title, lines in (
            ("lost", findings.lost),
            ("violation", findings.violations + owners.violations),
            ("undecided", findings.undecided),
            ("not healed", open_ends),
            ("unserved", unserved),
        ):
            for line in lines[:20]:
                self.say(f"{title}: {line}")
        lost = sum(report["lost_writes"] for report in reports) + len(findings.lost)
        wrong_reads = sum(report["wrong_reads"] for report in reports)
        unread = sum(report["unread"] for report in reports)
        violations = len(findings.violations) + len(owners.violations) + wrong_reads
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "operations": sum(report["acked_writes"] + report["reads"] + report["scans"] for report in reports),
            "acked_writes": sum(report["acked_writes"] for report in reports),
            "lost_writes": lost,
            "violations": violations,
            "faults": {kind: nemesis.struck[kind] for kind in KINDS if nemesis.struck[kind]},
            "assignments": operations.totals(),
            "unserved_partitions": len(unserved),
            "seed": self._settings.seed,
            "durability": self._settings.durability,
            "judged": findings.operations,
            "undecided": len(findings.undecided),
            "failed_requests": sum(report["failed_requests"] for report in reports),
            "unread": unread,
            "not_healed": len(open_ends),
            "cancelled": operations.cancelled,
            "observations": owners.observations,
            "passed": not (lost or violations or unserved or unread or open_ends or findings.undecided),
        }


def _controls(target: Target) -> dict[str, str]:
    return {name: addresses["control"] for name, addresses in target.network.direct.items()}


async def soak(settings: SoakSettings, folder: Path) -> dict[str, Any]:
    """Run one; its files are in `folder`. The result has "passed" besides what is printed last."""
    return await Soak(settings, folder).run()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    defaults = SoakSettings()
    parser = argparse.ArgumentParser(prog="python -m dstk.testing.soak", description="load, operations and faults")
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="how long faults strike")
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument("--durability", choices=["Memory", "Disk"], default=defaults.durability)
    parser.add_argument("--kinds", default="", help=f"faults, separated by commas: {', '.join(KINDS)}")
    parser.add_argument("--clients", type=int, default=defaults.clients)
    parser.add_argument("--rate", type=float, default=defaults.rate, help="operations a second of each client at most")
    parser.add_argument("--keys", type=int, default=defaults.keys, help="rows of each client's own")
    parser.add_argument("--dir", type=Path, help="keep logs and histories here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parsed = parse(arguments)
    logging.basicConfig(level="ERROR")
    settings = SoakSettings(
        seconds=parsed.seconds,
        workers=parsed.workers,
        seed=parsed.seed if parsed.seed is not None else random.SystemRandom().randrange(2**32),
        durability=parsed.durability,
        kinds=tuple(kind for kind in parsed.kinds.split(",") if kind),
        clients=parsed.clients,
        rate=parsed.rate,
        keys=parsed.keys,
    )
    folder = parsed.dir or Path(tempfile.mkdtemp(prefix="dstk-soak-"))
    result = asyncio.run(_until_signal(settings, folder))
    print(json.dumps(result), flush=True)
    return 0 if result.pop("passed") else 1


async def _until_signal(settings: SoakSettings, folder: Path) -> dict[str, Any]:
    """As a task that SIGTERM cancels, so that no process is left behind."""
    task = asyncio.ensure_future(soak(settings, folder))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())

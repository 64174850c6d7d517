"""A soak: a verifying load, operations all the time, and a nemesis, on a local cluster of real processes.

``python -m dstk.testing.soak --seconds 300 --workers 3 --seed 1 --durability Memory`` ends by itself. Progress goes to
standard error; the last line of standard output is one JSON object. Exit code 0 only if no acknowledged write was lost,
nothing was violated, every Assignment has ended (or says Stalled and why) and every partition is served.

In order: the cluster starts and rows are loaded; for so many seconds faults strike; then nothing strikes any more and
all has to heal within a bound, still under load; then everything is read once more and judged.

Longer than 400 lines: one run from its beginning to its judgement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstk import aio, api, errors, keys, kube
from dstk.local.apiserver.files import poll
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.process import CrashBackoff
from dstk.local.runner import Life, WorkerSettings, worker_command
from dstk.testing.invariants import Owners, Watcher, uncovered
from dstk.testing.linearizability import Judgement, Operation, check
from dstk.testing.nemesis import API, KINDS, DiskFull, Nemesis, Target, Volume, kinds_for, operator_command, schedule
from dstk.testing.network import Network
from dstk.testing.operations import PARTITIONS, Operations
from dstk.testing.process import LoadProcess
from dstk.testing.recorder import recorded
from dstk.testing.shared import shared_key

__all__ = [
    "Findings",
    "SoakSettings",
    "Trial",
    "conclude",
    "faulty_cluster",
    "judge",
    "lost_write",
    "main",
    "restless_worker",
    "soak",
    "trying",
]

KEY_LENGTH = 16
_TELL_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_EXAMPLES = 20
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
    value_size: int = 1500
    """Bytes: enough for the write-ahead log to begin new files, and to be cut by checkpoints, all the time."""
    shared: int = 240
    """Keys that all of them write."""
    partitions: int = 8
    policy: Mapping[str, Any] = field(default_factory=lambda: {"mode": "Auto", "mergeBelowRows": 0})
    """The Keyspace's: what the Assigner does beside the operations."""
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
                "policy": dict(self.policy),
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

    Writes that ended after the read began say nothing: that read was not the final one.
    """
    reads = [each for each in history if each.verb == "get" and each.outcome == "ok"]
    if not reads:
        return ""
    last = max(reads, key=lambda each: each.returned)
    acked = [
        each
        for each in history
        if each.verb != "get" and each.outcome == "ok" and each.version and each.returned < last.invoked
    ]
    if not acked:
        return ""
    newest = max(acked, key=lambda each: each.version or 0)
    if last.version is not None:
        return f"{last} after {newest}" if last.version < (newest.version or 0) else ""
    removal_in_doubt = any(each.verb == "delete" and each not in acked for each in history if each.outcome != "failed")
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


def restless_worker(life: Life) -> Sequence[str]:
    """A worker whose log is cut into the smallest files there may be, with a checkpoint every other moment."""
    limits = ["--limit", f"log_segment_bytes={16 << 20}", "--limit", f"checkpoint_bytes={1 << 20}"]
    return [*worker_command(life), *limits]


@asynccontextmanager
async def faulty_cluster(folder: Path, settings: SoakSettings) -> AsyncIterator[Target]:
    """A local cluster with everything in place that faults need: proxies, several operators, short leases."""
    clients: dict[str, int] = {}
    target: Target | None = None
    network = Network(lambda: target.processes() if target is not None else {})
    try:
        front = await network.front(API, lambda: cluster.url.removeprefix("http://") or None)
        cluster = LocalCluster(
            folder,
            settings.workers,
            keyspace=settings.keyspace(),
            settings=ClusterSettings(
                operators=settings.operators,
                operator_command=operator_command(settings.lease_seconds, front),
                workers=WorkerSettings(
                    command=network.interpose(restless_worker),
                    keep_ports=False,  # pods come back under other addresses
                    backoff=CrashBackoff(longest=1.0),
                ),
                backoff=CrashBackoff(longest=1.0),
                start_seconds=settings.start_seconds,
            ),
        )
        target = Target(cluster, network, clients, settings.lease_seconds)
        if DiskFull.kind in kinds_for(settings.durability, settings.kinds):
            volume = Volume("worker-0", cluster.directory / "data" / "worker-0")
            target.volume = volume if volume.mount() else None
        async with cluster:
            yield target
    finally:
        await network.stop()
        if target is not None and target.volume is not None:
            target.volume.unmount()


class Trial:
    """One trial of a cluster, from its first row to the judgement: start(), strike(), finish(), each once."""

    def __init__(
        self, settings: SoakSettings, target: Target, connection: kube.Connection, say: Callable[[str], None]
    ) -> None:
        self.kinds = kinds_for(settings.durability, settings.kinds)
        if DiskFull.kind in self.kinds and target.volume is None:
            say("disk-full is left out: this process has no right to mount a file system")
            self.kinds.remove(DiskFull.kind)
        self._settings = settings
        self._target = target
        self._connection = connection
        self._say = say
        self._began = time.monotonic()
        self._history = target.cluster.directory / "history"
        self._nemesis = Nemesis(target, say=say)
        self._operations = Operations(
            connection,
            KEY_LENGTH,
            target.workers,
            _cuts(settings),
            settings.seed,
            most=2 * settings.partitions,
            say=say,
        )
        self._loads: list[LoadProcess] = []
        self._stack = AsyncExitStack()
        self._owners = Owners()
        self._lives: dict[str, str] = {}

    async def start(self) -> None:
        """Wait until the keyspace is served, and load rows."""
        async with asyncio.timeout(self._settings.start_seconds):
            await poll(self._served, 0.05)
            for number in range(self._settings.clients):
                await self._start_load(number)
            for load in self._loads:
                await load.wait_loaded()
        watcher = Watcher(self._controls, self._owners)
        await self._stack.enter_async_context(watcher.watching())
        self._lives = self._uids()

    async def strike(self) -> None:
        """Faults, beside the load and operations; none is left when this ends, however it ends."""
        settings = self._settings
        strikes = schedule(
            settings.seed, settings.seconds, self.kinds, lease_seconds=settings.lease_seconds, pause=settings.pause
        )
        stop = asyncio.Event()
        self._say(f"faults begin: {len(strikes)} strikes of {', '.join(self.kinds)}")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operations.run(stop))
            telling = group.create_task(self._tell())
            striking = group.create_task(self._nemesis.run(strikes))
            await asyncio.sleep(settings.seconds)
            await striking
            stop.set()
            telling.cancel()
        self._say("faults have ended")

    async def finish(self) -> dict[str, Any]:
        """Wait until all is healed, read everything, and judge: the result, see the module."""
        open_ends = await self._heal()
        self._say("the load ends and reads everything")
        ended = await asyncio.gather(*map(self._finish, self._loads), return_exceptions=True)
        reports = [report for report in ended if isinstance(report, dict)]
        open_ends += [f"a load process gave no report: {each!r}" for each in ended if isinstance(each, BaseException)]
        unserved = await self._unserved()
        if self._settings.durability == "Memory" and self._uids() != self._lives:
            open_ends.append("a worker ended though nobody killed it; see its log")
        # What a killed process did is not all on disk, and the rest cannot be judged without it.
        whole = len(reports) == len(self._loads)
        findings = await asyncio.to_thread(judge, self._history) if whole else Findings()
        return self._result(reports, findings, open_ends, unserved)

    async def _finish(self, load: LoadProcess) -> dict[str, Any]:
        async with asyncio.timeout(self._settings.start_seconds):
            return await load.finish()

    async def close(self) -> None:
        """End what was started, whatever it does."""
        await self._stack.aclose()

    async def _start_load(self, number: int) -> None:
        settings = self._settings
        load = await LoadProcess.start(
            list(self._target.network.fronts.values()),
            "--writer", str(number), "--seed", str(settings.seed), "--keys", str(settings.keys),
            "--tasks", str(settings.tasks), "--rate", str(settings.rate), "--timeout", str(settings.call_seconds),
            "--shared", str(settings.shared), "--record", str(self._history), "--value-size", str(settings.value_size),
            *(["--threads"] if number % 3 == 2 else []),
        )  # fmt: skip
        self._stack.push_async_callback(load.kill)
        self._loads.append(load)
        self._target.clients[f"client-{number}"] = load.pid

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            done = sum(load.latest.get("operations", 0) for load in self._loads)
            wrong = sum(load.latest.get("wrong", 0) for load in self._loads)
            failed = sum(load.latest.get("failed", 0) for load in self._loads)
            self._say(f"{done} operations, {wrong} wrong, {failed} failed; assignments {self._operations.totals()}")
            if any(load.ended for load in self._loads):
                raise errors.DstkError("a load process has ended too early; what it said is above")

    async def _heal(self) -> list[str]:
        """Wait until all is served and every Assignment has ended; what has not by then."""
        deadline = time.monotonic() + self._settings.heal_seconds
        while waiting := await self._unhealed():
            if time.monotonic() > deadline:
                # Stalled with a reason is an end that may be: somebody has been told.
                stalled = [name for name, phase in self._operations.phases.items() if phase.startswith("Stalled ")]
                return [each for each in waiting if each.split()[0] not in stalled]
            await asyncio.sleep(_LOOK_SECONDS)
        self._say("all is healed")
        return []

    async def _unhealed(self) -> list[str]:
        try:
            waiting = [
                f"{each.metadata.name} ({each.spec.type}) is {each.status.phase} {each.status.reason}: "
                f"{each.status.message}"
                for each in await self._operations.unfinished()
            ]
            return waiting + uncovered(await self._partitions(), KEY_LENGTH)
        except errors.DstkError as error:
            return [f"the API server: {error}"]

    async def _served(self) -> bool:
        return not uncovered(await self._partitions(), KEY_LENGTH)

    async def _partitions(self) -> list[api.Partition]:
        return await kube.Objects(self._connection, PARTITIONS, self._connection.namespace).list_all()

    def _uids(self) -> dict[str, str]:
        """Each worker's present life."""
        workers = self._target.cluster.workers
        return {} if workers is None else {name: workers.uid(name) for name in self._target.workers()}

    def _controls(self) -> dict[str, str]:
        return {name: addresses["control"] for name, addresses in self._target.network.direct.items()}

    async def _unserved(self) -> list[str]:
        """Partitions that do not answer a read and a write; the write is one that no version can meet."""
        unserved = []
        async with aio.connect(list(self._target.network.fronts.values())) as client:
            for each in await self._partitions():
                key = keys.parse_bound(each.spec.range.start, KEY_LENGTH) or bytes(KEY_LENGTH)
                try:
                    await client.get(key)
                    await client.put(key, b"", _IMPOSSIBLE_VERSION)
                except errors.VersionMismatch:
                    continue
                except errors.DstkError as error:
                    unserved.append(f"{each.metadata.name}: {error}")
        return unserved

    def _result(
        self, reports: Sequence[dict[str, Any]], findings: Findings, open_ends: list[str], unserved: list[str]
    ) -> dict[str, Any]:
        def total(*counts: str) -> int:
            return sum(report[count] for report in reports for count in counts)

        said = [line for report in reports for line in report["examples"]]
        wrong_rows = [line for line in said if line.startswith(("lost_writes", "wrong_reads"))]
        for title, lines in (
            ("lost", findings.lost),
            ("violation", findings.violations + wrong_rows + self._owners.violations),
            ("undecided", findings.undecided),
            ("not healed", open_ends),
            ("unserved", unserved),
        ):
            for line in lines[:_EXAMPLES]:
                self._say(f"{title}: {line}")
        lost = total("lost_writes") + len(findings.lost)
        violations = total("wrong_reads") + len(findings.violations) + len(self._owners.violations)
        struck = self._nemesis.struck
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "operations": total("acked_writes", "reads", "scans"),
            "acked_writes": total("acked_writes"),
            "lost_writes": lost,
            "violations": violations,
            "faults": {kind: struck[kind] for kind in KINDS if struck[kind]},
            "assignments": self._operations.totals(),
            "unserved_partitions": len(unserved),
            "seed": self._settings.seed,
            "durability": self._settings.durability,
            "judged": findings.operations,
            "undecided": len(findings.undecided),
            "failed_requests": total("failed_requests"),
            "unread": total("unread"),
            "not_healed": len(open_ends),
            "cancelled": self._operations.cancelled,
            "observations": self._owners.observations,
            "passed": not (lost or violations or unserved or total("unread") or open_ends or findings.undecided),
        }


def _cuts(settings: SoakSettings) -> list[bytes]:
    """Where partitions are split: between groups of shared keys, and inside them."""
    chance = random.Random(f"cuts/{settings.seed}")
    shared = [shared_key(number, KEY_LENGTH) for number in range(settings.shared)]
    return chance.sample(shared, min(40, len(shared)))


@asynccontextmanager
async def trying(settings: SoakSettings, target: Target, say: Callable[[str], None]) -> AsyncIterator[Trial]:
    """A trial of a cluster that :func:`faulty_cluster` has given, started."""
    connection = await kube.connect(target.cluster.directory / "run" / "kubeconfig")
    trial = Trial(settings, target, connection, say)
    try:
        await trial.start()
        yield trial
    finally:
        await trial.close()
        await connection.close()


async def soak(settings: SoakSettings, folder: Path) -> dict[str, Any]:
    """Run one; its files are in `folder`. The result is what is printed last, and "passed"."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {line}", file=sys.stderr, flush=True)

    say(f"seed {settings.seed}, durability {settings.durability}; logs and histories in {folder}")
    async with faulty_cluster(folder, settings) as target, trying(settings, target, say) as trial:
        await trial.strike()
        return await trial.finish()


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
    return conclude(lambda folder: soak(_settings(parsed), folder), parsed.dir, "dstk-soak-")


def conclude(run: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]], folder: Path | None, prefix: str) -> int:
    """Run it in `folder`, or in one that is removed unless something was found; print its result; the exit code."""
    chosen = folder or Path(tempfile.mkdtemp(prefix=prefix))
    try:
        result = asyncio.run(_until_signal(run(chosen)))
    except errors.DstkError as error:
        print(f"dstk: {error}; logs are in {chosen}", file=sys.stderr)
        return 1
    print(json.dumps(result), flush=True)
    if result["passed"] and folder is None:
        shutil.rmtree(chosen, ignore_errors=True)
    return 0 if result["passed"] else 1


def _settings(parsed: argparse.Namespace) -> SoakSettings:
    return SoakSettings(
        seconds=parsed.seconds,
        workers=parsed.workers,
        seed=parsed.seed if parsed.seed is not None else random.SystemRandom().randrange(2**32),
        durability=parsed.durability,
        kinds=tuple(kind for kind in parsed.kinds.split(",") if kind),
        clients=parsed.clients,
        rate=parsed.rate,
        keys=parsed.keys,
    )


async def _until_signal(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """As a task that SIGTERM cancels, so that no process is left behind."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())

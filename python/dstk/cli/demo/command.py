"""The demo from start to end."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dstk import api, errors, keys, kube
from dstk.cli import output
from dstk.cli.demo.display import Display, summary
from dstk.cli.demo.story import Done, Held, next_operation
from dstk.cli.resources import ASSIGNMENTS, KEYSPACES, PARTITIONS
from dstk.local.cluster import LocalCluster
from dstk.local.directory import Directory
from dstk.testing.process import LoadProcess

_POLL_SECONDS = 0.05
_READY_SECONDS = 300.0
_ASSIGNMENT_SECONDS = 120.0
_ATTEMPTS = 30

KEY_LENGTH = 16


def demo(arguments: argparse.Namespace) -> int:
    """Run the demo; exit code 0 only if nothing was lost, wrong or failed, and every operation was shown."""
    with ExitStack() as stack:
        folder = arguments.dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="dstk-demo-"))
        return asyncio.run(_until_signal(arguments, Path(folder)))


async def _until_signal(arguments: argparse.Namespace, folder: Path) -> int:
    """The demo as a task that SIGTERM cancels, so that no process is left behind."""
    task = asyncio.ensure_future(_run(arguments, folder))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 130


async def _run(arguments: argparse.Namespace, folder: Path) -> int:
    keyspace = {
        "apiVersion": api.API_VERSION,
        "kind": "Keyspace",
        "metadata": {"name": "default"},
        "spec": {
            "keyLength": KEY_LENGTH,
            "partitions": {"initial": arguments.partitions},
            # The story merges and moves by itself; the Assigner shall not undo it meanwhile.
            "policy": {"mergeBelowRows": 0, "balanceTolerancePercent": 100, "maxOpsPerSecond": 10_000_000},
            "proxySeconds": 1,
        },
    }
    if Directory(folder).recall() is not None:
        raise errors.ConfigError(f"{folder} has a cluster already, and the demo begins with none: name another --dir")
    with Display() as display:
        display.scene.doing = f"starting the API, the operator and {arguments.workers} workers"
        display.show()
        async with LocalCluster(folder, workers=arguments.workers, keyspace=keyspace) as cluster:
            connection = await kube.connect(cluster.kubeconfig)
            try:
                result = await Demo(arguments, cluster, connection, display).run()
            finally:
                await connection.close()
    if arguments.json:
        print(json.dumps(result))
    else:
        output.console().print(summary(result))
    for example in result.pop("examples"):
        print(f"dstk: {example}", file=sys.stderr)
    good = not (result["lost_writes"] or result["wrong_reads"] or result["failed_requests"])
    return 0 if good and result["all_types_completed"] else 1


class Demo:
    """One run against a cluster that is up."""

    def __init__(
        self, arguments: argparse.Namespace, cluster: LocalCluster, connection: kube.Connection, display: Display
    ) -> None:
        self._arguments = arguments
        self._cluster = cluster
        self._display = display
        self._keyspaces = kube.Objects(connection, KEYSPACES, "default")
        self._partitions = kube.Objects(connection, PARTITIONS, "default")
        self._assignments = kube.Objects(connection, ASSIGNMENTS, "default")
        self._windows: dict[str, tuple[float, float]] = {}

    async def run(self) -> dict[str, Any]:
        """Wait for the partitions, load, operate under load, verify; the result."""
        started = time.monotonic()
        await self._wait_ready(self._arguments.partitions)
        self._display.say(f"{self._arguments.partitions:,} partitions ready after {time.monotonic() - started:.1f} s")
        workers = self._cluster.endpoints()["workers"]
        load = await LoadProcess.start(
            [worker["data"] for worker in workers.values()],
            "--keys",
            str(self._arguments.keys),
            "--value-size",
            str(self._arguments.value_size),
        )
        try:
            done = await self._operate(load, sorted(workers))
            self._display.scene.assignment = None
            self._display.scene.doing = "reading everything once more"
            self._display.show()
            report = await load.finish()
        finally:
            await load.kill()
        return await self._result(report, done)

    async def _operate(self, load: LoadProcess, workers: Sequence[str]) -> Done:
        self._display.scene.doing = f"loading {self._arguments.keys:,} rows"
        waiting = asyncio.ensure_future(load.wait_loaded())
        while not waiting.done():
            self._tick(load)
            await asyncio.wait({waiting}, timeout=_POLL_SECONDS)
        waiting.result()
        self._display.scene.doing = "reading and writing"
        begun = time.monotonic()
        done, attempts = Done(), 0
        while not done.enough or time.monotonic() - begun < self._arguments.seconds:
            spec = next_operation(await self._held(), workers, done, KEY_LENGTH)
            ended = await self._carry_out(spec, f"demo-{attempts:03}", load)
            attempts += 1
            if ended.status.phase is api.AssignmentPhase.COMPLETED:
                done = _count(done, ended)
                self._display.scene.completed += 1
            else:
                self._display.say(f"{ended.metadata.name}: {ended.status.phase}: {ended.status.message}")
                if attempts - self._display.scene.completed > _ATTEMPTS:
                    raise errors.DstkError(f"{_ATTEMPTS} operations did not complete; the last: {ended.status.message}")
        return done

    async def _carry_out(self, spec: dict[str, Any], name: str, load: LoadProcess) -> api.Assignment:
        began = time.time()
        await self._assignments.create({"metadata": {"name": name}, "spec": spec})
        deadline = time.monotonic() + _ASSIGNMENT_SECONDS
        while True:
            current = await self._assignments.get(name)
            self._display.scene.assignment = current
            self._tick(load)
            if current.finished:
                self._windows[name] = (began, time.time())
                return current
            if time.monotonic() > deadline:
                raise errors.DstkError(
                    f"assignment {name} ({spec['type']}) has not ended in {_ASSIGNMENT_SECONDS:.0f} s: "
                    f"{current.status.phase} {current.status.reason} {current.status.message}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    def _tick(self, load: LoadProcess) -> None:
        if load.ended:
            raise errors.DstkError("the load has ended too early; what it said is above")
        self._display.scene.load = load.latest
        self._display.show()

    async def _wait_ready(self, partitions: int) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            keyspace = await self._keyspaces.get("default")
            self._display.scene.doing = f"{keyspace.status.ready:,} of {partitions:,} partitions ready"
            self._display.show()
            if keyspace.status.ready >= partitions:
                return
            if time.monotonic() > deadline:
                raise errors.DstkError(
                    f"only {keyspace.status.ready} of {partitions} partitions were ready after {_READY_SECONDS:.0f} s"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _held(self) -> list[Held]:
        found: list[Held] = []
        for item in await self._partitions.list_all():
            bounds = item.spec.range
            if item.spec.primary:
                start, end = (keys.parse_bound(bound, KEY_LENGTH) for bound in (bounds.start, bounds.end))
                found.append(Held(item.metadata.name, start, end, item.spec.primary))
        return sorted(found, key=lambda held: held.start)

    async def _result(self, report: dict[str, Any], done: Done) -> dict[str, Any]:
        rows = [self._row(item, report["slow"]) for item in await self._assignments.list_all()]
        completed = {row["type"] for row in rows if row["phase"] == "Completed"}
        operations = report["acked_writes"] + report["reads"] + report["scans"]
        return {
            "acked_writes": report["acked_writes"],
            "lost_writes": report["lost_writes"],
            "wrong_reads": report["wrong_reads"],
            "failed_requests": report["failed_requests"],
            "ops_per_second": round((operations - self._arguments.keys) / report["seconds"]),
            "p50_ms": round(report["p50_ms"], 3),
            "p99_ms": round(report["p99_ms"], 3),
            "all_types_completed": completed == set(map(str, api.AssignmentType)) and done.enough,
            "assignments": rows,
            "examples": report["examples"],
        }

    def _row(self, item: api.Assignment, slow: Sequence[tuple[float, float]]) -> dict[str, Any]:
        window = self._windows.get(item.metadata.name)
        if window is None:
            start = item.status.started_at or item.metadata.creation_timestamp or datetime.now(UTC)
            window = start.timestamp(), (item.status.finished_at or datetime.now(UTC)).timestamp()
        began, ended = window
        gaps = [seconds for at, seconds in slow if at >= began and at - seconds <= ended]
        return {
            "name": item.metadata.name,
            "type": str(item.spec.type),
            "phase": str(item.status.phase or "Pending"),
            "seconds": round(ended - began, 3),
            "longest_gap_ms": round(1e3 * max(gaps, default=0.0), 1),
            "write_pause_ms": item.status.progress.write_pause_ms if item.status.progress is not None else None,
        }


def _count(done: Done, ended: api.Assignment) -> Done:
    match ended.spec.type:
        case api.AssignmentType.SPLIT:
            return Done(done.splits + 1, done.merges, done.moves)
        case api.AssignmentType.MERGE:
            return Done(done.splits, done.merges + 1, done.moves)
        case _:
            return Done(done.splits, done.merges, done.moves + 1)

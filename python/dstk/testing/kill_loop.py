"""Workers with a Disk keyspace, killed again and again under load: every acknowledged write has to be there each time.

``python -m dstk.testing.kill_loop --kills 1000`` runs a local cluster whose workers are killed beside one another. Each
round of a worker is: a verifying load on its keys, SIGKILL at a random moment of it, now and then another one while it
starts, then a read of every key. The last line of standard output is one JSON object; exit code 0 only if nothing was
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import dstk
from dstk import aio, kube
from dstk.api.span import span_of
from dstk.local.apiserver.files import poll
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSettings
from dstk.span import Span
from dstk.testing.invariants import uncovered
from dstk.testing.load import LoadSettings, VerifyingLoad, key_of
from dstk.testing.operations import PARTITIONS
from dstk.testing.soak import KEY_LENGTH, SoakSettings, conclude, restless_worker

__all__ = ["KillSettings", "kill_loop", "main"]

_READY_SECONDS = 60.0
_TELL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KillSettings:
    """What is done. Seconds unless a name says otherwise."""

    kills: int = 1000
    workers: int = 3
    seed: int = 1
    keys: int = 400
    """Rows of each worker."""
    value_size: int = 1500
    """Bytes."""
    tasks: int = 8
    """Requests under way at once to each worker."""
    rate: float = 600.0
    """Operations a second on each worker at most."""
    longest: float = 0.8
    """A worker lives so long at most once it is seen to serve."""
    again: float = 0.15
    """Chance that it is killed once more while it starts."""
    call_seconds: float = 60.0
    """Deadline of a call: a worker has to be back within it."""


class Lane:
    """One worker: its load, and its end, over and over."""

    def __init__(self, cluster: LocalCluster, worker: str, load: VerifyingLoad, settings: KillSettings) -> None:
        self.worker = worker
        self.load = load
        self.kills = 0
        self._cluster = cluster
        self._settings = settings
        self._chance = random.Random(f"kills/{settings.seed}/{worker}")

    async def round(self) -> None:
        """Load, kill, verify."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.load.run(stop))
        try:
            await asyncio.sleep(self._chance.random() ** 2 * self._settings.longest)
            self._kill()
            if self._chance.random() < self._settings.again:
                await asyncio.sleep(self._chance.random())
                self._kill()
        finally:
            stop.set()
            await running  # every call ends when the worker is back
        await self.load.verify()

    def _kill(self) -> None:
        workers = self._cluster.workers
        if workers is not None and workers.pid(self.worker) is not None:
            self._cluster.kill_worker(self.worker)
            self.kills += 1


def keys_in(spans: Sequence[Span], number: int) -> list[bytes]:
    """So many keys of these ranges, the same in every run."""
    found: list[bytes] = []
    for index in count():
        key = key_of(index, KEY_LENGTH)
        if any(span.holds(key) for span in spans):
            found.append(key)
            if len(found) == number:
                break
    return found


async def kill_loop(settings: KillSettings, folder: Path) -> dict[str, Any]:
    """Run one; logs and data are in `folder`. The result is what is printed last, and "passed"."""
    began = time.monotonic()
    keyspace = SoakSettings(durability="Disk", partitions=2 * settings.workers).keyspace()
    cluster_settings = ClusterSettings(
        # All workers may be killed at once, so a client has to find them where they were.
        workers=WorkerSettings(command=restless_worker, backoff=CrashBackoff(first=0.02, longest=0.02)),
        backoff=CrashBackoff(first=0.02, longest=0.5),
    )
    async with LocalCluster(folder, settings.workers, keyspace=keyspace, settings=cluster_settings) as cluster:
        connection = await kube.connect(cluster.directory / "run" / "kubeconfig")
        partitions = kube.Objects(connection, PARTITIONS, connection.namespace)

        async def served() -> bool:
            return not uncovered(await partitions.list_all(), KEY_LENGTH)

        try:
            async with asyncio.timeout(_READY_SECONDS):
                await poll(served, 0.05)
            owned = await partitions.list_all()
        finally:
            await connection.close()
        addresses = [worker["data"] for worker in cluster.endpoints()["workers"].values()]
        client_settings = dstk.ClientSettings(timeout_seconds=settings.call_seconds)
        async with aio.connect(addresses, settings=client_settings) as client:
            lanes = []
            for number, worker in enumerate(sorted({each.spec.primary for each in owned if each.spec.primary})):
                spans = [span_of(each.spec.range, KEY_LENGTH) for each in owned if each.spec.primary == worker]
                load = VerifyingLoad(
                    client,
                    LoadSettings(
                        keys=settings.keys,
                        value_size=settings.value_size,
                        tasks=settings.tasks,
                        seed=settings.seed + number,
                        rate=settings.rate,
                    ),
                    keys=keys_in(spans, settings.keys),
                )
                await load.fill(lambda _: None)
                lanes.append(Lane(cluster, worker, load, settings))
            await _run(lanes, settings)
    reports = [lane.load.finish() for lane in lanes]
    for report in reports:
        for line in report.examples:
            if not line.startswith(("failed_requests", "unknown_outcomes")) or report.unread:
                print(line, file=sys.stderr)
    lost = sum(report.lost_writes for report in reports)
    wrong = sum(report.wrong_reads for report in reports)
    unread = sum(report.unread for report in reports)
    return {
        "kills": sum(lane.kills for lane in lanes),
        "acked_writes": sum(report.acked_writes for report in reports),
        "lost_writes": lost,
        "seconds": round(time.monotonic() - began, 1),
        "wrong_reads": wrong,
        "unread": unread,
        "unknown_outcomes": sum(lane.load.history.findings.unknown_outcomes for lane in lanes),
        "failed_requests": sum(lane.load.history.findings.failed_requests for lane in lanes),
        "seed": settings.seed,
        "passed": not (lost or wrong or unread),
    }


async def _run(lanes: Sequence[Lane], settings: KillSettings) -> None:
    """Round after round, in all lanes, until there were so many kills."""

    def kills() -> int:
        return sum(lane.kills for lane in lanes)

    async def keep(lane: Lane) -> None:
        while kills() < settings.kills:
            await lane.round()

    async def tell() -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            acked = sum(lane.load.report.acked_writes for lane in lanes)
            lost = sum(lane.load.history.findings.lost_writes for lane in lanes)
            print(f"{time.monotonic() - began:7.1f}  {kills()} kills, {acked} writes acknowledged, {lost} lost",
                  file=sys.stderr, flush=True)  # fmt: skip

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(tell())
        await asyncio.gather(*map(keep, lanes))
        telling.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    defaults = KillSettings()
    parser = argparse.ArgumentParser(prog="python -m dstk.testing.kill_loop", description="workers killed under load")
    parser.add_argument("--kills", type=int, default=defaults.kills)
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--dir", type=Path, help="keep logs and data here")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level="ERROR")
    settings = KillSettings(kills=parsed.kills, workers=parsed.workers, seed=parsed.seed)
    return conclude(lambda folder: kill_loop(settings, folder), parsed.dir, "dstk-kills-")


if __name__ == "__main__":
    sys.exit(main())

"""A load that verifies what it is told: every acknowledged write is remembered, every read is checked.

Run as a process of its own (``python -m dstk.testing.load``) it prints one JSON object a line: progress while it
runs, ``{"loaded": …}`` once the rows are there, and at the end, after its standard input was closed and everything
was read once more, ``{"final": …}``.

Each process writes keys of its own, of which it knows at any moment what they must be. With ``--shared N --record DIR``
it also writes N keys that all processes share; what it did to those is recorded, for the checker to judge.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dstk
from dstk import aio, errors
from dstk.testing.history import History
from dstk.testing.recorder import Recorder
from dstk.testing.shared import SharedKeys, reached

_SLOW_SECONDS = 0.002
_SAMPLES = 8192
_FINAL_SECONDS = 30.0
"""For each read of the last round."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What the load does."""

    keys: int = 100_000
    value_size: int = 100
    """Bytes."""
    tasks: int = 64
    """Requests under way at once."""
    seed: int = 1
    writer: int = 0
    """Number of this process among those that write to the keyspace: each has its own keys."""
    rate: float = 0.0
    """Operations a second at most; 0: as many as can be."""
    shared: int = 0
    """Keys that all processes write; half of the operations are on them."""


@dataclass(slots=True)
class LoadReport:
    """What the load did."""

    acked_writes: int = 0
    reads: int = 0
    scans: int = 0
    seconds: float = 0.0
    lost_writes: int = 0
    wrong_reads: int = 0
    failed_requests: int = 0
    unread: int = 0
    """Keys that could not be read at the end."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    slow: list[tuple[float, float]] = field(default_factory=list)
    """Of each 10 ms in which a request ended that took over 2 ms, the slowest: (when, seconds since 1970; seconds)."""
    examples: list[str] = field(default_factory=list)

    @property
    def operations(self) -> int:
        """Everything that was answered."""
        return self.acked_writes + self.reads + self.scans


def key_of(index: int, length: int, writer: int = 0) -> bytes:
    """The key numbered `index` of a process: spread evenly over the keyspace, the same in every run."""
    return (
        hashlib.blake2b((writer << 40 | index).to_bytes(8, "big"), digest_size=min(length, 64))
        .digest()
        .ljust(length, b"\0")
    )


class VerifyingLoad:
    """Writes and reads `settings.keys` keys through an asyncio client, and checks every answer."""

    def __init__(
        self,
        client: aio.Client | Threads,
        settings: LoadSettings,
        recorder: Recorder | None = None,
        keys: Sequence[bytes] = (),
    ) -> None:
        """`keys`: which they are, as many as the settings say; else they are spread evenly."""
        self._client: Any = client
        self._settings = settings
        self.history = History(settings.keys, settings.value_size)
        self.report = LoadReport()
        self._keys = list(keys) or [key_of(index, client.key_length, settings.writer) for index in range(settings.keys)]
        self._order = sorted(range(settings.keys), key=self._keys.__getitem__)
        self._latencies: deque[float] = deque(maxlen=_SAMPLES)
        self._slow: dict[int, float] = {}
        self._shared: SharedKeys | None = None
        if recorder is not None and settings.shared:
            self._shared = SharedKeys(
                client,
                settings.shared,
                settings.value_size,
                settings.writer,
                recorder,
                self.report,
                self.history.findings,
            )

    async def fill(self, progress: Callable[[int], None], batch: int = 2000) -> None:
        """Write every key once."""
        for start in range(0, len(self._keys), batch):
            indexes = range(start, min(start + batch, len(self._keys)))
            values = [self.history.value(index, 1) for index in indexes]
            versions = await self._client.put_many([self._keys[i] for i in indexes], values)
            for index, version in zip(indexes, versions, strict=True):
                self.history.wrote(index, 1, version)
            self.report.acked_writes += len(indexes)
            progress(indexes.stop)

    async def run(self, stop: asyncio.Event) -> None:
        """Read and write until `stop` is set."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.tasks):
                group.create_task(self._worker(number, stop))
        self.report.seconds += time.perf_counter() - started

    async def verify(self, batch: int = 2000) -> None:
        """Read everything once more: nobody writes now, so every row must be the last acknowledged one."""
        for start in range(0, len(self._keys), batch):
            indexes = range(start, min(start + batch, len(self._keys)))
            try:
                rows = await self._client.get_many([self._keys[i] for i in indexes], timeout=_FINAL_SECONDS)
            except errors.PartialFailure as failure:
                rows = failure.results
            except errors.DstkError as error:
                rows = [error] * len(indexes)
            for index, row in zip(indexes, rows, strict=True):
                if isinstance(row, BaseException):
                    self.report.unread += 1
                    self.history.findings.add("failed_requests", f"key {index} at the end: {row}")
                else:
                    self.history.check_own(index, row)
        if self._shared is not None:
            self.report.unread += await self._shared.read_all(_FINAL_SECONDS)

    def finish(self) -> LoadReport:
        """The report, with the findings so far."""
        findings, report = self.history.findings, self.report
        report.lost_writes = findings.lost_writes
        report.wrong_reads = findings.wrong_reads
        report.failed_requests = findings.failed_requests + findings.unknown_outcomes
        report.examples = findings.examples
        report.slow = [(slot / 100, seconds) for slot, seconds in sorted(self._slow.items())]
        latencies = sorted(self._latencies)
        if latencies:
            report.p50_ms = 1e3 * latencies[len(latencies) // 2]
            report.p99_ms = 1e3 * latencies[len(latencies) * 99 // 100]
        return report

    async def _worker(self, number: int, stop: asyncio.Event) -> None:
        """Owns the keys whose index is `number` modulo the number of tasks: it alone writes them."""
        tasks, keys = self._settings.tasks, self._settings.keys
        own = range(number, keys, tasks)
        if not own:
            return
        chance = random.Random(f"{self._settings.seed}/{number}")
        while not stop.is_set():
            if self._settings.rate:
                await _pause(stop, chance.expovariate(self._settings.rate / tasks))
            started = time.perf_counter()
            try:
                if self._shared is not None and chance.random() < 0.5:
                    await self._shared.one(chance)
                else:
                    await self._one(own, chance)
            except errors.OutcomeUnknown as error:
                self.history.findings.add("unknown_outcomes", str(error))
            except errors.DstkError as error:
                self.history.findings.add("failed_requests", f"{type(error).__name__}: {error}")
            took = time.perf_counter() - started
            self._latencies.append(took)
            if took > _SLOW_SECONDS:
                slot = int(time.time() * 100)
                self._slow[slot] = max(took, self._slow.get(slot, 0.0))

    async def _one(self, own: range, chance: random.Random) -> None:
        """One operation on a key of this task's, or a read of any."""
        index = own[chance.randrange(len(own))]
        dice = chance.random()
        if dice < 0.48:
            await self._put(index)
        elif dice < 0.70:
            self.history.check_own(index, await self._client.get(self._keys[index]))
            self.report.reads += 1
        elif dice < 0.96:
            await self._read_other(chance.randrange(len(self._keys)))
        elif dice < 0.98:
            await self._delete(index)
        else:
            await self._scan(chance.randrange(len(self._keys)), reverse=dice < 0.99)

    async def _put(self, index: int) -> None:
        serial, value = self.history.next_value(index)
        condition = self.history.version(index) if serial % 8 == 0 else None
        try:
            version = await self._client.put(self._keys[index], value, condition)
        except errors.VersionMismatch as error:
            self.history.refused(index, error.current_version)
            return
        except (errors.OutcomeUnknown, asyncio.CancelledError):
            self.history.in_doubt(index, serial)
            raise
        self.history.wrote(index, serial, version)
        self.report.acked_writes += 1

    async def _delete(self, index: int) -> None:
        self.history.removing(index)
        try:
            version = await self._client.delete(self._keys[index])
        except (errors.OutcomeUnknown, asyncio.CancelledError):
            self.history.in_doubt(index, 0)
            raise
        self.history.removed(index, version)
        self.report.acked_writes += 1

    async def _read_other(self, index: int) -> None:
        floor = self.history.floor(index)
        row = await self._client.get(self._keys[index])
        self.history.check_other(index, floor, row)
        self.report.reads += 1

    async def _scan(self, rank: int, reverse: bool, rows: int = 20) -> None:
        """Twenty neighbouring keys: the scan must show each that was there throughout, as far as it reaches."""
        expected = self._order[rank : rank + rows]
        floors = [self.history.floor(index) for index in expected]
        start = self._keys[expected[0]]
        end = self._keys[self._order[rank + rows]] if rank + rows < len(self._order) else None
        page = await self._client.scan(start, end, limit=2 * rows, reverse=reverse)
        found = {row.key: (row.value, row.version) for row in page}
        for index, floor in zip(expected, floors, strict=True):
            if reached(page.cursor, self._keys[index], reverse=reverse):
                self.history.check_other(index, floor, found.get(self._keys[index]))
        self.report.scans += 1


class Threads:
    """The blocking client, each call on a thread of its own, with the verbs awaited."""

    def __init__(self, client: dstk.Client, threads: int) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dstk-load")
        self.key_length = client.key_length

    def __getattr__(self, verb: str) -> Callable[..., asyncio.Future[Any]]:
        call = getattr(self._client, verb)

        def run(*arguments: Any, **named: Any) -> asyncio.Future[Any]:
            return asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*arguments, **named))

        return run


@asynccontextmanager
async def _connected(arguments: argparse.Namespace) -> AsyncIterator[aio.Client | Threads]:
    settings = dstk.ClientSettings(timeout_seconds=arguments.timeout)
    if arguments.threads:
        with dstk.connect(arguments.address, arguments.keyspace, settings=settings) as client:
            yield Threads(client, arguments.tasks)
    else:
        async with aio.connect(arguments.address, arguments.keyspace, settings=settings) as client:
            yield client


async def main(arguments: argparse.Namespace) -> int:
    """The process: fill, run until standard input closes, verify, report."""
    settings = LoadSettings(
        keys=arguments.keys,
        value_size=arguments.value_size,
        tasks=arguments.tasks,
        seed=arguments.seed,
        writer=arguments.writer,
        rate=arguments.rate,
        shared=arguments.shared if arguments.record else 0,
    )
    recorder = Recorder(Path(arguments.record), f"writer-{settings.writer}") if arguments.record else None
    async with _connected(arguments) as client:
        load = VerifyingLoad(client, settings, recorder)
        await load.fill(lambda rows: tell({"rows": rows}))
        tell({"loaded": settings.keys})
        stop = asyncio.Event()
        closed = asyncio.create_task(_closed(sys.stdin))
        closed.add_done_callback(lambda _: stop.set())
        ticker = asyncio.create_task(_tick(load))
        await load.run(stop)
        ticker.cancel()
        tell({"verifying": settings.keys})
        await load.verify()
    if recorder is not None:
        recorder.close()
    report = load.finish()
    tell({"final": asdict(report)})
    return 0 if load.history.findings.clean else 1


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past the end."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _tick(load: VerifyingLoad, interval: float = 0.25) -> None:
    """Tell how it goes, a few times a second."""
    before, at = load.report.operations, time.perf_counter()
    while True:
        await asyncio.sleep(interval)
        now, operations = time.perf_counter(), load.report.operations
        findings = load.history.findings
        tell(
            {
                "ops_per_second": round((operations - before) / (now - at)),
                "operations": operations,
                "acked_writes": load.report.acked_writes,
                "wrong": findings.wrong_reads + findings.lost_writes,
                "failed": findings.failed_requests + findings.unknown_outcomes,
            }
        )
        before, at = operations, now


async def _closed(stream: Any) -> None:
    """Returns when `stream` reaches its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
    await reader.read()


def tell(line: dict[str, Any]) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The process's arguments."""
    defaults = LoadSettings()
    parser = argparse.ArgumentParser(description="verifying load", prog="python -m dstk.testing.load")
    parser.add_argument("--address", required=True, help="host:port of workers, separated by commas")
    parser.add_argument("--keyspace", default="default")
    parser.add_argument("--keys", type=int, default=defaults.keys)
    parser.add_argument("--value-size", type=int, default=defaults.value_size)
    parser.add_argument("--tasks", type=int, default=defaults.tasks)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--writer", type=int, default=defaults.writer, help="number of this process among several")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="operations a second at most")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a call may take")
    parser.add_argument("--threads", action="store_true", help="the blocking client, from as many threads as tasks")
    parser.add_argument("--shared", type=int, default=defaults.shared, help="keys that all processes write")
    parser.add_argument("--record", metavar="DIR", help="where to record what is done to the shared keys")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))

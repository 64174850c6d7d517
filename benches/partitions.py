"""Splitting and merging a partition in a worker while others write to it: `make bench-partitions`.

A node with one partition of many rows serves a load process over loopback; meanwhile the partition is split in the
middle and merged back, again and again. Measured: the critical section itself, as the node times it, and the longest
that a writer waited for its answer, as the writer sees it, during the flips and at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time

from dstk import aio
from dstk._core import Node
from dstk.wire.messages import KeyspaceRoutes, Route, RoutesUpdate, encode_routes
from report import Report, Row, median

KEY_LENGTH = 16
VALUE = bytes(100)
WRITERS = 8
MIDDLE = b"\x80" + bytes(KEY_LENGTH - 1)
WINDOW_SECONDS = 0.020
"""What a flip may have delayed ended within this time after it."""


def main() -> None:
    """Measure at each size and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--write", metavar="ADDRESS", help="be the load process")
    arguments = parser.parse_args()
    if arguments.write:
        asyncio.run(write(arguments.write, arguments.rows[0]))
        return
    report = Report("partitions")
    flips = {rows: measure(report, rows, arguments.repeats) for rows in arguments.rows}
    smallest, largest = min(flips), max(flips)
    for name in ("split", "merge"):
        report.add(
            Row(
                what=f"{name}: growth of the critical section",
                case=f"{largest:,} / {smallest:,}",
                unit="times",
                ours=flips[largest][name] / flips[smallest][name],
                goal=4.0,
            )
        )
    print(f"written to {report.write()}")


def measure(report: Report, rows: int, repeats: int) -> dict[str, float]:
    """One partition of `rows` rows, split and merged `repeats` times under load; the median flips in ms."""
    node = Node("worker-0", "bench/0", None)
    address = node.listen("127.0.0.1:0")
    node.serve("default", "p", 1, KEY_LENGTH, b"", b"")
    routes = KeyspaceRoutes("default", KEY_LENGTH, [Route("p", b"", b"", 1, "worker-0")])
    node.apply_routes(encode_routes(RoutesUpdate(True, [routes], {"worker-0": address})).SerializeToString())
    asyncio.run(fill(address, rows))
    load = subprocess.Popen(
        [sys.executable, __file__, "--write", address, "--rows", str(rows)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert load.stdout is not None
    load.stdout.readline()
    time.sleep(1.0)  # the load at its pace
    flips: dict[str, list[float]] = {"split": [], "merge": []}
    windows: list[float] = []
    epoch = 1
    for _ in range(repeats):
        for name in ("split", "merge"):
            time.sleep(0.1)
            epoch += 1
            windows.append(time.monotonic())
            if name == "split":
                states = node.split("default", "p", epoch - 1, epoch, [MIDDLE], ["low", "high"])
            else:
                pieces = [("low", epoch - 1), ("high", epoch - 1)]
                states = [node.merge("default", pieces, "p", epoch, b"", b"")]
            flips[name].append(1e3 * max(state.last_pause_seconds for state in states))
    told, _ = load.communicate("")
    node.stop(1.0)
    waits = [(at, seconds) for at, seconds in json.loads(told.splitlines()[-1])]
    during = [
        max((seconds for at, seconds in waits if begun <= at <= begun + WINDOW_SECONDS + seconds), default=0.0)
        for begun in windows
    ]
    quiet = [(begun + 0.05, begun + 0.05 + WINDOW_SECONDS) for begun in windows]
    rest = [max((seconds for at, seconds in waits if a <= at <= b + seconds), default=0.0) for a, b in quiet]
    case = f"{rows:,} rows"
    for name, values in flips.items():
        report.add(Row(f"{name}: critical section, median", case, "ms", median(values), goal=1.0))
        report.add(Row(f"{name}: critical section, longest", case, "ms", max(values)))
    report.add(Row("writer's wait around a flip, median", case, "ms", 1e3 * median(during)))
    report.add(Row("writer's wait around a flip, longest", case, "ms", 1e3 * max(during), goal=5.0))
    report.add(Row("writer's wait at rest, longest", case, "ms", 1e3 * max(rest)))
    return {name: median(values) for name, values in flips.items()}


def key(index: int, rows: int) -> bytes:
    """The key numbered `index`: evenly spread."""
    return (index * ((1 << 64) // rows)).to_bytes(8, "big") + index.to_bytes(8, "big")


async def fill(address: str, rows: int) -> None:
    """Write every row once."""
    async with await aio.connect(address) as client:
        for start in range(0, rows, 5000):
            indexes = range(start, min(rows, start + 5000))
            await client.put_many([key(i, rows) for i in indexes], [VALUE] * len(indexes))


async def write(address: str, rows: int) -> None:
    """The load process: writers until standard input closes, then each wait of over 0.2 ms as (when, seconds)."""
    waits: list[tuple[float, float]] = []
    stop = asyncio.Event()
    async with await aio.connect(address) as client:

        async def writer(number: int) -> None:
            index = number
            while not stop.is_set():
                index = (index * 6364136223846793005 + 1442695040888963407) % (1 << 64)
                begun = time.monotonic()
                await client.put(key(index % rows, rows), VALUE)
                ended = time.monotonic()
                if ended - begun > 2e-4:
                    waits.append((ended, ended - begun))

        print("writing", flush=True)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(writer(number)) for number in range(WRITERS)]
            await asyncio.to_thread(sys.stdin.read)
            stop.set()
            del tasks
    print(json.dumps(waits), flush=True)


if __name__ == "__main__":
    main()

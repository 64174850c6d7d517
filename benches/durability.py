"""Writes that are on disk when they are acknowledged, and how long a restart takes: `make bench-durability`.

Runs rust/net/examples/durable_writes.rs: one worker and 64 callers over loopback, then a bare loop that appends and
fsyncs groups of the same bytes to a file of the same directory; beside it redis-server with ``appendfsync always``
under redis-benchmark with as many clients, in the same directory, in turns. Then rust/core/examples/restart.rs: a
worker that starts with rows and partitions, and a plain read of the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import ROOT, Figure, Report, Row, median

VALUE_BYTES = 100
CALLERS = 64


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--directory", type=Path, help="where to write (default: a temporary one)")
    arguments = parser.parse_args()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server and redis-benchmark are needed to compare with: apt-get install redis-server")
    build()
    report = Report("durability")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        writes(report, Path(folder), arguments.rounds, arguments.seconds)
        restart(report, Path(folder), arguments.rows, arguments.partitions)
    print(f"written to {report.write()}")


def build() -> None:
    """The two examples."""
    for package, example in (("dstk-net", "durable_writes"), ("dstk-core", "restart")):
        subprocess.run(
            ["cargo", "build", "--release", "--quiet", "-p", package, "--example", example], cwd=ROOT, check=True
        )


def example(package: str, name: str, *arguments: str) -> Any:
    """Run one; what it says."""
    command = ["cargo", "run", "--release", "--quiet", "-p", package, "--example", name, "--", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout.strip() else None


def writes(report: Report, folder: Path, rounds: int, seconds: float) -> None:
    """Ours, the peer and the bare loop in turns."""
    ours, bare, groups, redis = [], [], [], []
    for round_ in range(rounds):
        told = example("dstk-net", "durable_writes", str(folder / f"round-{round_}"), str(CALLERS), str(seconds))
        ours.append(told["writes_per_second"])
        bare.append(told["bare_writes_per_second"])
        groups.append(told["writes_per_sync"])
        shutil.rmtree(folder / f"round-{round_}")
        redis.append(redis_sets(folder / f"redis-{round_}", seconds))
    what, case = "fsynced writes", f"{CALLERS} writers, {VALUE_BYTES}-byte values"
    for peer, figures, goal in (("redis, appendfsync always", redis, 1.5), ("bare loop, same groups", bare, 0.5)):
        mine, theirs = Figure.of(ours), Figure.of(figures)
        report.add(
            Row(
                what, case, "/s", mine.median, peer, theirs.median, goal, "higher", mine.quartiles, theirs.quartiles
            )
        )  # fmt: skip
    report.add(Row("writes an fsync", case, "writes", median(groups), better="higher"))


def redis_sets(folder: Path, seconds: float) -> float:
    """SETs a second of one redis-benchmark run of about so many seconds."""
    folder.mkdir()
    with redis(folder) as port:
        benchmark = [
            "redis-benchmark", "-p", str(port), "-c", str(CALLERS), "-t", "set", "-d", str(VALUE_BYTES), "-r", "100000",
            "--csv",
        ]  # fmt: skip

        def sets(count: int) -> float:
            done = subprocess.run([*benchmark, "-n", str(count)], check=True, capture_output=True, text=True)
            return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))

        return sets(int(sets(20_000) * seconds))


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[int]:
    """A server that fsyncs every write before it answers; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes",
        "--appendfsync", "always", "--save", "",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until_open(port)
        yield port
    finally:
        server.terminate()
        server.wait()


def until_open(port: int) -> None:
    """Wait until something listens there."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


def restart(report: Report, folder: Path, rows: int, partitions: int) -> None:
    """A start with what is on disk, beside a plain read of it."""
    directory = folder / "restart"
    example("dstk-core", "restart", "fill", str(directory), str(rows), str(partitions))
    told = [example("dstk-core", "restart", "open", str(directory)) for _ in range(3)]
    case = f"{told[0]['rows']:,} rows, {told[0]['partitions']:,} partitions, {told[0]['bytes'] / 1e9:.2f} GB"
    opened, read = (median([each[name] for each in told]) for name in ("open_seconds", "read_seconds"))
    report.add(Row("start with what is on disk", case, "s", opened, "a plain read of it", read))


if __name__ == "__main__":
    main()

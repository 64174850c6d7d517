"""Ten thousand moves of small partitions: does the memory of workers and operator stay flat? `make bench-moves`.

A local cluster of two workers and real processes; partitions go to and fro as Assignments, many at a time. Resident
memory is read from the system after each tenth; the first tenth is for caches and pools to fill.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from dstk import aio, api, kube
from dstk.local.cluster import LocalCluster
from report import Report, Row

PARTITIONS = 16
ROWS = 1000
KEYSPACE = {
    "apiVersion": api.API_VERSION,
    "kind": "Keyspace",
    "metadata": {"name": "default", "namespace": "default"},
    "spec": {
        "keyLength": 4,
        "partitions": {"initial": 0},
        "policy": {"mode": "Off"},
        "proxySeconds": 0,
    },
}
PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 1.1
TENTHS = 10
POLL_SECONDS = 0.05


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


class Moves:
    """Partitions that go to and fro."""

    def __init__(self, connection: kube.Connection) -> None:
        self._partitions = kube.Objects(
            connection, kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition), "default"
        )
        self._assignments = kube.Objects(
            connection, kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment), "default"
        )
        self._count = 0

    async def cut(self) -> list[str]:
        """Partitions of equal ranges; their names."""
        bounds = [f"0x{number * 256 // PARTITIONS:02x}" for number in range(PARTITIONS)]
        bounds[0] = ""
        names = [f"p{number}" for number in range(PARTITIONS)]
        for name, start, end in zip(names, bounds, [*bounds[1:], ""], strict=True):
            spec = {"keyspace": "default", "range": {"start": start, "end": end}}
            metadata = {"name": name, "namespace": "default"}
            await self._partitions.create(
                {"apiVersion": api.API_VERSION, "kind": "Partition", "metadata": metadata, "spec": spec}
            )
        return names

    async def assign(self, type_: str, params: dict[str, dict[str, str]]) -> api.Assignment:
        """Run an Assignment to its end."""
        self._count += 1
        name = f"a{self._count}"
        spec = {"type": type_, **params, "ttlSecondsAfterFinished": 5}
        body = {
            "apiVersion": api.API_VERSION, "kind": "Assignment", "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }  # fmt: skip
        created = await self._assignments.create(body)
        return await self._ended(name, created)

    async def _ended(self, name: str, known: api.Assignment) -> api.Assignment:
        if known.finished:
            return known
        await asyncio.sleep(POLL_SECONDS)
        found = await self._assignments.find(name)
        return known if found is None else await self._ended(name, found)

    async def to_and_fro(self, name: str, moves: int, at: str) -> str:
        """So many moves of one partition; where it is then."""
        for _ in range(moves):
            to = "worker-1" if at == "worker-0" else "worker-0"
            params = {"moveParams": {"partition": name, "from": at, "to": to}}
            ended = await self.assign("InterWorkerMove", params)
            if ended.status.phase is not api.AssignmentPhase.COMPLETED:
                raise SystemExit(f"a move of {name} ended {ended.status.phase}: {ended.status.message}")
            at = to
        return at


async def run(report: Report, moves: int, folder: Path) -> None:
    """Fill, move, read the memory."""
    async with LocalCluster(folder, workers=2, keyspace=KEYSPACE) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        mover = Moves(connection)
        names = await mover.cut()
        for name in names:
            await mover.assign("New", {"newParams": {"partition": name, "primary": "worker-0"}})
        workers = [each["data"] for each in cluster.endpoints()["workers"].values()]
        async with aio.connect(workers) as client:
            for first in range(0, PARTITIONS * ROWS, 500):
                keys = [
                    (number * (2**32 // (PARTITIONS * ROWS))).to_bytes(4, "big") for number in range(first, first + 500)
                ]
                await client.put_many(keys, [bytes(100)] * len(keys))
        assert cluster.workers is not None
        pids = {name: cluster.workers.pid(name) or 0 for name in ("worker-0", "worker-1")}
        pids["operator"] = cluster.operator_pids()[0] or 0
        at = dict.fromkeys(names, "worker-0")
        memory: dict[str, list[float]] = {name: [] for name in pids}
        began = time.perf_counter()
        for tenth in range(TENTHS):
            each = moves // TENTHS // PARTITIONS
            ended = await asyncio.gather(*(mover.to_and_fro(name, each, at[name]) for name in names))
            at = dict(zip(names, ended, strict=True))
            for name, pid in pids.items():
                memory[name].append(resident(pid))
            print(
                f"{tenth + 1}/{TENTHS}: { ({name: round(values[-1], 1) for name, values in memory.items()}) }",
                flush=True,
            )
        seconds = time.perf_counter() - began
        await connection.close()
    done = moves // TENTHS // PARTITIONS * TENTHS * PARTITIONS
    case = f"{done:,} moves of {ROWS:,} rows"
    report.add(Row("moves", case, "/s", done / seconds, better="higher"))
    for name, values in memory.items():
        report.add(Row(f"memory of {name} at the end", case, "MB", values[-1]))
        report.add(Row(f"memory of {name}: end / after a tenth", case, "times", values[-1] / values[0], goal=GROWTH))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moves", type=int, default=10_000)
    arguments = parser.parse_args()
    report = Report("moves")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(report, arguments.moves, Path(folder)))
    print(f"written to {report.write()}")


if __name__ == "__main__":
    main()

"""Real worker processes without Kubernetes: the test plays the operator over the real control wire."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dstk.control import commands
from dstk.control.commands import Request
from dstk.control.views import PartitionView
from dstk.wire import ControlClient, KeyspaceRoutes, Meant, Route, RoutesUpdate
from waiting import until, until_true

KEY_LENGTH = 16
KEYSPACE = "default"


@dataclass
class Worker:
    """One `dstk worker` process and the control channel to it."""

    name: str
    process: asyncio.subprocess.Process
    addresses: dict[str, str]
    control: ControlClient
    incarnation: str

    async def tell(
        self, partition: str, epoch: int, command: commands.Command, *, term: int = 1
    ) -> dict[str, PartitionView]:
        """Carry out one action."""
        return await self.control.act(Request(self.incarnation, term, KEYSPACE, partition, epoch, command))

    async def part(self, partition: str) -> PartitionView:
        """The partition as the worker holds it."""
        return (await self.control.status([partition])).partitions[partition]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process; its exit code."""
        await self.control.close()
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()


@dataclass
class Fleet:
    """Some workers, and the routing table they are pushed."""

    workers: list[Worker] = field(default_factory=list)

    def __getitem__(self, index: int) -> Worker:
        return self.workers[index]

    @property
    def addresses(self) -> list[str]:
        """Data addresses."""
        return [worker.addresses["data"] for worker in self.workers]

    async def push(self, *routes: Route) -> None:
        """Push the whole routing table to every worker."""
        known = {worker.name: worker.addresses["data"] for worker in self.workers}
        update = RoutesUpdate(True, [KeyspaceRoutes(KEYSPACE, KEY_LENGTH, routes)], known)
        for worker in self.workers:
            pusher = worker.control.routes(term=1)
            await pusher.push(update)
            pusher.close()

    async def serve_all(self, name: str = "p") -> None:
        """One partition of all keys, on the first worker, at epoch 1."""
        await self[0].tell(name, 1, commands.Serve(b"", b"", KEY_LENGTH))
        await self.push(Route(name, b"", b"", 1, self[0].name))

    async def move(self, partition: str, source: Worker, to: Worker, epoch: int) -> PartitionView:
        """Follow, fence, promote, proxy, by the book; `epoch` is the one before. The destination's view afterwards."""
        held = await source.part(partition)
        follow = commands.Follow(
            held.span.start, held.span.end, KEY_LENGTH, source.name, source.addresses["data"], source.incarnation
        )
        await to.tell(partition, epoch, follow)
        await until(lambda: self._caught_up(partition, to))
        held = await source.part(partition)
        fenced = (await source.tell(partition, epoch, commands.Fence(held.fence_token + 1)))[partition]
        await to.tell(partition, epoch, commands.AwaitApplied(fenced.sequence, 30.0))
        drained = await to.part(partition)
        assert (drained.sequence, drained.digest) == (fenced.sequence, fenced.digest)
        await to.tell(partition, epoch + 1, commands.Promote(fenced.sequence, fenced.digest))
        await source.tell(partition, epoch + 1, commands.Proxy(to.name, to.addresses["data"]))
        return await to.part(partition)

    async def _caught_up(self, partition: str, worker: Worker) -> bool:
        part = await worker.part(partition)
        assert not part.follow_error, part.follow_error
        return part.role == "following"


@asynccontextmanager
async def fleet(folder: Path, workers: int, *limits: str, flags: Sequence[str] = ()) -> AsyncIterator[Fleet]:
    """`workers` worker processes; all ended when the block is left."""
    running = Fleet()
    processes: list[asyncio.subprocess.Process] = []
    try:
        for number in range(workers):
            running.workers.append(await start(folder, f"worker-{number}", processes, *limits, flags=flags))
        yield running
    finally:
        for worker in running.workers:
            await worker.control.close()
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def start(
    folder: Path,
    name: str,
    processes: list[asyncio.subprocess.Process],
    *limits: str,
    data_address: str = "127.0.0.1:0",
    data_dir: Path | None = None,
    cluster: str = "",
    flags: Sequence[str] = (),
) -> Worker:
    """Start one worker on free ports of the loopback interface, or at the data address that another had. Its operator
    is of `cluster`."""
    ready = folder / f"{name}-{len(processes)}.json"
    arguments = [f"--{port}-address=127.0.0.1:0" for port in ("control", "metrics")]
    arguments += [f"--data-address={data_address}", *(f"--limit={limit}" for limit in limits), *flags]
    arguments += ["--data-dir", str(data_dir)] if data_dir is not None else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dstk.cli", "worker", "--name", name, "--pod-uid", f"uid-{len(processes)}",
        "--ready-file", str(ready), *arguments,
    )  # fmt: skip
    processes.append(process)

    def is_ready() -> bool:
        assert process.returncode is None, f"{name} ended with code {process.returncode} before it was ready"
        return ready.exists()

    await until_true(is_ready)
    addresses = json.loads(ready.read_text())
    control = ControlClient(addresses["control"], Meant(cluster, name, f"uid-{len(processes) - 1}"))
    status = await control.status([])
    return Worker(name, process, addresses, control, status.incarnation)

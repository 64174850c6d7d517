"""What the operator's actions do to the node.

The node itself refuses old epochs, under the partition's lock. Here the incarnation that an action is meant for is
checked, before anything else, and the operator's term, as one step with the action.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from dstk import errors, faults
from dstk._core import Node, PartitionState
from dstk.clock import SYSTEM, Clock
from dstk.control import commands
from dstk.control.commands import Request
from dstk.control.views import DiskView, Load, LoadReport, PartitionView, Role, Room, Status
from dstk.span import Span
from dstk.wire import Meant, check_meant
from dstk.worker.terms import TermGate


class Control:
    """The worker's side of the control plane (:class:`dstk.wire.Handler`)."""

    def __init__(
        self,
        node: Node,
        name: str,
        incarnation: str,
        data_address: str,
        pod_uid: str = "",
        clock: Clock = SYSTEM,
        threads: Executor | None = None,
    ) -> None:
        self._node = node
        self._clock = clock
        self._terms = TermGate(node.see_term)
        self._name = name
        self._pod_uid = pod_uid
        self._cluster = ""
        """Of the operator that spoke first; it is on disk."""
        self._incarnation = incarnation
        self._data_address = data_address
        self._routes_term = 0
        """Of the last operator whose routes were taken: it is on disk."""
        self._stopping = asyncio.Event()
        self._ending = False
        # Actions that wait (await_applied) or touch many rows must not hold up the event loop, nor each other.
        self._threads = threads or ThreadPoolExecutor(max_workers=32, thread_name_prefix="dstk-action")
        self.draining = False

    async def meet(self, meant: Meant) -> None:
        """Is the call for this worker? The first operator that speaks to this pod names its cluster, for good."""
        check_meant(meant, self._name, self._pod_uid)
        if meant.cluster and meant.cluster != self._cluster:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._node.join, meant.cluster)
            self._cluster = meant.cluster

    async def act(self, request: Request) -> dict[str, PartitionView]:
        """Carry out one action, unless it is older than what was seen."""
        if request.incarnation != self._incarnation:
            raise errors.StaleRequest(
                f"the action is meant for {self._name} incarnation {request.incarnation!r}; "
                f"this one is {self._incarnation!r} and holds nothing of it"
            )
        if self._ending:
            raise errors.Unavailable(f"{self._name} ends; its next life can be told")
        name = commands.name_of(request.command)
        await faults.reach(f"worker.before-{name}", request.partition)
        loop = asyncio.get_running_loop()
        states = await loop.run_in_executor(self._threads, self._carry_out, request)
        await faults.reach(f"worker.after-{name}", request.partition)
        return {state.partition: view(state) for state in states}

    def _carry_out(self, request: Request) -> list[PartitionState]:
        if isinstance(request.command, commands.AwaitApplied):
            # It changes nothing, and may wait for long: no later operator waits for it.
            self._terms.see(request.term)
            return carry_out(self._node, request)
        with self._terms.acting(request.term):
            return carry_out(self._node, request)

    async def status(self, partitions: Sequence[str] | None) -> Status:
        """What the worker is, and what it holds of `partitions` (None: all)."""
        states: list[PartitionState] = []
        if partitions is None or partitions:
            # It waits for the disk: what is said has to last.
            loop = asyncio.get_running_loop()
            states = await loop.run_in_executor(self._threads, self._node.states, partitions)
        return Status(
            worker=self._name,
            incarnation=self._incarnation,
            data_address=self._data_address,
            term=self._node.term,
            draining=self.draining,
            partitions={state.partition: view(state) for state in states},
            disk=_disk(self._node),
        )

    async def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        """Every interval what changed; the first report is whole, the last one says what there is at the end."""
        told: dict[tuple[str, str], Load] = {}
        # After a lapse the operator has to look at what is held: the stream ends, as if the worker had been away.
        lapses = self._node.lapses
        last = False
        while not last and self._node.lapses == lapses:
            last = self._stopping.is_set()
            current = {(load.keyspace, load.partition): load for load in map(_load, self._node.loads())}
            yield LoadReport(
                incarnation=self._incarnation,
                loads=tuple(load for key, load in current.items() if told.get(key) != load),
                gone=tuple(partition for key in told.keys() - current.keys() for partition in key[1:]),
                draining=self.draining,
                room=Room(*self._node.room),
                position=self._node.durable_position,
                last=last,
            )
            told = current
            if last:
                return
            try:
                async with asyncio.timeout(interval_seconds):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def routes(self, term: int, update: bytes, said: float | None) -> None:
        """Take a routing update from the operator of `term`, which heard what was `said` at that time."""
        if term != self._routes_term:
            # It is waited for until it is on disk. Later pushes need no thread, which actions may all have.
            await asyncio.get_running_loop().run_in_executor(self._threads, self._terms.see, term)
            self._routes_term = term
        self._node.see_term(term)
        if said is not None:
            self._node.renew(self._clock.monotonic() - said)
        self._node.apply_routes(update)

    def refuse(self) -> None:
        """Take no more actions: the node ends. What it holds is still told."""
        self._ending = True

    def stop(self) -> None:
        """End the load streams with a last report; actions under way are left to end."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


def carry_out(node: Node, request: Request) -> list[PartitionState]:
    """One action on the node; the partitions it names, afterwards."""
    keyspace, partition, epoch = request.keyspace, request.partition, request.epoch
    match request.command:
        case commands.Serve(start, end, key_length, durable, lease_seconds):
            node.set_lease(keyspace, key_length, lease_seconds)
            return [node.serve(keyspace, partition, epoch, key_length, start, end, durable)]
        case commands.Follow() as c:
            node.set_lease(keyspace, c.key_length, c.lease_seconds)
            return [
                node.follow(
                    keyspace, partition, epoch, c.key_length, c.start, c.end,
                    c.source, c.source_address, c.source_incarnation, c.durable, c.size,
                )
            ]  # fmt: skip
        case commands.Fence(token):
            return [node.fence(keyspace, partition, epoch, token)]
        case commands.Unfence(token):
            return [node.unfence(keyspace, partition, epoch, token)]
        case commands.AwaitApplied(sequence, timeout_seconds):
            return [node.await_applied(keyspace, partition, epoch, sequence, timeout_seconds)]
        case commands.Promote(sequence, digest):
            return [node.promote(keyspace, partition, epoch, sequence, digest)]
        case commands.Proxy(to, to_address):
            return [node.proxy(keyspace, partition, epoch, to, to_address)]
        case commands.Release():
            node.release(keyspace, partition, epoch)
            return []
        case commands.Drop():
            node.drop(keyspace, partition, epoch)
            return []
        case commands.Split(parent_epoch, keys, names):
            return node.split(keyspace, partition, parent_epoch, epoch, keys, names)
        case commands.Merge(parts, start, end):
            named = [(part.partition, part.epoch) for part in parts]
            return [node.merge(keyspace, named, partition, epoch, start, end)]


def view(state: PartitionState) -> PartitionView:
    """The node's state of a partition, as the rest of Python sees it."""
    return PartitionView(
        role=state.role,
        epoch=state.epoch,
        span=Span(state.start, state.end),
        sequence=state.sequence,
        fenced=state.fenced,
        fence_token=state.fence_token,
        rows=state.rows,
        bytes=state.bytes,
        size=state.size,
        digest=state.digest,
        lag=state.lag,
        caught_up=state.caught_up,
        follow_error=state.follow_error,
        no_room=state.no_room,
        quiet_seconds=state.quiet_seconds,
        rows_copied=state.rows_copied,
        bytes_copied=state.bytes_copied,
        bytes_total=state.bytes_total,
        last_pause_seconds=state.last_pause_seconds,
        source=state.source,
        proxy_to=state.proxy_to,
        keyspace=state.keyspace,
        durable=state.durable,
        key_length=len(state.start),
    )


def _disk(node: Node) -> DiskView | None:
    """What the node says of its data directory."""
    if node.origin is None:
        return None
    directory, starts, lives, began = node.origin
    return DiskView(directory, tuple(lives), starts, began, node.durable_position)


def _load(raw: tuple[str, str, int, int, int, float, float, bytes | None, Role, tuple[int, bool, int, int]]) -> Load:
    keyspace, partition, epoch, rows, bytes_, operations, bytes_per_second, median_key, role = raw[:9]
    key_length, durable, size, sequence = raw[9]
    return Load(
        keyspace=keyspace,
        partition=partition,
        epoch=epoch,
        rows=rows,
        bytes=bytes_,
        operations_per_second=round(operations, 1),
        bytes_per_second=round(bytes_per_second),
        median_key=median_key,
        role=role,
        key_length=key_length,
        durable=durable,
        size=size,
        sequence=sequence,
    )

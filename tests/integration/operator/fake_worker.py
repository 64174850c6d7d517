"""A worker that keeps its rows in a dict and speaks the real control wire.

It refuses what a real one refuses (terms, epochs, incarnations, roles), so that the operator is tested against the
protocol and not against a mirror of itself; the real worker takes its place in the end-to-end tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dstk import errors
from dstk.control import commands
from dstk.control.commands import Request
from dstk.control.views import Load, LoadReport, PartitionView, Room, Status
from dstk.span import Span
from dstk.wire import ControlServer, Meant, check_meant
from dstk.wire.v1 import data_pb2

_boots = itertools.count(1)


@dataclass
class Held:
    """A partition of one worker."""

    keyspace: str
    start: bytes
    end: bytes
    role: str
    epoch: int
    rows: dict[bytes, bytes] = field(default_factory=dict)
    sequence: int = 0
    fenced: bool = False
    fence_token: int = 0
    source: str = ""
    source_address: str = ""
    caught_up: bool = False
    proxy_to: str = ""
    quiet_seconds: float = 3600.0

    @property
    def digest(self) -> int:
        content = repr(sorted(self.rows.items())).encode()
        return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")

    @property
    def size(self) -> int:
        return sum(len(key) + len(value) for key, value in self.rows.items())

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)


@dataclass
class Fleet:
    """Workers by data address: the way between them that real ones have in their data plane."""

    by_address: dict[str, FakeWorker] = field(default_factory=dict)


class FakeWorker:
    """``calls`` lists what was told, as (command, partition, epoch). ``gate(Command)`` holds such a call back."""

    def __init__(self, name: str, fleet: Fleet) -> None:
        self.name = name
        self.boot = str(next(_boots))
        self.incarnation = ""
        self.pod_uid = ""
        self.cluster = ""
        self.held: dict[str, Held] = {}
        self.calls: list[tuple[str, str, int]] = []
        self.routes_seen: list[data_pb2.RoutesUpdate] = []
        self.owners: dict[str, tuple[int, str]] = {}
        self.addresses: dict[str, str] = {}
        self.term = 0
        self.asked = 0
        """Calls of Status that named partitions."""
        self.looks = 0
        """Calls of Status about everything: recovery looks."""
        self.draining = False
        self.address = ""
        self.data_address = ""
        self.copies = True
        """Whether a follower catches up."""
        self._fleet = fleet
        self._gates: dict[type, asyncio.Event] = {}
        self._arrived: dict[type, asyncio.Event] = {}
        self._routed = asyncio.Event()
        self._looked = asyncio.Condition()
        self._lets_look = asyncio.Event()
        self._lets_look.set()
        self._runs = asyncio.Event()
        self._runs.set()
        self.reports = True
        """Whether it says how it is unasked."""
        self.room: Room | None = None
        self.wrong = ""
        """Why it can follow nothing."""
        self._server = ControlServer(self)

    async def start(self, address: str = "127.0.0.1:0", data_port: int = 0) -> None:
        self.address = await self._server.start(address)
        # Only a name here: rows travel through the fleet.
        self._data = socket.create_server(("127.0.0.1", data_port))
        self.data_address = f"127.0.0.1:{self._data.getsockname()[1]}"
        self._fleet.by_address[self.data_address] = self

    async def stop(self) -> None:
        self.thaw()
        for gate in (*self._gates.values(), self._lets_look):
            gate.set()
        self._fleet.by_address.pop(self.data_address, None)
        self._data.close()
        await self._server.stop(0.0)

    def gate(self, command: type) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on calls of this command wait. Events: one has arrived; set the other to let them through."""
        self._arrived[command], self._gates[command] = asyncio.Event(), asyncio.Event()
        return self._arrived[command], self._gates[command]

    def hold_looks(self) -> None:
        """From now on who looks at everything waits, and is told what is there when it is let go."""
        self._lets_look.clear()

    def let_look(self) -> None:
        self._lets_look.set()

    async def looked(self, after: int) -> None:
        """Wait until more looks than `after` have come."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.looks > after)

    def freeze(self) -> None:
        """It answers nothing any more, and says nothing: as one that is stopped, whose connections stand."""
        self._runs.clear()

    def thaw(self) -> None:
        self._runs.set()

    def put(self, partition: str, key: bytes, value: bytes) -> None:
        held = self.held[partition]
        assert held.role == "primary"
        assert not held.fenced
        held.rows[key] = value
        held.sequence += 1

    async def meet(self, meant: Meant) -> None:
        check_meant(meant, self.name, self.pod_uid)
        if self.cluster and meant.cluster and meant.cluster != self.cluster:
            raise errors.Misdirected(f"{self.name} belongs to cluster {self.cluster}, not to {meant.cluster}")
        self.cluster = self.cluster or meant.cluster

    async def act(self, request: Request) -> dict[str, PartitionView]:
        await self._runs.wait()
        command = request.command
        if request.incarnation != self.incarnation:
            raise errors.StaleRequest(f"{self.name} is {self.incarnation}, not {request.incarnation}")
        if request.term < self.term:
            raise errors.StaleRequest(f"term {request.term} is older than {self.term}")
        self.term = request.term
        gate = self._gates.get(type(command))
        if gate is not None:
            self._arrived[type(command)].set()
            await gate.wait()
        self.calls.append((type(command).__name__, request.partition, request.epoch))
        names = self._carry_out(request, command)
        return self._views(names)

    async def status(self, partitions: Sequence[str] | None) -> Status:
        await self._runs.wait()
        self.asked += bool(partitions)
        if partitions is None:
            self.looks += 1
            async with self._looked:
                self._looked.notify_all()
            await self._lets_look.wait()
        names = list(self.held) if partitions is None else partitions
        return Status(self.name, self.incarnation, self.data_address, self.term, self.draining, self._views(names))

    async def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        known: dict[str, Load] = {}
        while True:
            await self._runs.wait()
            while not self.reports:
                await asyncio.sleep(interval_seconds)
            loads = {name: self._load(name, held) for name, held in self.held.items()}
            changed = tuple(load for name, load in loads.items() if known.get(name) != load)
            gone = tuple(known.keys() - loads.keys())
            yield LoadReport(self.incarnation, changed, gone, self.draining, self.room)
            known = loads
            await asyncio.sleep(interval_seconds)

    def _load(self, name: str, held: Held) -> Load:
        role: Any = held.role
        return Load(held.keyspace, name, held.epoch, len(held.rows), 0, 0.0, 0.0, None, role, size=held.size)

    async def routes(self, term: int, update: bytes, said: float | None) -> None:
        if term < self.term:
            raise errors.StaleRequest(f"term {term} is older than {self.term}")
        parsed = data_pb2.RoutesUpdate.FromString(update)
        self.routes_seen.append(parsed)
        if parsed.full:
            self.owners.clear()
            self.addresses.clear()
        for keyspace in parsed.keyspaces:
            for gone in keyspace.withdrawn:
                self.owners.pop(gone.partition, None)
            for route in keyspace.routes:
                self.owners[route.partition] = (route.epoch, route.owner)
        for worker in parsed.workers:
            self.addresses[worker.worker] = worker.address

        self._routed.set()

    async def routed(self, predicate: Callable[[FakeWorker], bool]) -> None:
        """Wait until the routes that were pushed here are such."""
        async with asyncio.timeout(60.0):
            while not predicate(self):
                self._routed.clear()
                await self._routed.wait()

    def _fence(self, name: str, held: Held, command: commands.Fence | commands.Unfence) -> None:
        token = command.token
        match command:
            case commands.Fence():
                if token <= held.fence_token:
                    raise errors.StaleRequest(f"{name} has seen fence {held.fence_token}, not below {token}")
                held.fenced, held.fence_token = True, token
            case commands.Unfence() if token > 0:
                if held.fenced and token < held.fence_token:
                    raise errors.StaleRequest(f"fence {held.fence_token} of {name} is later than {token}")
                held.fenced, held.fence_token = False, max(token, held.fence_token)

    def _carry_out(self, request: Request, command: commands.Command) -> list[str]:
        name, epoch = request.partition, request.epoch
        held = self.held.get(name)
        match command:
            case commands.Serve(start, end, _):
                if held is None:
                    self.held[name] = Held(request.keyspace, start, end, "primary", epoch)
                elif held.role != "primary":
                    raise errors.WrongRole(f"{name} is {held.role}")
                else:
                    self._not_older(held, epoch)
                    held.epoch = epoch
            case commands.Follow():
                self._refuse_what_does_not_fit(command)
                if held is not None and held.role not in ("loading", "following"):
                    raise errors.WrongRole(f"{name} is {held.role}")
                self.held[name] = Held(
                    request.keyspace, command.start, command.end, "loading", epoch,
                    source=command.source, source_address=command.source_address,
                )  # fmt: skip
            case commands.Fence() | commands.Unfence():
                if held is None:
                    raise errors.NotHere(name)
                if held.role != "primary":
                    raise errors.WrongRole(f"{name} is {held.role}")
                self._not_older(held, epoch)
                self._fence(name, held, command)
            case commands.AwaitApplied():
                if held is None:
                    raise errors.NotHere(name)
                self._catch_up(name, held)
            case commands.Promote(sequence, digest):
                if held is None:
                    raise errors.NotHere(name)
                if held.role == "following":
                    if (held.sequence, held.digest) != (sequence, digest):
                        raise errors.NotReady(f"{name}: applied {held.sequence}, not {sequence}, or another digest")
                    held.role, held.epoch = "primary", epoch
                elif held.role != "primary" or held.epoch != epoch:
                    raise errors.WrongRole(f"{name} is {held.role}")
            case commands.Proxy(to, _):
                if held is None:
                    raise errors.NotHere(name)
                self._not_older(held, epoch)
                held.role, held.epoch, held.proxy_to, held.fenced = "proxy", epoch, to, False
            case commands.Release() | commands.Drop():
                if held is not None:
                    wanted = ("proxy",) if isinstance(command, commands.Release) else ("loading", "following")
                    if held.role not in wanted:
                        raise errors.WrongRole(f"{name} is {held.role}")
                    del self.held[name]
            case commands.Split(parent_epoch, keys, names):
                return self._split(request, parent_epoch, keys, names)
            case commands.Merge(parts, start, end):
                return self._merge(request, parts, start, end)
        return [name]

    def _refuse_what_does_not_fit(self, follow: commands.Follow) -> None:
        if self.wrong:
            raise errors.InvalidRequest(self.wrong)
        if self.room is not None and (free := self.room.free) is not None and follow.size > free:
            raise errors.LimitReached(f"{self.name} has room for {free} bytes, not {follow.size}")

    def _split(self, request: Request, parent_epoch: int, keys: Sequence[bytes], names: Sequence[str]) -> list[str]:
        parent = self.held.get(request.partition)
        if parent is None:
            if all(name in self.held for name in names):
                return list(names)
            raise errors.NotHere(request.partition)
        if parent.epoch != parent_epoch:
            raise errors.StaleRequest(f"{request.partition} is at {parent.epoch}, not {parent_epoch}")
        bounds = [parent.start, *keys, parent.end]
        for name, start, end in zip(names, bounds, bounds[1:], strict=False):
            child = Held(request.keyspace, start, end, "primary", request.epoch, sequence=parent.sequence)
            child.rows = {key: value for key, value in parent.rows.items() if child.holds(key)}
            self.held[name] = child
        del self.held[request.partition]
        return list(names)

    def _merge(self, request: Request, parts: Sequence[commands.MergePart], start: bytes, end: bytes) -> list[str]:
        if request.partition in self.held:
            return [request.partition]
        found = [self.held.get(part.partition) for part in parts]
        if any(held is None for held in found):
            raise errors.NotHere(", ".join(part.partition for part in parts))
        merged = Held(request.keyspace, start, end, "primary", request.epoch)
        for part, held in zip(parts, found, strict=True):
            assert held is not None
            if held.epoch != part.epoch:
                raise errors.StaleRequest(f"{part.partition} is at {held.epoch}, not {part.epoch}")
            merged.rows |= held.rows
            merged.sequence = max(merged.sequence, held.sequence)
        for part in parts:
            del self.held[part.partition]
        self.held[request.partition] = merged
        return [request.partition]

    def _views(self, names: Sequence[str]) -> dict[str, PartitionView]:
        views = {}
        for name in names:
            held = self.held.get(name)
            if held is None:
                continue
            self._catch_up(name, held)
            views[name] = PartitionView(
                role=held.role,  # type: ignore[arg-type]
                epoch=held.epoch,
                span=Span(held.start, held.end),
                sequence=held.sequence,
                fenced=held.fenced,
                fence_token=held.fence_token,
                rows=len(held.rows),
                size=held.size,
                digest=held.digest,
                caught_up=held.caught_up,
                quiet_seconds=held.quiet_seconds,
                rows_copied=len(held.rows) if held.role in ("loading", "following") else 0,
                last_pause_seconds=0.001,
                source=held.source,
                proxy_to=held.proxy_to,
                keyspace=held.keyspace,
            )
        return views

    def _catch_up(self, name: str, held: Held) -> None:
        if held.role not in ("loading", "following") or not self.copies:
            return
        source = self._fleet.by_address.get(held.source_address)
        original = source.held.get(name) if source is not None else None
        if original is not None and original.role == "primary":
            held.rows, held.sequence = dict(original.rows), original.sequence
            held.role, held.caught_up = "following", True

    @staticmethod
    def _not_older(held: Held, epoch: int) -> None:
        if epoch < held.epoch:
            raise errors.StaleRequest(f"epoch {epoch} is older than {held.epoch}")


__all__ = ["FakeWorker", "Fleet", "Held"]

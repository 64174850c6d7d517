"""A network that can be cut, without any right to change the machine's: TCP proxies in front of every worker.

A worker's addresses are known to others by what its ready file says. The runner is given a command that writes another
file; once that is there, proxies are opened and the ready file names those. Who has connected is found out from the
kernel's table of sockets and the descriptors of the processes that are known (Linux), so a cut is between two parties,
not of a port.

A worker's next life has other addresses, as a pod's has. What stays, as a Service's name does, is its front: one more
proxy, for clients to begin with.

A silent cut stops both directions: what was sent before it is lingering and arrives when it ends, as TCP would have it.
A loud cut resets connections and refuses new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from dstk.local.apiserver.files import read_when_written, write_json
from dstk.local.ports import HOST
from dstk.local.runner import Command, Life

__all__ = ["Cut", "Network", "Silence"]

log = logging.getLogger(__name__)

Silence = Literal["silent", "loud"]

_PROXIED = ("data", "control")
_ANY = dict.fromkeys(_PROXIED, 0)
_HIGH_WATER = 256 << 10


@dataclass(frozen=True, slots=True)
class Cut:
    """Between two parties, such as "worker-0" and "operator"."""

    parties: frozenset[str]
    silence: Silence


class Network:
    """All proxies. `processes` gives the process of every party that may connect, by its name."""

    def __init__(self, processes: Callable[[], Mapping[str, int]]) -> None:
        self._processes = processes
        self._cuts: list[Cut] = []
        self._links: set[_Link] = set()
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}
        self.direct: dict[str, dict[str, str]] = {}
        """Addresses of the workers behind the proxies, for whoever shall not be cut off."""
        self.fronts: dict[str, str] = {}
        """A data address of each worker that outlives it."""
        self._front_servers: list[asyncio.Server] = []

    def interpose(self, command: Command) -> Command:
        """A worker's command whose ports are reached through proxies: those have the ports that its Pod says."""

        def interposed(life: Life) -> Sequence[str]:
            direct = replace(life, ready_file=life.ready_file.with_suffix(".direct"), ports={**life.ports, **_ANY})
            direct.ready_file.unlink(missing_ok=True)
            before = self._publishing.pop(life.name, None)
            if before is not None:
                before.cancel()
            self._forget(life.name)
            self._publishing[life.name] = asyncio.create_task(self._publish(life, direct.ready_file))
            return command(direct)

        return interposed

    async def front(self, name: str, to: Callable[[], str | None]) -> str:
        """The address of a proxy in front of a party, which is reached at what `to` says when somebody connects."""
        server = await self._serve(name, to)
        self._front_servers.append(server)
        return _address(server)

    def cut(self, one: str, other: str, silence: Silence = "silent") -> Cut:
        """Nothing goes between the two from now on, until :meth:`heal`."""
        cut = Cut(frozenset((one, other)), silence)
        self._cuts.append(cut)
        self._update()
        return cut

    def heal(self, cut: Cut) -> None:
        """What was held up goes on."""
        self._cuts.remove(cut)
        self._update()

    def silence(self, parties: frozenset[str]) -> Silence | None:
        """How the two are cut off from each other, if they are."""
        found = [cut.silence for cut in self._cuts if cut.parties == parties]
        return "loud" if "loud" in found else "silent" if found else None

    async def stop(self) -> None:
        """Close every proxy."""
        for task in self._publishing.values():
            task.cancel()
        await asyncio.gather(*self._publishing.values(), return_exceptions=True)
        for name in list(self._servers):
            self._forget(name)
        for server in self._front_servers:
            server.close()

    def _update(self) -> None:
        for link in list(self._links):
            link.update()

    def _forget(self, name: str) -> None:
        """The worker's last life is over."""
        for server in self._servers.pop(name, []):
            server.close()
        self.direct.pop(name, None)
        for link in list(self._links):
            if link.worker == name:
                link.abort()

    async def _publish(self, life: Life, direct: Path) -> None:
        name = life.name
        addresses: dict[str, str] = await read_when_written(direct)
        published = dict(addresses)
        for port in _PROXIED:
            server = await self._serve(name, partial(addresses.get, port), life.ports[port])
            self._servers.setdefault(name, []).append(server)
            published[port] = _address(server)
        self.direct[name] = addresses
        if name not in self.fronts:
            self.fronts[name] = await self.front(name, partial(self._data, name))
        write_json(life.ready_file, published)

    async def _serve(self, name: str, to: Callable[[], str | None], port: int = 0) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(partial(_Near, self, name, to), HOST, port)

    def _data(self, name: str) -> str | None:
        """Where the worker's data is now; None between two lives."""
        return self.direct.get(name, {}).get("data")

    def _party(self, port: int, own_port: int) -> str:
        """Who has the socket that connects from `port` to our `own_port`; "" for a stranger."""
        inode = _inode(port, own_port)
        if inode is None:
            return ""
        wanted = f"socket:[{inode}]"
        for name, pid in self._processes().items():
            with contextlib.suppress(OSError):
                for descriptor in os.scandir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        if os.readlink(descriptor.path) == wanted:
                            return name
        return ""


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


def _inode(port: int, own_port: int) -> str | None:
    near, far = f"0100007F:{port:04X}", f"0100007F:{own_port:04X}"
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split()
            if fields[1] == near and fields[2] == far:
                return fields[9]
    return None


class _Link:
    """One connection through a proxy: two transports that copy into each other, unless there is a cut."""

    def __init__(self, network: Network, worker: str, party: str) -> None:
        self.network = network
        self.worker = worker
        self.parties = frozenset((worker, party))
        self.near: _Near | None = None
        self.far: _Far | None = None

    @property
    def silence(self) -> Silence | None:
        return self.network.silence(self.parties)

    def update(self) -> None:
        if self.silence == "loud":
            self.abort()
            return
        for side, other in ((self.near, self.far), (self.far, self.near)):
            if side is not None:
                side.read(self.silence is None and other is not None and not other.full)
        if self.silence is None and self.near is not None:
            self.near.reach()

    def abort(self) -> None:
        self.network._links.discard(self)
        for side in (self.near, self.far):
            if side is not None and side.transport is not None:
                # With nothing to linger for, the other end is told by a reset.
                connection = side.transport.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.transport.abort()

    def close(self) -> None:
        """One side has ended: what came from it is still passed on."""
        self.network._links.discard(self)
        for side in (self.near, self.far):
            if side is not None and side.transport is not None:
                side.transport.close()


class _Side(asyncio.Protocol):
    """One half of a link."""

    def __init__(self, link: _Link | None) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.full = False
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def read(self, wanted: bool) -> None:
        if self.transport is None or self.transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.full = True
        if self.link is not None:
            self.link.update()

    def resume_writing(self) -> None:
        self.full = False
        if self.link is not None:
            self.link.update()

    def connection_lost(self, _: Exception | None) -> None:
        if self.link is not None:
            self.link.close()


class _Near(_Side):
    """The half towards whoever connects to a worker."""

    def __init__(self, network: Network, worker: str, to: Callable[[], str | None]) -> None:
        super().__init__(None)
        self._network = network
        self._worker = worker
        self._to = to
        self._reaching: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        port = transport.get_extra_info("peername")[1]
        own_port = transport.get_extra_info("sockname")[1]
        self.link = _Link(self._network, self._worker, self._network._party(port, own_port))
        self.link.near = self
        self._network._links.add(self.link)
        self.link.update()

    def reach(self) -> None:
        """Connect to the worker, once."""
        if self._reaching is None:
            self._reaching = asyncio.create_task(self._reach())

    async def _reach(self) -> None:
        assert self.link is not None
        host, _, port = (self._to() or "").rpartition(":")
        if not host:
            self.link.abort()
            return
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Far(self.link), host, int(port))
        except OSError:
            self.link.abort()
            return
        self.link.update()

    def data_received(self, data: bytes) -> None:
        assert self.link is not None and self.link.far is not None and self.link.far.transport is not None  # noqa: PT018
        self.link.far.transport.write(data)


class _Far(_Side):
    """The half towards the worker."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.link is not None
        self.link.far = self
        near = self.link.near
        if near is None or near.transport is None or near.transport.is_closing():
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        assert self.link is not None and self.link.near is not None and self.link.near.transport is not None  # noqa: PT018
        self.link.near.transport.write(data)

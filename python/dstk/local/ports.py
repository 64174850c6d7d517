"""The ports of a directory's workers: recorded in a file, so that each life of a worker, and of the cluster, has those
of the one before, and whoever knew its address goes on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from dstk.errors import ConfigError
from dstk.local.apiserver.files import write_json

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORTS = ("data", "control", "metrics")

_POLL_SECONDS = 0.02


@contextmanager
def reserved_ports() -> Iterator[dict[str, int]]:
    """Free ports of loopback that nobody else is given until the block is left.

    A Pod's ports cannot change, so they have to be known before the process is there. Each is held by a socket that is
    bound and never listens: whoever names the port can have it nevertheless, as all servers do with SO_REUSEADDR.
    """
    with contextlib.ExitStack() as stack:
        yield {name: _number(stack.enter_context(_bind(0))) for name in PORTS}


class RecordedPorts:
    """The ports of workers, or other processes, by name, in the file at `path`; each has a port for each of `names`.

    `wait_seconds`: a port that is taken is waited for so long, as the last life of its worker may be ending just now.
    """

    def __init__(self, path: Path, names: Sequence[str] = PORTS, *, wait_seconds: float = 5.0) -> None:
        self._path = path
        self._names = names
        self._wait_seconds = wait_seconds
        self._known = _read(path, names)

    @asynccontextmanager
    async def reserved(self, worker: str) -> AsyncIterator[dict[str, int]]:
        """The worker's ports, held as :func:`reserved_ports` holds its own. For a port that somebody else has taken
        meanwhile there is another one, which is recorded, and the log says so."""
        with contextlib.ExitStack() as stack:
            held: dict[str, int] = {}
            for name in self._names:
                before = self._known.get(worker, {}).get(name, 0)
                holder = await self._hold(before)
                if holder is None:
                    holder = _bind(0)
                    log.warning(
                        "port %d (%s of %s) is taken by another process: it has port %d from now on, and clients that "
                        "know only the old address have to connect anew",
                        before, name, worker, _number(holder),
                    )  # fmt: skip
                held[name] = _number(stack.enter_context(holder))
            if self._known.get(worker) != held:
                self._known[worker] = held
                write_json(self._path, self._known)
            yield held

    async def _hold(self, port: int) -> socket.socket | None:
        until = time.monotonic() + self._wait_seconds
        while True:
            try:
                return _bind(port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                    if error.errno in (errno.EADDRINUSE, errno.EACCES):
                        return None
                    raise
            await asyncio.sleep(_POLL_SECONDS)


def _bind(port: int) -> socket.socket:
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, port))
    except BaseException:
        holder.close()
        raise
    return holder


def _number(holder: socket.socket) -> int:
    number: int = holder.getsockname()[1]
    return number


def _read(path: Path, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """What is recorded; nothing at the first time. Raises ConfigError when it is no such record."""
    try:
        recorded = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        recorded = None
    try:
        return {worker: {name: _port(ports[name]) for name in names} for worker, ports in recorded.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} does not hold ports of workers; remove it: they get others then") from None


def _port(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 65536:
        raise ValueError
    return value

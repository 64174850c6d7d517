"""The HTTP server around the verbs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from dstk.local.apiserver.api import Api
from dstk.local.apiserver.deletion import Collector
from dstk.local.apiserver.handlers import Handlers
from dstk.local.apiserver.journal import Journal
from dstk.local.apiserver.request import BODY_LIMIT
from dstk.local.apiserver.store import Store


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)


@dataclass(frozen=True, slots=True)
class Settings:
    """`port` 0 lets the kernel choose. `history`: changes kept a kind.

    `directory` keeps state over restarts. `logs` has NAME.log of each pod.
    """

    port: int = 0
    directory: Path | None = None
    logs: Path | None = None
    history: int = 10_000
    bookmark_seconds: float = 60.0


class ApiServer:
    """An embedded API server on 127.0.0.1. Use it as an async context manager, or start() and stop() it.

    It speaks plain HTTP and asks nobody who they are: local users are trusted. Requests that name a foreign Host or
    come from a foreign Origin are refused, so a web page cannot reach it through the user's browser.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.store = Store(self.settings.history)
        self.api = Api(self.store, time.time)
        self._journal: Journal | None = None
        self._runner: web.ServerRunner | None = None
        self._stopping = False
        self._port = 0

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, once it is started."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Read the journal, if any, and listen. Raises OSError when the port is taken."""
        if self.settings.directory is not None:
            self.settings.directory.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self.settings.directory / "apiserver.journal", self.store)
        self.api.start()
        Collector(self.api)
        handlers = Handlers(
            self.api,
            bookmark_seconds=self.settings.bookmark_seconds,
            stopped=lambda: self._stopping,
            logs=self.settings.logs,
        )
        server = web.Server(handlers.handle, request_factory=_request, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.settings.port, backlog=512)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """End all watches and connections and close the journal."""
        self._stopping = True
        for collection in self.store.collections():
            collection.wake()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def __aenter__(self) -> ApiServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

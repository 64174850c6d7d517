"""The asyncio client: the blocking client's verbs, awaited.

Completions are gathered by the extension and handed over in bulk after one wake-up of the loop through a file
descriptor, so that the cost of a wake-up is shared by all that ended meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from dstk import errors
from dstk._core import Client as NativeClient
from dstk.client import verbs
from dstk.client.settings import ClientSettings, split_addresses

T = TypeVar("T")


class Client:
    """Reads and writes one keyspace from one event loop; see :class:`dstk.client.blocking.Client` for each verb.

    The verbs return futures: awaiting one after the other waits for each, gathering them lets them share messages.
    """

    def __init__(self, native: NativeClient, keyspace: str, loop: asyncio.AbstractEventLoop) -> None:
        self._native = native
        self.keyspace = keyspace
        self._loop = loop
        self._token = 0
        self._waiting: dict[int, tuple[asyncio.Future[Any], Callable[[Any], Any]]] = {}
        self._closed = False
        loop.add_reader(native.fileno(), self._collect)

    @property
    def key_length(self) -> int:
        """Bytes of a key of this keyspace."""
        return self._native.key_length

    def get(self, key: bytes, *, timeout: float | None = None) -> asyncio.Future[verbs.Row | None]:
        """The row under `key`, or None."""
        return self._run(verbs.get(key, timeout))

    def put(
        self, key: bytes, value: bytes, if_version: int | None = None, *, timeout: float | None = None
    ) -> asyncio.Future[int]:
        """Store `value` under `key`; the row's new version."""
        return self._run(verbs.put(key, value, if_version, timeout))

    def delete(
        self, key: bytes, if_version: int | None = None, *, timeout: float | None = None
    ) -> asyncio.Future[int | None]:
        """Remove the row under `key`; the version of the removal, or None if there was no row."""
        return self._run(verbs.delete(key, if_version, timeout))

    def get_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> asyncio.Future[list[verbs.Row | None]]:
        """The rows under n keys, in their order."""
        return self._run(verbs.get_many(keys, timeout))

    def put_many(
        self, keys: verbs.Keys, values: Sequence[bytes], *, timeout: float | None = None
    ) -> asyncio.Future[list[int]]:
        """Store n values under n keys; the versions, in their order."""
        return self._run(verbs.put_many(keys, values, timeout))

    def delete_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> asyncio.Future[list[int | None]]:
        """Remove the rows under n keys."""
        return self._run(verbs.delete_many(keys, timeout))

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> asyncio.Future[verbs.Page]:
        """Up to `limit` rows with ``start <= key < end``, from the last one down if `reverse`."""
        return self._run(verbs.scan(start, end, limit, reverse, timeout))

    async def close(self) -> None:
        """Close the connections. Calls under way end as unavailable."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._native.fileno())
        await self._loop.run_in_executor(None, self._native.close)
        self._collect()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(errors.Unavailable("the client was closed"))
        self._waiting.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _run(self, call: verbs.Call[T]) -> asyncio.Future[T]:
        if self._closed:
            raise errors.InvalidRequest("this client is closed: connect anew")
        self._token += 1
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting[self._token] = (future, call.decode)
        try:
            getattr(self._native, "submit_" + call.verb)(self._token, *call.arguments)
        except BaseException:
            del self._waiting[self._token]
            raise
        return future

    def _collect(self) -> None:
        waiting = self._waiting
        for token, ok, result in self._native.completions():
            future, decode = waiting.pop(token)
            if future.done():  # cancelled by its waiter; the operation itself went on
                continue
            if not ok:
                future.set_exception(result)
                continue
            try:
                future.set_result(decode(result))
            except errors.DstkError as error:
                future.set_exception(error)


class Connecting:
    """What :func:`connect` gives: ``client = await connect(…)``, or ``async with connect(…) as client``."""

    def __init__(self, addresses: list[str], keyspace: str, settings: ClientSettings) -> None:
        self._addresses = addresses
        self._keyspace = keyspace
        self._settings = settings
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        loop = asyncio.get_running_loop()
        native = await loop.run_in_executor(
            None, lambda: NativeClient(self._addresses, self._keyspace, self._settings.native())
        )
        return Client(native, self._keyspace, loop)


def connect(
    address: str | Sequence[str], keyspace: str = "default", *, settings: ClientSettings | None = None
) -> Connecting:
    """The asyncio client of `keyspace`, to be awaited or entered by ``async with``; see :func:`dstk.connect`."""
    return Connecting(split_addresses(address), keyspace, settings or ClientSettings())

"""The asyncio client: the blocking client's verbs, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Self

from dstk._core import Client as NativeClient
from dstk.client import verbs
from dstk.client.answers import Answers
from dstk.client.settings import ClientSettings, Target


class Client:
    """Reads and writes one keyspace from one event loop; see :class:`dstk.client.blocking.Client` for each verb.

    The verbs return futures, and take ``timeout`` in seconds: awaiting one after the other waits for each, gathering
    them lets them share messages. Cancelling one gives its call up: what was not sent is never sent; what was, the
    worker has. A client belongs to the event loop it was connected in, and is refused in another: connect once in each
    loop.
    """

    def __init__(self, native: NativeClient, keyspace: str, loop: asyncio.AbstractEventLoop) -> None:
        self._native = native
        self.keyspace = keyspace
        self._answers = Answers(native, loop)

    def __del__(self) -> None:
        if (answers := getattr(self, "_answers", None)) is not None:
            answers.leave()

    @property
    def key_length(self) -> int:
        """Bytes of a key of this keyspace."""
        return self._native.key_length

    def get(self, key: bytes, *, timeout: float | None = None) -> asyncio.Future[verbs.Row | None]:
        """The row under `key`, or None. Raises what all verbs do, see :class:`dstk.client.Client`."""
        return self._answers.ask(verbs.get(key, timeout))

    def put(
        self, key: bytes, value: bytes, if_version: int | None = None, *, timeout: float | None = None
    ) -> asyncio.Future[int]:
        """Store `value` under `key`; the row's new version.

        ``if_version``: the row must have this version now, 0 meaning that there must be no row. Raises
        :class:`~dstk.errors.VersionMismatch` else, and :class:`~dstk.errors.OutcomeUnknown` when nobody knows whether
        it was stored.
        """
        return self._answers.ask(verbs.put(key, value, if_version, timeout))

    def delete(
        self, key: bytes, if_version: int | None = None, *, timeout: float | None = None
    ) -> asyncio.Future[int | None]:
        """Remove the row under `key`; the version of the removal, or None if there was no row.

        With ``if_version`` the row must have this version now. Raises :class:`~dstk.errors.VersionMismatch` else.
        """
        return self._answers.ask(verbs.delete(key, if_version, timeout))

    def get_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> asyncio.Future[list[verbs.Row | None]]:
        """The rows under n `keys`, in their order, None where there is none.

        Raises :class:`~dstk.errors.PartialFailure` if some could not be read; its ``results`` have the others.
        """
        return self._answers.ask(verbs.get_many(keys, timeout))

    def put_many(
        self, keys: verbs.Keys, values: verbs.Values, *, timeout: float | None = None
    ) -> asyncio.Future[list[int]]:
        """Store n `values` under n `keys`; the versions, in their order. Each row is a write of its own.

        Raises :class:`~dstk.errors.PartialFailure`, whose ``results`` tell each one's fate.
        """
        return self._answers.ask(verbs.put_many(keys, values, timeout))

    def delete_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> asyncio.Future[list[int | None]]:
        """Remove the rows under n `keys`: the versions of the removals, None where there was no row.

        Raises :class:`~dstk.errors.PartialFailure`, whose ``results`` tell each one's fate.
        """
        return self._answers.ask(verbs.delete_many(keys, timeout))

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> asyncio.Future[verbs.Page]:
        """Up to `limit` rows with ``start <= key < end``, from the last one down if `reverse`.

        When there are more, the page's ``cursor`` is where to go on. Raises :class:`~dstk.errors.LimitError` without a
        `limit`, :class:`~dstk.errors.InvalidRange` when `start` is not below `end`.
        """
        return self._answers.ask(verbs.scan(start, end, limit, reverse, timeout))

    def losses(self) -> list[verbs.Loss]:
        """The ranges whose rows were lost and nobody has accepted that, in the order of keys.

        As the workers were last told: no call leaves this process. Empty: nothing is known to be lost.
        """
        return verbs.losses_of(self._native.losses())

    async def close(self) -> None:
        """Close the client. Calls that were not sent end as :class:`~dstk.errors.Unavailable`; those that were have
        ``close_seconds`` to be answered, and then a write ends as :class:`~dstk.errors.OutcomeUnknown`."""
        await self._answers.close()

    def counters(self) -> dict[str, int]:
        """See :meth:`dstk.client.Client.counters`."""
        return self._native.counters()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Connecting:
    """What :func:`connect` gives: ``client = await connect(…)``, or ``async with connect(…) as client``."""

    def __init__(self, target: Target) -> None:
        self._target = target
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
        loop, target = asyncio.get_running_loop(), self._target
        native = await loop.run_in_executor(
            None, lambda: NativeClient(target.addresses, target.keyspace, target.settings.native())
        )
        return Client(native, target.keyspace, loop)


def connect(
    address: str | Sequence[str], keyspace: str = "default", *, settings: ClientSettings | None = None
) -> Connecting:
    """The asyncio client of `keyspace`, to be awaited or entered by ``async with``; see :func:`dstk.connect`."""
    return Connecting(Target.of(address, keyspace, settings))

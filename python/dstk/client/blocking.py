"""The blocking client."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from dstk._core import Client as NativeClient
from dstk.client import verbs
from dstk.client.settings import ClientSettings, Target

T = TypeVar("T")


class Client:
    """Reads and writes one keyspace. Safe to share between threads; every call blocks its thread alone.

    A key is bytes of exactly :attr:`key_length`. A value is bytes, 1 MiB at most. Many keys are a list of bytes, or a
    numpy array: ``S{key_length}``, or uint8 of shape (n, key_length).

    All verbs take ``timeout``, in seconds, the time within which they end; None takes the client's own (30 s unless
    set). While a partition is moved, split or merged, calls wait or are retried inside that time.

    All verbs raise :class:`~dstk.errors.KeyLengthError` or :class:`~dstk.errors.WrongType` for what is no key,
    :class:`~dstk.errors.DeadlineExceeded` or :class:`~dstk.errors.Unavailable` for what was not done in time. A write
    whose outcome is not known is never repeated silently: it raises :class:`~dstk.errors.OutcomeUnknown`, unless it had
    an ``if_version`` above 0, which no repetition can meet twice.
    """

    def __init__(self, native: NativeClient, keyspace: str) -> None:
        self._native = native
        self.keyspace = keyspace

    @property
    def key_length(self) -> int:
        """Bytes of a key of this keyspace."""
        return self._native.key_length

    def get(self, key: bytes, *, timeout: float | None = None) -> verbs.Row | None:
        """The row under `key`, or None. Raises what all verbs do, see the class."""
        return self._run(verbs.get(key, timeout))

    def put(self, key: bytes, value: bytes, if_version: int | None = None, *, timeout: float | None = None) -> int:
        """Store `value` under `key`; the row's new version.

        ``if_version`` makes it conditional: the row must have this version now, 0 meaning that there must be no row;
        else it raises :class:`~dstk.errors.VersionMismatch`. Raises :class:`~dstk.errors.ValueTooLarge` for a value
        above 1 MiB, :class:`~dstk.errors.LimitReached` when the worker has no room.
        """
        return self._run(verbs.put(key, value, if_version, timeout))

    def delete(self, key: bytes, if_version: int | None = None, *, timeout: float | None = None) -> int | None:
        """Remove the row under `key`; the version of the removal, or None if there was no row.

        With ``if_version`` the row must have this version now. Raises :class:`~dstk.errors.VersionMismatch` else.
        """
        return self._run(verbs.delete(key, if_version, timeout))

    def get_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> list[verbs.Row | None]:
        """The rows under n `keys`, in their order, None where there is none.

        Raises :class:`~dstk.errors.PartialFailure` if some could not be read; its ``results`` have the others.
        """
        return self._run(verbs.get_many(keys, timeout))

    def put_many(self, keys: verbs.Keys, values: verbs.Values, *, timeout: float | None = None) -> list[int]:
        """Store n `values` under n `keys`; the versions, in their order.

        Each row is a write of its own: there is no transaction over them. Raises
        :class:`~dstk.errors.PartialFailure`, whose ``results`` tell each one's fate.
        """
        return self._run(verbs.put_many(keys, values, timeout))

    def delete_many(self, keys: verbs.Keys, *, timeout: float | None = None) -> list[int | None]:
        """Remove the rows under n `keys`, like :meth:`delete` for each: versions, None where there was no row.

        Raises :class:`~dstk.errors.PartialFailure`, whose ``results`` tell each one's fate.
        """
        return self._run(verbs.delete_many(keys, timeout))

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> verbs.Page:
        """Up to `limit` rows with ``start <= key < end``, from the last one down if `reverse`.

        `limit` must be given. When there are more rows, the page's ``cursor`` is where to go on. Bounds shorter than a
        key are padded with zero bytes; None is no bound. A scan sees each partition at one instant, different
        partitions at different instants. Raises :class:`~dstk.errors.LimitError` without a limit,
        :class:`~dstk.errors.InvalidRange` when `start` is not below `end`.
        """
        return self._run(verbs.scan(start, end, limit, reverse, timeout))

    def losses(self) -> list[verbs.Loss]:
        """The ranges whose rows were lost and nobody has accepted that, in the order of keys.

        As the workers were last told: no call leaves this process. Empty: nothing is known to be lost.
        """
        return verbs.losses_of(self._native.losses())

    def close(self) -> None:
        """Close the client. Calls of other threads that were not sent end as :class:`~dstk.errors.Unavailable`; those
        that were have ``close_seconds`` to be answered, and then a write ends as
        :class:`~dstk.errors.OutcomeUnknown`."""
        self._native.close()

    def counters(self) -> dict[str, int]:
        """What the client has done since it was connected, by name, and what is under way: ``under_way`` calls,
        ``sent`` operations that wait for their answer, ``open_bytes`` of keys and values that are held for them."""
        return self._native.counters()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: verbs.Call[T]) -> T:
        return call.decode(getattr(self._native, call.verb)(*call.arguments))


def connect(
    address: str | Sequence[str], keyspace: str = "default", *, settings: ClientSettings | None = None
) -> Client:
    """A client of `keyspace`, through any of its workers: ``host:port``, several separated by commas, or a list.

    Raises :class:`~dstk.errors.Unavailable` when no worker answers in time,
    :class:`~dstk.errors.UnknownKeyspace` when they know no such keyspace.
    """
    target = Target.of(address, keyspace, settings)
    return Client(NativeClient(target.addresses, target.keyspace, target.settings.native()), target.keyspace)

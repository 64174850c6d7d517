"""What a client can say: each verb once, as plain data, for the blocking and the asyncio client alike.

A verb is a :class:`Call`: the native method's name and arguments, and how to turn its raw result into what the user
gets. The two clients differ only in how they run a Call. What is wrong with an argument the extension says, for both
(rust/py/src/arguments.rs), before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar, overload

from dstk import errors

T = TypeVar("T")

Keys = Any
"""Many keys: a list or another iterable of bytes that has an order, a numpy array of dtype ``S{n}``, ``V{n}`` or (for
keys of 8 bytes) uint64, a ``(n, key_length)`` array or buffer of uint8, an Arrow array of fixed-size binary."""

Values = Any
"""Many values: a list or another iterable of bytes that has an order, or the values side by side, all of one width and
read at that width: a numpy array of dtype ``S{n}`` or ``V{n}``, a ``(values, n)`` array or buffer of uint8, an Arrow
array of fixed-size binary. An item of an ``S{n}`` array, which has lost the zero bytes at its end, is refused."""


class Row(NamedTuple):
    """What is stored under a key: the value, and the sequence number of the write that put it there.

    A version never repeats for a key, so it serves as an etag: ``put(key, value, if_version=row.version)``.
    """

    value: bytes
    version: int


class KeyedRow(NamedTuple):
    """A row of a scan."""

    key: bytes
    value: bytes
    version: int


class Loss(NamedTuple):
    """A range of keys whose rows were lost, and nobody has accepted that yet (``dstk accept-loss``).

    ``start <= key < end``; an empty `end` is no end. `since`: when the loss was found, in UTC. `reason`: the one of the
    Partition's condition DataLost, such as WorkerRestarted, WorkerGone or DiskOlder. `held`: calls for the range raise
    :class:`~dstk.errors.DataLost`; else it is served, from empty since then.
    """

    start: bytes
    end: bytes
    partition: str
    since: datetime
    reason: str
    held: bool


def losses_of(raw: list[tuple[bytes, bytes, str, int, str, bool]]) -> list[Loss]:
    """See :meth:`dstk.client.Client.losses`."""
    return [
        Loss(start, end, partition, datetime.fromtimestamp(since / 1000, UTC), reason, held)
        for start, end, partition, since, reason, held in raw
    ]


@dataclass(frozen=True, slots=True)
class Page(Sequence[KeyedRow]):
    """The rows of one scan, in the order of the scan.

    ``cursor`` is None when the range is exhausted. Otherwise it is where to go on: the next forward scan's ``start``,
    or the next reverse scan's ``end``.
    """

    rows: Sequence[KeyedRow]
    cursor: bytes | None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[KeyedRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> KeyedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[KeyedRow]: ...
    def __getitem__(self, index: int | slice) -> KeyedRow | Sequence[KeyedRow]:
        return self.rows[index]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request: `verb` names the native method; `decode` makes the user's result of the native one."""

    verb: str
    arguments: tuple[Any, ...]
    decode: Callable[[Any], T]


def get(key: bytes, timeout: float | None) -> Call[Row | None]:
    """See :meth:`dstk.client.Client.get`."""
    return Call("get", (key, timeout), _row)


def put(key: bytes, value: bytes, if_version: int | None, timeout: float | None) -> Call[int]:
    """See :meth:`dstk.client.Client.put`."""
    return Call("put", (key, value, if_version, timeout), _same)


def delete(key: bytes, if_version: int | None, timeout: float | None) -> Call[int | None]:
    """See :meth:`dstk.client.Client.delete`."""
    return Call("delete", (key, if_version, timeout), _same)


def get_many(keys: Keys, timeout: float | None) -> Call[list[Row | None]]:
    """See :meth:`dstk.client.Client.get_many`."""
    return Call("get_many", (keys, timeout), _rows)


def put_many(keys: Keys, values: Values, timeout: float | None) -> Call[list[int]]:
    """See :meth:`dstk.client.Client.put_many`."""
    return Call("put_many", (keys, values, timeout), _whole)


def delete_many(keys: Keys, timeout: float | None) -> Call[list[int | None]]:
    """See :meth:`dstk.client.Client.delete_many`."""
    return Call("delete_many", (keys, timeout), _whole)


def scan(start: bytes | None, end: bytes | None, limit: int | None, reverse: bool, timeout: float | None) -> Call[Page]:
    """See :meth:`dstk.client.Client.scan`."""
    return Call("scan", (start, end, limit, reverse, timeout), _page)


def _same(raw: T) -> T:
    return raw


def _row(raw: tuple[bytes, int] | None) -> Row | None:
    return None if raw is None else Row._make(raw)


def _rows(results: list[Any]) -> list[Row | None]:
    made = [one if isinstance(one, BaseException) else _row(one) for one in results]
    return _whole(made)


def _page(raw: tuple[list[tuple[bytes, bytes, int]], bytes | None]) -> Page:
    rows, cursor = raw
    return Page([KeyedRow._make(row) for row in rows], cursor)


def _whole(results: list[Any]) -> list[Any]:
    failed = sum(isinstance(result, BaseException) for result in results)
    if failed:
        first = next(result for result in results if isinstance(result, BaseException))
        raise errors.PartialFailure(
            f"{failed} of {len(results)} operations failed, the first with: {first} (.results has each one's)",
            results,
        )
    return results

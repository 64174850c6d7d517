"""What a client can say: each verb once, as plain data, for the blocking and the asyncio client alike.

A verb is a :class:`Call`: the native method's name and arguments, and how to turn its raw result into what the user
gets. The two clients differ only in how they run a Call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, overload

from dstk import errors

T = TypeVar("T")

_LARGEST = 2**63 - 1
"""No count or version is larger."""

Keys = Any
"""Many keys: a list of bytes, a numpy ``S{n}`` array, or ``(n, key_length)`` uint8."""


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
    return Call("put", (key, value, _version(if_version), timeout), _same)


def delete(key: bytes, if_version: int | None, timeout: float | None) -> Call[int | None]:
    """See :meth:`dstk.client.Client.delete`."""
    return Call("delete", (key, _version(if_version), timeout), _same)


def get_many(keys: Keys, timeout: float | None) -> Call[list[Row | None]]:
    """See :meth:`dstk.client.Client.get_many`."""
    return Call("get_many", (keys, timeout), lambda raw: [_row(one) for one in _whole(raw)])


def put_many(keys: Keys, values: Sequence[bytes], timeout: float | None) -> Call[list[int]]:
    """See :meth:`dstk.client.Client.put_many`."""
    return Call("put_many", (keys, values, timeout), _whole)


def delete_many(keys: Keys, timeout: float | None) -> Call[list[int | None]]:
    """See :meth:`dstk.client.Client.delete_many`."""
    return Call("delete_many", (keys, timeout), _whole)


def scan(start: bytes | None, end: bytes | None, limit: int | None, reverse: bool, timeout: float | None) -> Call[Page]:
    """See :meth:`dstk.client.Client.scan`."""
    if limit is None:
        raise errors.LimitError("a scan needs a limit: scan(start, end, limit=1000), then go on from page.cursor")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _LARGEST:
        raise errors.LimitError(f"limit is {limit!r}; a scan takes a whole number of rows, 1 or more")
    start, end = start or b"", end or b""
    if end and start >= end:
        raise errors.InvalidRange(f"start {start!r} is not below end {end!r}; ranges are closed-open")
    return Call("scan", (start, end, limit, reverse, timeout), _page)


def _version(if_version: int | None) -> int | None:
    if if_version is None:
        return None
    if isinstance(if_version, bool) or not isinstance(if_version, int):
        raise errors.WrongType(f"if_version is a row's version, an int, not {type(if_version).__name__}")
    if not 0 <= if_version <= _LARGEST:
        raise errors.InvalidRequest(f"if_version is {if_version}; a row's version is 1 or more, and 0 means no row")
    return if_version


def _same(raw: T) -> T:
    return raw


def _row(raw: tuple[bytes, int] | None) -> Row | None:
    return None if raw is None else Row._make(raw)


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

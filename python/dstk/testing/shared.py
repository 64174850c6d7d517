"""Keys that several clients write at once: every operation on them is recorded, to be judged afterwards.

What a row must be cannot be known while others write it. So each operation is written down, with the moments between
which it took effect and what came of it, and :mod:`dstk.testing.linearizability` judges the whole of it at the end.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any

from dstk import errors
from dstk.testing.history import Findings
from dstk.testing.linearizability import Operation, Outcome, Verb
from dstk.testing.recorder import Recorder

if TYPE_CHECKING:
    from dstk.testing.load import LoadReport

__all__ = ["GROUP", "SharedKeys", "shared_key"]

GROUP = 8
"""So many keys lie side by side, so that a scan reads them at once."""

_HEADER = Struct("<QQ")
_WRITER_BITS = 40


def shared_key(number: int, length: int) -> bytes:
    """The shared key of that number: groups are spread evenly, by bits turned round; the group's keys are neighbours.

    `length` is 9 bytes or more.
    """
    group, member = divmod(number, GROUP)
    spread = int(f"{group:032b}"[::-1], 2)
    return spread.to_bytes(4, "big") + b"shrd" + bytes([member]) + bytes(length - 9)


@dataclass(slots=True)
class _Answer:
    """What came of an operation."""

    outcome: Outcome
    version: int | None = None
    value: int | None = None


class SharedKeys:
    """`count` keys that all processes of a test share; this process is `writer`, a number of its own."""

    def __init__(
        self,
        client: Any,
        count: int,
        value_size: int,
        writer: int,
        recorder: Recorder,
        report: LoadReport,
        findings: Findings,
    ) -> None:
        self.count = count
        self._report = report
        self._client = client
        self._fill = bytes(i % 239 for i in range(value_size - _HEADER.size))
        self._next = writer << _WRITER_BITS
        self._recorder = recorder
        self._findings = findings
        self._keys = [shared_key(number, client.key_length) for number in range(count)]
        self._known = [0] * count
        """Versions last heard of, for conditions; others write too, so some of them do not hold."""

    async def one(self, chance: random.Random) -> None:
        """One operation on some key; every other one on a tenth of them, so that writers meet."""
        hot = max(1, self.count // 10)
        number = chance.randrange(hot) if chance.random() < 0.5 else chance.randrange(self.count)
        condition = self._known[number]
        match chance.random():
            case dice if dice < 0.35:
                await self._get(number)
            case dice if dice < 0.60:
                await self._put(number, None)
            case dice if dice < 0.80:
                await self._put(number, condition)
            case dice if dice < 0.86:
                await self._delete(number, None)
            case dice if dice < 0.90 and condition:
                await self._delete(number, condition)
            case _:
                await self._scan(number // GROUP, chance.random() < 0.5)

    async def read_all(self, timeout: float) -> int:
        """Read every key; how many there was no answer for within `timeout` seconds."""
        invoked = time.monotonic_ns()
        try:
            rows = await self._client.get_many(self._keys, timeout=timeout)
        except errors.PartialFailure as failure:
            rows = failure.results
        except errors.DstkError as error:
            rows = [error] * self.count
        returned = time.monotonic_ns()
        unread = 0
        for number, row in enumerate(rows):
            if isinstance(row, BaseException):
                unread += 1
                self._findings.add("failed_requests", f"shared key {number} at the end: {row}")
            else:
                self._read(number, invoked, returned, row)
        return unread

    async def _get(self, number: int) -> None:
        invoked = time.monotonic_ns()
        try:
            row = await self._client.get(self._keys[number])
        except errors.DstkError as error:
            self._failed(error)
            return
        self._read(number, invoked, time.monotonic_ns(), row)

    async def _put(self, number: int, condition: int | None) -> None:
        self._next += 1
        value = self._next
        content = _HEADER.pack(number, value) + self._fill
        await self._write("put", number, value, condition, self._client.put, content)

    async def _delete(self, number: int, condition: int | None) -> None:
        await self._write("delete", number, None, condition, self._client.delete)

    async def _write(
        self, verb: Verb, number: int, value: int | None, condition: int | None, call: Any, *content: bytes
    ) -> None:
        invoked = time.monotonic_ns()
        answer = _Answer("unknown")
        try:
            version = await call(self._keys[number], *content, condition)
            answer = _Answer("ok", version)
            self._report.acked_writes += 1
            self._known[number] = version if verb == "put" else 0
        except errors.VersionMismatch as error:
            answer = _Answer("mismatch", error.current_version)
            self._known[number] = error.current_version
        except errors.OutcomeUnknown as error:
            self._findings.add("unknown_outcomes", str(error))
        except errors.Unavailable as error:
            answer = _Answer("failed")
            self._failed(error)
        finally:
            operation = Operation(verb, invoked, time.monotonic_ns(), answer.outcome, value, answer.version, condition)
            self._recorder.note(number, operation)

    async def _scan(self, group: int, reverse: bool) -> None:
        """Read a group at once: each key of it is a read."""
        numbers = range(group * GROUP, min((group + 1) * GROUP, self.count))
        start, end = self._keys[numbers[0]], _after(self._keys[numbers[-1]])
        invoked = time.monotonic_ns()
        try:
            page = await self._client.scan(start, end, limit=2 * GROUP, reverse=reverse)
        except errors.DstkError as error:
            self._failed(error)
            return
        returned = time.monotonic_ns()
        rows = {row.key: (row.value, row.version) for row in page}
        for number in numbers:
            if reached(page.cursor, self._keys[number], reverse=reverse):
                self._read(number, invoked, returned, rows.get(self._keys[number]))

    def _read(self, number: int, invoked: int, returned: int, row: tuple[bytes, int] | None) -> None:
        self._report.reads += 1
        value, version = None, None
        if row is not None:
            content, version = row
            if len(content) != _HEADER.size + len(self._fill) or content[_HEADER.size :] != self._fill:
                self._findings.add("wrong_reads", f"shared key {number}: a value nobody wrote, version {version}")
                return
            index, value = _HEADER.unpack_from(content)
            if index != number:
                self._findings.add("wrong_reads", f"shared key {number}: the row of shared key {index}")
                return
        self._known[number] = version or 0
        self._recorder.note(number, Operation("get", invoked, returned, "ok", value, version))

    def _failed(self, error: errors.DstkError) -> None:
        self._findings.add("failed_requests", f"{type(error).__name__}: {error}")


def reached(cursor: bytes | None, key: bytes, *, reverse: bool) -> bool:
    """Whether a scan that ended at `cursor` has come to the key: of what it has not, it says nothing."""
    return cursor is None or (key >= cursor if reverse else key < cursor)


def _after(key: bytes) -> bytes:
    """The key after `key`, of the same length."""
    return (int.from_bytes(key, "big") + 1).to_bytes(len(key), "big")

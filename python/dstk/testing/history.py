"""What a verifying load expects of every key, and what it found wrong.

Every key has one writer at a time, so the row under it is known exactly after each acknowledged write. Readers of
other tasks know less: a floor, the newest version that was acknowledged or seen before they asked. A row below the
floor means that a read went back in time; a row gone without anyone having deleted it means that a write was lost.

A write whose outcome nobody knows may take effect at any later moment. Its key stays exactly known but for this: a row
that such a write put there, with a version above all acknowledged ones, is right too, and from then on it is the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

_HEADER = Struct("<QQ")

MAX_EXAMPLES = 20
"""So many findings of a kind are kept in words; all are counted."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What was known of a key before a read of it was sent."""

    version: int
    present: bool
    removals_ended: int


@dataclass(slots=True)
class Findings:
    """What was wrong, counted, with the first examples in words."""

    wrong_reads: int = 0
    lost_writes: int = 0
    failed_requests: int = 0
    unknown_outcomes: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """Count one finding of `kind`, a field's name."""
        setattr(self, kind, getattr(self, kind) + 1)
        if getattr(self, kind) <= MAX_EXAMPLES:
            self.examples.append(f"{kind}: {what}")

    @property
    def clean(self) -> bool:
        """Nothing at all was wrong."""
        return not (self.wrong_reads or self.lost_writes or self.failed_requests or self.unknown_outcomes)


class History:
    """The expected state of `keys` keys, numbered from 0, each with at most one write under way."""

    def __init__(self, keys: int, value_size: int) -> None:
        if value_size < _HEADER.size:
            raise ValueError(f"value_size is {value_size}; a verifiable value takes at least {_HEADER.size} bytes")
        self.findings = Findings()
        self._fill = bytes(i % 251 for i in range(value_size - _HEADER.size))
        self._version = [0] * keys
        self._serial = [0] * keys
        self._present = [False] * keys
        self._issued = [0] * keys
        self._doubtful: dict[int, set[int]] = {}
        """Serials of the writes to a key that may still take effect; 0: a delete."""
        self._removals_begun = [0] * keys
        self._removals_ended = [0] * keys

    def __len__(self) -> int:
        return len(self._version)

    def value(self, index: int, serial: int) -> bytes:
        """The value of the `serial`-th write to key `index`; it tells both when read back."""
        return _HEADER.pack(index, serial) + self._fill

    def next_value(self, index: int) -> tuple[int, bytes]:
        """Serial and value of the next write to key `index`; no serial is given twice."""
        serial = self._issued[index] = self._issued[index] + 1
        return serial, self.value(index, serial)

    def version(self, index: int) -> int:
        """The row's version as last acknowledged; 0 when there is no row."""
        return self._version[index] if self._present[index] else 0

    def wrote(self, index: int, serial: int, version: int) -> None:
        """A put was acknowledged."""
        if version <= self._version[index]:
            self.findings.add(
                "wrong_reads", f"key {index}: write {serial} got version {version} after {self._version[index]}"
            )
        self._version[index], self._serial[index] = max(version, self._version[index]), serial
        self._issued[index] = max(serial, self._issued[index])
        self._present[index] = True

    def removing(self, index: int) -> None:
        """A delete is about to be sent."""
        self._removals_begun[index] += 1

    def removed(self, index: int, version: int | None) -> None:
        """A delete was acknowledged; `version` is None when it found no row."""
        if version is None:
            if self._present[index] and not self._may_be_removed(index):
                self.findings.add("lost_writes", f"key {index}: a delete found no row, version {self._version[index]}")
        elif version <= self._version[index]:
            self.findings.add("wrong_reads", f"key {index}: delete got version {version} after {self._version[index]}")
        else:
            self._version[index] = version
        self._present[index] = False
        self._removals_ended[index] += 1

    def in_doubt(self, index: int, serial: int) -> None:
        """A write failed in a way that leaves open whether it was applied, or will be; `serial` is 0 for a delete."""
        self._doubtful.setdefault(index, set()).add(serial)
        self._issued[index] = max(serial, self._issued[index])

    def refused(self, index: int, current: int) -> None:
        """A write on condition of the version last acknowledged was refused: the row has version `current`.

        Only a write in doubt can have changed it.
        """
        if index not in self._doubtful:
            kind = "lost_writes" if current < self._version[index] else "wrong_reads"
            self.findings.add(
                kind, f"key {index}: refused as version {current}; {self._version[index]} was acknowledged"
            )

    def check_own(self, index: int, row: tuple[bytes, int] | None) -> None:
        """A read by the key's only writer, with no write under way: it must be exactly the last acknowledged state."""
        if row is None:
            if self._present[index] and self._may_be_removed(index):
                self._present[index] = False
            elif self._present[index]:
                self.findings.add(
                    "lost_writes", f"key {index}: no row; version {self._version[index]} was acknowledged"
                )
            return
        value, version = row
        if self._present[index] and version == self._version[index] and value == self.value(index, self._serial[index]):
            return
        if version > self._version[index] and self._took_effect(index, value):
            self._version[index], self._present[index] = version, True
        elif not self._present[index]:
            self.findings.add("wrong_reads", f"key {index}: version {version} though it was deleted")
        elif version < self._version[index]:
            self.findings.add("lost_writes", f"key {index}: version {version}; {self._version[index]} was acknowledged")
        else:
            self.findings.add("wrong_reads", f"key {index}: another row than the one written, version {version}")

    def _may_be_removed(self, index: int) -> bool:
        return 0 in self._doubtful.get(index, ())

    def _took_effect(self, index: int, value: bytes) -> bool:
        """Whether a write in doubt wrote this; if so it is the key's latest."""
        serials = self._doubtful.get(index, set())
        for serial in serials:
            if serial and value == self.value(index, serial):
                serials.discard(serial)
                self._serial[index] = serial
                return True
        return False

    def floor(self, index: int) -> Floor:
        """What is known of the key now; taken before a read by another task is sent."""
        return Floor(self._version[index], self._present[index], self._removals_ended[index])

    def check_other(self, index: int, floor: Floor, row: tuple[bytes, int] | None) -> None:
        """A read by any task, sent when `floor` held."""
        if row is None:
            # A delete that was under way when the read was sent, or has begun since, may have come first.
            if self._may_be_removed(index):
                return
            if floor.present and self._removals_begun[index] == floor.removals_ended:
                self.findings.add("wrong_reads", f"key {index}: no row; version {floor.version} was there before")
            return
        value, version = row
        if version < floor.version:
            self.findings.add("wrong_reads", f"key {index}: version {version} after {floor.version}: back in time")
        elif len(value) != _HEADER.size + len(self._fill) or _HEADER.unpack_from(value)[0] != index:
            self.findings.add("wrong_reads", f"key {index}: the row of another key")

"""What must hold at every step, and the history of the clients that it is judged by.

A  What was acknowledged, or read, is never unsaid: whoever accepts writes for a key holds its latest acknowledged
   write, or one that came after it.
B  At most one worker accepts writes for a key, whatever the epoch.
C  The overlay of the Partitions by epoch gives every key at most one owner, and one for ever once it was served.
D  Reads and writes of a key are linearizable: no read is older than what was acknowledged or read before it began.
F  No write is applied twice, however often it was sent, and a version is given to one write of a key only.

E is checked at the end, by `world`: every Assignment ends, and workers hold what the objects say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from dstk.api import KeyRange, Partition
from dstk.api.span import span_of
from dstk.span import Span

from .pod import Pod

__all__ = ["KEYS", "KEY_LENGTH", "Broken", "Checker", "span_of_partition"]

KEY_LENGTH = 1
KEYS = tuple(letter.encode() for letter in "acegjln")


class Broken(AssertionError):
    """A promise was broken."""


@cache
def _span(start: str, end: str) -> Span:
    return span_of(KeyRange(start=start, end=end), KEY_LENGTH)


def span_of_partition(partition: Partition) -> Span:
    return _span(partition.spec.range.start, partition.spec.range.end)


class Checker:
    """Told of all that clients and workers do. ``check`` raises Broken."""

    def __init__(
        self, pods: Mapping[str, Pod], zombies: Mapping[str, Pod], partitions: Mapping[str, Partition]
    ) -> None:
        self._pods = pods
        self._zombies = zombies
        self._partitions = partitions
        self._last = 0
        self._applied: dict[int, int] = {}
        """Writes that were applied and not lost since: how often the key's rows had been lost by then."""
        self._order: dict[bytes, dict[int, int]] = {key: {0: 0} for key in KEYS}
        """When each value of a key was applied, in order; 0 stands for no row."""
        self._floor = dict.fromkeys(KEYS, 0)
        """The latest that was acknowledged or read."""
        self._losses = dict.fromkeys(KEYS, 0)
        """How often the key's rows were lost with their worker."""
        self._executed: dict[int, tuple[bytes, int, int]] = {}
        self._versions: dict[bytes, dict[int, int]] = {key: {} for key in KEYS}
        self._served: set[bytes] = set()
        self._suspects: set[bytes] = set(KEYS)
        self._is_set_back = False
        self.acknowledged = 0
        self.read = 0

    # History

    def writes(self, number: int, key: bytes, value: int) -> None:
        """A worker has applied a write."""
        order = self._order[key]
        if self._applied.get(value) == self._losses[key]:
            raise Broken(f"F: write {value} of {key!r} was applied twice")
        self._applied[value] = self._losses[key]
        self._last += 1
        order[value] = self._last
        self._executed[number] = key, value, self._losses[key]
        self._suspects.add(key)

    def reads(self, number: int, key: bytes, value: int) -> None:
        """A worker has read a key."""
        self._not_older(key, value, "D", "a read")
        self._executed[number] = key, value, self._losses[key]

    def answered(self, number: int, version: int, wrote: bool) -> None:
        """A client has its answer: what it says holds from now on."""
        key, value, losses = self._executed.pop(number)
        if losses != self._losses[key]:
            return
        self._floor[key] = max(self._floor[key], self._order[key][value])
        self._suspects.add(key)
        if wrote:
            self.acknowledged += 1
            if self._versions[key].setdefault(version, value) != value:
                raise Broken(f"F: version {version} of {key!r} was given twice")
        else:
            self.read += 1

    def _not_older(self, key: bytes, value: int, promise: str, who: str) -> None:
        order, floor = self._order[key], self._floor[key]
        if order[value] < floor:
            latest = next(each for each, at in order.items() if at == floor)
            raise Broken(f"{promise}: {who} of {key!r} has {value}, though {latest} was acknowledged or read")

    def unwritten(self, value: int) -> None:
        """A write was lost with a worker that had not acknowledged it: it may be applied again."""
        self._applied.pop(value, None)

    def lost(self, pod: Pod, vanishing: bool) -> None:
        """A worker that keeps nothing on disk has died: what nobody else has, nothing was promised to outlive it."""
        for key in KEYS:
            part = pod.find(key)
            owner = self.owner(key)
            owns = owner is not None and owner.spec.primary == pod.name
            if part is None or part.role == "proxy" or (vanishing and not owns):
                continue
            if vanishing or (owns and part.role == "primary") or not self._survives(key, owner):
                self._losses[key] += 1
                self._floor[key] = 0
                self._served.discard(key)
        self.suspect_all()

    def given_away(self, old: Partition, new: Partition) -> None:
        """A partition is given to a life that has not got its rows: those who have them may serve no more."""
        name = new.spec.primary or ""
        for key in KEYS:
            if not span_of_partition(old).holds(key):
                continue
            after = self._pods.get(name)
            copy = after.find(key) if after is not None else None
            if copy is not None and copy.partition == new.metadata.name and (copy.caught_up or copy.role == "primary"):
                continue
            holders = (pods.get(old.spec.primary or "") for pods in (self._pods, self._zombies))
            rows = [row for pod in holders if pod is not None and (row := pod.find(key)) is not None]
            if any(row.role == "primary" for row in rows) and not any(row.accepts for row in rows):
                self._losses[key] += 1
                self._floor[key] = 0

    def accepted(self, partition: Partition) -> None:
        """Somebody has said yes to the loss of its rows."""
        for key in KEYS:
            if span_of_partition(partition).holds(key):
                self._losses[key] += 1
                self._floor[key] = 0

    def set_back(self) -> None:
        """What the API server has is older than what was: of owners it says what once was true."""
        self._is_set_back = True

    def _survives(self, key: bytes, owner: Partition | None) -> bool:
        """Whether a primary, or the copy of the one that is to be it, has all of the key that was acknowledged."""
        for pod in self._pods.values():
            part = pod.find(key)
            if part is None or not pod.alive:
                continue
            owns = owner is not None and owner.spec.primary == pod.name
            at = self._order[key].get(part.value, 0)
            if (part.role == "primary" or (owns and part.caught_up)) and at >= self._floor[key]:
                return True
        return False

    # State

    def suspect_all(self) -> None:
        self._suspects.update(KEYS)

    def covering(self, key: bytes) -> list[Partition]:
        """The Partitions that say something about the key, the one that counts first."""
        found = [
            each
            for each in self._partitions.values()
            if (each.spec.primary or not each.spec.proxy) and span_of_partition(each).holds(key)
        ]
        return sorted(found, key=lambda each: each.spec.epoch, reverse=True)

    def owner(self, key: bytes) -> Partition | None:
        found = self.covering(key)
        return found[0] if found and found[0].spec.primary else None

    def check(self) -> None:
        if not self._suspects:
            return
        suspects, self._suspects = self._suspects, set()
        for key in sorted(suspects):
            self._check(key)

    def _check(self, key: bytes) -> None:
        accepting = []
        for pod in (*self._pods.values(), *self._zombies.values()):
            if pod.alive:
                part = pod.find(key)
                if part is not None and part.accepts:
                    accepting.append((pod.name, part))
        if len(accepting) > 1:
            where = ", ".join(f"{name} ({part.partition} at epoch {part.epoch})" for name, part in accepting)
            raise Broken(f"B: {key!r} is accepted by {where}")
        for name, part in accepting:
            self._not_older(key, part.value, "A", name)
        if not self._is_set_back:
            self._check_owner(key, bool(accepting))

    def _check_owner(self, key: bytes, served: bool) -> None:
        found = self.covering(key)
        if len(found) > 1 and found[0].spec.primary and found[0].spec.epoch == found[1].spec.epoch:
            names = _names(found[:2])
            raise Broken(f"C: {key!r} has two owners in epoch {found[0].spec.epoch}: {names}")
        owned = bool(found and found[0].spec.primary)
        if owned and served:
            self._served.add(key)
        if not owned and key in self._served:
            raise Broken(f"C: {key!r} has lost its owner; {_names(found) or 'no Partition'} covers it")


def _names(partitions: Iterable[Partition]) -> str:
    return " and ".join(each.metadata.name for each in partitions)

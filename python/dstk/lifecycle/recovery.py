"""recover: what to do about what one worker holds, and what it should hold, where no Assignment is in charge.

It is asked when a worker connects, in whatever life, and after an Assignment has ended. Like decisions it is
level-triggered, and whatever it does may be done again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from dstk.api import Keyspace, Partition, PartitionPhase
from dstk.api.span import Span, span_of
from dstk.keys import format_bound
from dstk.lifecycle.actions import (
    Action,
    Command,
    Commit,
    CreatePartition,
    DeletePartition,
    Drop,
    Fence,
    Parallel,
    Promote,
    Proxy,
    Record,
    Release,
    Serve,
    SetPartitionStatus,
    Tell,
    Touch,
    Unfence,
)
from dstk.lifecycle.observed import PartView, WorkerView

__all__ = ["recover"]


def recover(
    partitions: Mapping[str, Partition],
    worker: WorkerView,
    keyspace: Keyspace,
    busy: Collection[str],
    addresses: Mapping[str, str] | None = None,
) -> list[Action]:
    """What has to be done so that `worker` holds what the objects say, and nothing else.

    `partitions`: every Partition of the keyspace that names the worker as primary or proxy, or that the
    worker holds; one that the worker holds and that is missing has no object. They are read before the
    worker is asked. `busy`: partitions that an unfinished Assignment touches, children and merged ones
    included: they are left to it. `addresses`: data plane by worker name. The result is one Parallel with a
    lane for each partition, or nothing.
    """
    return _Recovery(partitions, worker, keyspace, busy, addresses or {}).actions()


class _Recovery:
    def __init__(
        self,
        partitions: Mapping[str, Partition],
        worker: WorkerView,
        keyspace: Keyspace,
        busy: Collection[str],
        addresses: Mapping[str, str],
    ) -> None:
        self.worker = worker
        self.keyspace = keyspace
        self.addresses = addresses
        name = keyspace.metadata.name
        self.objects = {
            each: object_ for each, object_ in partitions.items() if each not in busy and object_.spec.keyspace == name
        }
        self.parts = {each: part for each, part in worker.parts.items() if each not in busy and part.keyspace == name}

    def actions(self) -> list[Action]:
        if not self.worker.reachable:
            return []
        lanes: list[tuple[Action, ...]] = []
        settled: set[str] = set()
        for name, part in sorted(self.parts.items()):
            if name not in self.objects and part.role == "primary":
                before = self._replaced_by(part)
                if before:
                    lanes.append(tuple(self._adopt(name, part, before, settled)))
                    settled.update(each.metadata.name for each in before)
        for name, object_ in sorted(self.objects.items()):
            if object_.spec.primary == self.worker.name and name not in settled:
                lanes.append(tuple(self._owned(object_, self.parts.get(name))))
        for name, part in sorted(self.parts.items()):
            held_for = self.objects.get(name)
            if held_for is None or held_for.spec.primary != self.worker.name:
                lanes.append(tuple(self._foreign(name, part, held_for)))
        found = tuple(lane for lane in lanes if lane)
        return [Parallel(found)] if found else []

    # What a split or merge left behind when its Assignment went away between flip and objects

    def _replaced_by(self, part: PartView) -> list[Partition]:
        """Partitions of this worker that a primary without an object has taken the place of."""
        return [
            object_
            for name, object_ in self.objects.items()
            if name not in self.parts
            and object_.spec.primary == self.worker.name
            and object_.spec.epoch < part.epoch
            and self._span(object_).meets(Span(part.start, part.end))
        ]

    def _adopt(self, name: str, part: PartView, before: list[Partition], settled: set[str]) -> Iterator[Action]:
        start, end = format_bound(part.start), format_bound(part.end)
        worker, keyspace = self.worker, self.keyspace.metadata.name
        yield CreatePartition(name, keyspace, start, end, worker.name, part.epoch, worker.incarnation)
        message = f"{worker.name} serves it in place of {', '.join(each.metadata.name for each in before)}"
        yield Record("Normal", "Adopted", message, name)
        for object_ in before:
            # Only once nothing of it is left without another object: the next look deletes the rest.
            if object_.metadata.name not in settled and self._covered(object_, name):
                yield DeletePartition(object_.metadata.name, object_.metadata.uid)

    def _covered(self, object_: Partition, adopting: str) -> bool:
        """Whether newer primaries that have objects, `adopting` included, hold every key of it."""
        span, at = self._span(object_), self._span(object_).start
        newer = sorted(
            (part.start, part.end)
            for name, part in self.parts.items()
            if part.role == "primary" and part.epoch > object_.spec.epoch and (name == adopting or name in self.objects)
        )
        for start, end in newer:
            if start <= at and (not end or end > at):
                if not end or (span.end and end >= span.end):
                    return True
                at = end
        return False

    # What belongs to the worker

    def _owned(self, object_: Partition, part: PartView | None) -> Iterator[Action]:
        epoch, name = object_.spec.epoch, object_.metadata.name
        if part is None:
            yield from self._missing(object_)
        elif part.role == "primary" and part.epoch > epoch:
            # The object was set back, from a backup for instance: it catches up, so that no epoch is used
            # twice.
            yield self._patch(object_, part.epoch + 1)
            yield from self._serve(object_, part.epoch + 1)
        elif part.role == "primary":
            if part.epoch < epoch:
                yield from self._serve(object_, epoch)
            if part.fenced:
                yield self._tell(name, epoch, Fence())
                yield Touch(name, object_.metadata.resource_version)
                yield self._tell(name, epoch, Unfence())
            if part.epoch == epoch and self._unconfirmed(object_):
                yield from self._serve(object_, epoch)
        elif part.role == "following" and part.caught_up and part.epoch + 1 == epoch:
            # A move had committed when its Assignment went away: the copy was complete by then.
            yield self._tell(name, epoch, Promote(part.sequence, part.digest))
            yield SetPartitionStatus(name, PartitionPhase.READY, self.worker.incarnation)
        elif part.role == "disconnected":
            yield from self._serve(object_, epoch)

    def _missing(self, object_: Partition) -> Iterator[Action]:
        name, epoch = object_.metadata.name, object_.spec.epoch
        if object_.status.phase in (None, PartitionPhase.UNASSIGNED, PartitionPhase.LOADING):
            yield from self._serve(object_, epoch)
            return
        message = f"{self.worker.name} restarted and has not got its rows; it serves the range from empty"
        lost = Partition.DATA_LOST
        yield self._patch(object_, epoch + 1)
        yield SetPartitionStatus(name, PartitionPhase.UNAVAILABLE, "", lost, "WorkerRestarted", message)
        yield Record("Warning", lost, message, name)
        yield from self._serve(object_, epoch + 1)

    def _unconfirmed(self, object_: Partition) -> bool:
        return object_.status.phase != PartitionPhase.READY

    # What does not

    def _foreign(self, name: str, part: PartView, object_: Partition | None) -> Iterator[Action]:
        if part.role in ("loading", "following"):
            yield self._tell(name, part.epoch, Drop())
            return
        epoch = part.epoch if object_ is None else max(part.epoch, object_.spec.epoch)
        if part.role == "proxy":
            yield self._tell(name, epoch, Release())
            if object_ is not None and object_.spec.primary and object_.spec.proxy == self.worker.name:
                primary, version = object_.spec.primary, object_.metadata.resource_version
                yield Commit(name, version, primary, "", object_.spec.epoch)
            return
        owner = object_.spec.primary if object_ is not None else None
        if part.role == "primary" and owner and owner in self.addresses and epoch > part.epoch:
            # Somebody else owns it in a later epoch. It steps down, and is released at the next look. A
            # primary that nobody has followed in office is left alone: its rows may be the only ones.
            yield self._tell(name, epoch, Proxy(owner, self.addresses[owner]))

    # Speaking

    def _span(self, object_: Partition) -> Span:
        return span_of(object_.spec.range, self.keyspace.spec.key_length)

    def _patch(self, object_: Partition, epoch: int) -> Commit:
        meta = object_.metadata
        return Commit(meta.name, meta.resource_version, self.worker.name, object_.spec.proxy or "", epoch)

    def _serve(self, object_: Partition, epoch: int) -> Iterator[Action]:
        span = self._span(object_)
        command = Serve(span.start, span.end, self.keyspace.spec.key_length)
        yield self._tell(object_.metadata.name, epoch, command)
        yield SetPartitionStatus(object_.metadata.name, PartitionPhase.READY, self.worker.incarnation)

    def _tell(self, name: str, epoch: int, command: Command) -> Tell:
        worker = self.worker
        return Tell(worker.name, worker.incarnation, self.keyspace.metadata.name, name, epoch, command)

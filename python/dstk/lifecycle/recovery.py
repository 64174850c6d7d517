"""recover: what to do about what one worker holds, and what it should hold, where no Assignment is in charge.

It is asked when a worker connects, in whatever life, and after an Assignment has ended. Like decisions it is
level-triggered, and whatever it does may be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from dstk.api import Keyspace, OnLoss, Partition, PartitionPhase, child_name
from dstk.api.conditions import ConditionStatus, find
from dstk.api.losses import is_accepted
from dstk.api.span import range_of, span_of
from dstk.control.commands import Command, Drop, Fence, Promote, Proxy, Release, Unfence
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import (
    Action,
    Commit,
    CreatePartition,
    DeletePartition,
    Parallel,
    Record,
    SetPartitionStatus,
    Tell,
    Touch,
)
from dstk.lifecycle.availability import is_away
from dstk.lifecycle.children import epoch_after_loss, serve
from dstk.lifecycle.claims import Claim, unsettled
from dstk.lifecycle.disks import found_at, held_since, older_than
from dstk.lifecycle.fitness import misfit_part, what_to_do
from dstk.lifecycle.losses import DISK_OLDER, ROWS_MISSING, held_back, settled
from dstk.span import Span

__all__ = ["recover"]


def recover(
    partitions: Mapping[str, Partition],
    worker: WorkerView,
    keyspace: Keyspace,
    busy: Collection[str],
    addresses: Mapping[str, str] | None = None,
    overlapping: Overlapping | None = None,
    claims: Iterable[Claim] | None = None,
    unasked: Collection[str] = (),
) -> list[Action]:
    """What has to be done so that `worker` holds what the objects say, and nothing else.

    `partitions`: every Partition of the keyspace that names the worker as primary or proxy, or that the
    worker holds; one that the worker holds and that is missing has no object. They are read before the
    worker is asked. `busy`: partitions that an unfinished Assignment touches, children and merged ones
    included (``touched``), found out after the worker was asked: they are left to it. `addresses`: data plane
    by worker name. `overlapping`: every Partition with a key in a range. `claims`: what all workers that answer are
    primary of in the keyspace; None: they were not asked, as nothing is missing. `unasked`: workers that may hold what
    no object shows, since the objects may have been set back, and that do not answer: nothing is served from empty
    before. The result is one Parallel with a lane for each partition, or nothing. A lane has to be broken off as soon
    as its partition becomes busy.
    """
    return _Recovery(
        partitions, worker, keyspace, busy, addresses or {}, overlapping or _none, claims, unasked
    ).actions()


Overlapping = Callable[[bytes, bytes], Iterable[Partition]]


def _none(start: bytes, end: bytes) -> Iterable[Partition]:
    return ()


class _Recovery:
    def __init__(
        self,
        partitions: Mapping[str, Partition],
        worker: WorkerView,
        keyspace: Keyspace,
        busy: Collection[str],
        addresses: Mapping[str, str],
        overlapping: Overlapping,
        claims: Iterable[Claim] | None,
        unasked: Collection[str],
    ) -> None:
        self.worker = worker
        self.keyspace = keyspace
        self.addresses = addresses
        self.overlapping = overlapping
        self.claims = None if claims is None else list(claims)
        self.unasked = unasked
        name = keyspace.metadata.name
        self.busy = busy
        self.objects = {each: object_ for each, object_ in partitions.items() if object_.spec.keyspace == name}
        held = {each: part for each, part in worker.parts.items() if part.keyspace == name}
        self.misfits = {each: part for each, part in held.items() if misfit_part(keyspace, part)}
        self.parts = {each: part for each, part in held.items() if each not in self.misfits}

    def actions(self) -> list[Action]:
        if not self.worker.reachable:
            return []
        lanes: list[tuple[Action, ...]] = []
        for name in sorted({*self.objects, *self.parts, *self.misfits}.difference(self.busy)):
            object_, part = self.objects.get(name), self.parts.get(name)
            if (misfit := self.misfits.get(name)) is not None:
                lanes.append(tuple(self._set_aside(name, misfit, object_)))
            elif object_ is not None and object_.spec.primary == self.worker.name:
                lanes.append(tuple(self._owned(object_, part)))
            elif part is not None:
                lanes.append(tuple(self._foreign(name, part, object_)))
        found = tuple(lane for lane in lanes if lane)
        return [Parallel(found)] if found else []

    # What a split or merge left behind when its Assignment went away between flip and objects

    def _adopt(self, name: str, part: PartitionView) -> Iterator[Action]:
        """A primary without an object that has taken the place of Partitions of this worker gets one."""
        before = [object_.metadata.name for object_ in self._missing_here() if self._follows(part, object_)]
        before = sorted({*before, *self._outlived_by(name, part)})
        if before:
            range_ = range_of(part.span)
            worker, keyspace = self.worker, self.keyspace.metadata.name
            yield CreatePartition(
                name,
                keyspace,
                range_.start,
                range_.end,
                worker.name,
                part.epoch,
                worker.incarnation,
                found_at(worker, part.epoch),
            )
            yield Record("Normal", "Adopted", f"{worker.name} serves it in place of {', '.join(before)}", name)

    def _outlived_by(self, name: str, part: PartitionView) -> list[str]:
        """Partitions of other workers that it has taken the place of: nobody holds them, as every worker was asked."""
        if self.claims is None:
            return []
        held = {claim.name for claim in self.claims}
        over = list(self.overlapping(part.span.start, part.span.end))
        if any(each.metadata.name in held or each.spec.epoch >= part.epoch for each in over):
            return []
        return [each.metadata.name for each in over if each.metadata.name not in {name, *self.busy}]

    def _missing_here(self) -> Iterator[Partition]:
        for name, object_ in sorted(self.objects.items()):
            held = name in self.parts or name in self.misfits
            if not held and name not in self.busy and object_.spec.primary == self.worker.name:
                yield object_

    def _follows(self, part: PartitionView, object_: Partition) -> bool:
        """Whether the worker took keys of the Partition over into a newer one."""
        newer = part.role == "primary" and part.epoch > object_.spec.epoch
        return newer and self._span(object_).overlaps(part.span)

    def _covered(self, object_: Partition) -> bool:
        """Whether newer primaries that have objects hold every key of it, here or elsewhere."""
        newer = [
            part
            for name, part in self.parts.items()
            if self._follows(part, object_) and name in self.objects and self.objects[name].spec.epoch >= part.epoch
        ]
        spans = [part.span for part in newer] + self._outlived(object_)
        return not any(_gaps(spans, self._span(object_)))

    def _outlived(self, object_: Partition) -> list[Span]:
        """Where Partitions of later epochs lie over it, wherever they are: nobody is to serve it any more."""
        span = self._span(object_)
        return [
            self._span(each)
            for each in self.overlapping(span.start, span.end)
            if each.metadata.name != object_.metadata.name
            and each.spec.epoch > object_.spec.epoch
            and not each.spec.merged_away
        ]

    # What belongs to an earlier Keyspace of this name

    def _set_aside(self, name: str, part: PartitionView, object_: Partition | None) -> Iterator[Action]:
        """It is neither served nor thrown away: somebody has to say which of the two they want."""
        if not part.fenced:
            yield self._tell(name, part.epoch, Fence(part.fence_token + 1))
        if object_ is None or object_.spec.primary != self.worker.name:
            return
        if not _is_set_aside(object_):
            why = what_to_do(misfit_part(self.keyspace, part))
            message = f"what {self.worker.name} holds is not what is asked for: {why}"
            yield SetPartitionStatus(name, PartitionPhase.UNAVAILABLE, "", Partition.MISFIT, "OtherKeyspace", message)
            yield Record("Warning", Partition.MISFIT, message, name)

    # What belongs to the worker

    def _owned(self, object_: Partition, part: PartitionView | None) -> Iterator[Action]:
        epoch, name = object_.spec.epoch, object_.metadata.name
        if part is None and self._is_claimed(object_):
            return
        heirs = {each for each, held in self.parts.items() if self._follows(held, object_)} if part is None else set()
        if heirs:
            if self._covered(object_):
                yield DeletePartition(name, object_.metadata.uid)
            elif heirs <= self.objects.keys() and (over := self._outlived(object_)):
                # It was cut, and some of what came of that was lost before it had an object.
                yield from self._replace(object_, over)
        elif part is None and (over := self._outlived(object_)):
            # What a split or merge has left, or a late request has brought back.
            yield from self._replace(object_, over)
        elif part is None:
            yield from self._missing(object_)
        elif self.keyspace.spec.durable and (why := older_than(object_, part, self.worker)):
            yield from self._older(object_, part, why)
        elif part.role == "primary" and part.epoch > epoch:
            # The object was set back, from a backup for instance: it catches up, so that no epoch is used
            # twice.
            yield self._patch(object_, part.epoch + 1)
            yield from self._serve(object_, part.epoch + 1)
        elif part.role == "primary":
            if part.epoch < epoch:
                yield from self._serve(object_, epoch)
            if part.fenced:
                token = part.fence_token + 1
                yield self._tell(name, epoch, Fence(token))
                yield Touch(name, object_.metadata.resource_version)
                yield self._tell(name, epoch, Unfence(token))
            if part.epoch == epoch and self._unconfirmed(object_):
                yield from self._serve(object_, epoch)
            if part.epoch == epoch:
                yield from settled(object_, self.worker.incarnation, self.keyspace.spec.durable)
        elif part.role == "following" and part.caught_up and part.epoch + 1 == epoch:
            # A move had committed when its Assignment went away: the copy was complete by then.
            yield self._tell(name, epoch, Promote(part.sequence, part.digest))
            yield SetPartitionStatus(name, PartitionPhase.READY, self.worker.incarnation)
        elif part.role == "disconnected":
            yield from self._serve(object_, epoch)

    def _is_claimed(self, object_: Partition) -> bool:
        """Whether others hold keys of it that no object shows: they get theirs first."""
        span = self._span(object_)
        over = self.overlapping(span.start, span.end)
        claims = [claim for claim in self.claims or () if claim.worker != self.worker.name]
        return bool(unsettled(claims, object_.metadata.name, span, object_.spec.epoch, over))

    def _seek(self, object_: Partition) -> Iterator[Action]:
        """Say that it waits for somebody who may hold it."""
        if object_.status.phase is not PartitionPhase.UNAVAILABLE:
            name, silent = object_.metadata.name, ", ".join(sorted(self.unasked))
            yield SetPartitionStatus(name, PartitionPhase.UNAVAILABLE)
            message = f"{silent} may have rows of it, and does not answer; it is served once that is known"
            yield Record("Warning", "HolderSought", message, name)

    def _missing(self, object_: Partition) -> Iterator[Action]:
        if self.unasked:
            yield from self._seek(object_)
            return
        name, epoch = object_.metadata.name, epoch_after_loss(object_.spec.epoch)
        never = (None, PartitionPhase.UNASSIGNED, PartitionPhase.LOADING)
        why = older_than(object_, None, self.worker) if self.keyspace.spec.durable else ""
        if (object_.status.phase in never and not why) or _is_set_aside(object_):
            # Nobody has said that it was served; but an earlier life may have, in this epoch. With Disk the directory
            # that it was given to is the same, and would have it. Or what it held was of an earlier Keyspace, and was
            # given up as its condition says.
            yield self._patch(object_, epoch)
            yield from self._serve(object_, epoch)
            return
        held = self._held_back(object_, why)
        if held and not is_accepted(object_):
            yield from held_back(object_, ROWS_MISSING, held)
            return
        below = self._below(object_) if self.keyspace.spec.durable else []
        if below:
            yield from self._reach_back(object_, below)
            return
        lost = Partition.DATA_LOST
        message = f"{self.worker.name} restarted and has not got its rows; it serves the range from empty"
        yield self._begin(object_, epoch)
        if not held:
            yield SetPartitionStatus(name, PartitionPhase.UNAVAILABLE, "", lost, "WorkerRestarted", message)
            yield Record("Warning", lost, message, name)
        yield from self._serve(object_, epoch)

    def _below(self, object_: Partition) -> list[tuple[str, PartitionView]]:
        """What an older disk has of its keys, from before a split or merge: primaries that have no object any more."""
        span = self._span(object_)
        return [
            (name, part)
            for name, part in sorted(self.parts.items())
            if name not in self.objects and part.role == "primary" and part.span.overlaps(span)
        ]

    def _reach_back(self, object_: Partition, below: Iterable[tuple[str, PartitionView]]) -> Iterator[Action]:
        """Accepted: what the disk has gets its objects back, once the loss of all that was made of it is accepted.

        Those that it takes the place of go at the next look.
        """
        for name, part in below:
            above = [each for each in self.overlapping(part.span.start, part.span.end) if each.metadata.name != name]
            if not all(is_accepted(each) for each in (*above, object_)):
                continue
            range_ = range_of(part.span)
            epoch = epoch_after_loss(max(each.spec.epoch for each in (*above, object_)))
            worker, keyspace = self.worker, self.keyspace.metadata.name
            hold = held_since(part.epoch, worker.incarnation)
            yield CreatePartition(
                name, keyspace, range_.start, range_.end, worker.name, epoch, worker.incarnation, hold
            )
            yield Record("Warning", "ReachedBack", f"{name} is back, from before {object_.metadata.name}", name)

    def _older(self, object_: Partition, part: PartitionView, why: str) -> Iterator[Action]:
        """What the worker's disk has of it is not the latest: it waits for the right disk, or for somebody's yes."""
        name = object_.metadata.name
        if not is_accepted(object_):
            if part.role == "primary" and not part.fenced:
                yield self._tell(name, part.epoch, Fence(part.fence_token + 1))
            message = f"{why}; nothing of it is served: put the right volume back, or `dstk accept-loss {name}`"
            yield from held_back(object_, DISK_OLDER, message)
            return
        # Above all versions that were given out, and a new hold: from here on this is what the worker has to have.
        epoch = epoch_after_loss(max(object_.spec.epoch, part.epoch))
        yield self._begin(object_, epoch)
        if part.role == "proxy":
            yield self._tell(name, epoch, Release())
        elif part.role != "primary":
            yield self._tell(name, part.epoch, Drop())
        yield self._tell(name, epoch, serve(self.keyspace, self._span(object_)))

    def _replace(self, object_: Partition, over: Iterable[Span]) -> Iterator[Action]:
        """Of a partition that later ones lie over, what they leave becomes partitions of its own, and it goes."""
        gaps = list(_gaps(over, self._span(object_)))
        if gaps and self.unasked:
            yield from self._seek(object_)
            return
        meta, keyspace, epoch = object_.metadata, self.keyspace.metadata.name, object_.spec.epoch + 1
        yield Touch(meta.name, meta.resource_version)
        for gap in gaps:
            name = child_name(keyspace, [meta.name], gap.start, gap.end, epoch)
            range_ = range_of(gap)
            yield CreatePartition(
                name, keyspace, range_.start, range_.end, self.worker.name, epoch, self.worker.incarnation
            )
        yield DeletePartition(meta.name, meta.uid)

    def _held_back(self, object_: Partition, why: str) -> str:
        """Why a range whose rows are missing is not served from empty; "": it is."""
        spec, name, partition = self.keyspace.spec, self.worker.name, object_.metadata.name
        accept = f"`dstk accept-loss {partition}`"
        if spec.durable:
            why = why or f"{name} has not got the rows in its data directory"
            return f"{why}; nothing is served that was lost unawares: put the right volume back, or {accept}"
        if spec.on_loss is OnLoss.HOLD:
            return (
                f"{name} restarted and has not got its rows; it is served from empty after {accept}, or once onLoss is "
                "Recreate"
            )
        return ""

    def _unconfirmed(self, object_: Partition) -> bool:
        if is_away(object_) and object_.status.incarnation == self.worker.incarnation:
            return False  # it was only away: that it is back is said without it
        return object_.status.phase != PartitionPhase.READY

    # What does not

    def _foreign(self, name: str, part: PartitionView, object_: Partition | None) -> Iterator[Action]:
        if part.role in ("loading", "following"):
            if object_ is not None:
                # A move may have vanished with its commit under way: after this it fails, and the copy is of no use.
                yield Touch(name, object_.metadata.resource_version)
            yield self._tell(name, part.epoch, Drop())
            return
        if object_ is None and part.role == "primary":
            yield from self._adopt(name, part)
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

    def _begin(self, object_: Partition, epoch: int) -> Commit:
        """The same where what the worker held before counts no more."""
        meta, worker = object_.metadata, self.worker
        proxy, hold = object_.spec.proxy or "", held_since(epoch, worker.incarnation)
        return Commit(meta.name, meta.resource_version, worker.name, proxy, epoch, hold)

    def _serve(self, object_: Partition, epoch: int) -> Iterator[Action]:
        yield self._tell(object_.metadata.name, epoch, serve(self.keyspace, self._span(object_)))
        yield SetPartitionStatus(object_.metadata.name, PartitionPhase.READY, self.worker.incarnation)

    def _tell(self, name: str, epoch: int, command: Command) -> Tell:
        worker = self.worker
        return Tell(worker.name, worker.incarnation, self.keyspace.metadata.name, name, epoch, command)


def _is_set_aside(object_: Partition) -> bool:
    """Whether it says that its worker holds what is of an earlier Keyspace."""
    condition = find(object_.status.conditions, Partition.MISFIT)
    return condition is not None and condition.status is ConditionStatus.TRUE


def _gaps(spans: Iterable[Span], whole: Span) -> Iterator[Span]:
    """What the spans leave of `whole`."""
    at = whole.start
    for span in sorted(spans, key=lambda each: each.start):
        if at < span.start:
            yield Span(at, span.start)
        if not span.end or (whole.end and span.end >= whole.end):
            return
        at = max(at, span.end)
    yield Span(at, whole.end)

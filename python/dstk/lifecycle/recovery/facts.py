"""What recovery knows of a worker, and of one partition on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from dstk.api import Keyspace, Partition, PartitionPhase
from dstk.api.conditions import ConditionStatus, find
from dstk.api.span import span_of
from dstk.control.commands import Command
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Commit, Tell
from dstk.lifecycle.children import epoch_after_loss
from dstk.lifecycle.claims import Claim, unsettled
from dstk.lifecycle.disks import held_since, older_than
from dstk.lifecycle.fitness import misfit_part
from dstk.span import Span

__all__ = ["NOTHING", "Overlapping", "RecoveredPartition", "WorkerFacts", "gaps"]

NOTHING: Final = "nothing"
"""The worker does not hold the partition."""

Overlapping = Callable[[bytes, bytes], Iterable[Partition]]


def _none(start: bytes, end: bytes) -> Iterable[Partition]:
    return ()


class WorkerFacts:
    """One worker and one keyspace; the arguments are those of ``recover``."""

    def __init__(
        self,
        partitions: Mapping[str, Partition],
        worker: WorkerView,
        keyspace: Keyspace,
        busy: Collection[str],
        addresses: Mapping[str, str],
        overlapping: Overlapping | None,
        claims: Iterable[Claim] | None,
        unasked: Collection[str],
    ) -> None:
        name = keyspace.metadata.name
        self.worker = worker
        self.keyspace = keyspace
        self.busy = busy
        self.addresses = addresses
        self.overlapping = overlapping or _none
        self.claims = None if claims is None else list(claims)
        self.unasked = unasked
        self.objects = {each: object_ for each, object_ in partitions.items() if object_.spec.keyspace == name}
        held = {each: part for each, part in worker.parts.items() if part.keyspace == name}
        self.misfits = {each: part for each, part in held.items() if misfit_part(keyspace, part)}
        self.parts = {each: part for each, part in held.items() if each not in self.misfits}

    @property
    def names(self) -> list[str]:
        """Partitions that are to be looked at."""
        return sorted({*self.objects, *self.parts, *self.misfits}.difference(self.busy))

    def span(self, partition: Partition) -> Span:
        """The keys of a Partition of the keyspace. Raises InvalidRequest for bounds that do not fit it."""
        return span_of(partition.spec.range, self.keyspace.spec.key_length)

    def follows(self, part: PartitionView, partition: Partition) -> bool:
        """Whether the worker took keys of the Partition over into a newer one."""
        newer = part.role == "primary" and part.epoch > partition.spec.epoch
        return newer and self.span(partition).overlaps(part.span)

    def missing(self) -> Iterator[Partition]:
        """Partitions of this worker that it does not hold."""
        for name, partition in sorted(self.objects.items()):
            held = name in self.parts or name in self.misfits
            if not held and name not in self.busy and partition.spec.primary == self.worker.name:
                yield partition


class RecoveredPartition:
    """One partition on one worker: what its object says, and what the worker holds of it.

    `object`: None without one. `held`: None where the worker does not hold it.
    """

    def __init__(self, facts: WorkerFacts, name: str) -> None:
        self.facts = facts
        self.name = name
        self.worker = facts.worker
        self.keyspace = facts.keyspace
        self.durable = facts.keyspace.spec.durable
        self.object = facts.objects.get(name)
        self.misfit = facts.misfits.get(name)
        self.held = self.misfit or facts.parts.get(name)

    @property
    def is_owned(self) -> bool:
        """Whether the object says that this worker is the primary."""
        return self.object is not None and self.object.spec.primary == self.worker.name

    @property
    def partition(self) -> Partition:
        """The object, where a guard has seen to it that there is one."""
        assert self.object is not None
        return self.object

    @property
    def part(self) -> PartitionView:
        """What is held, where the row is for something held."""
        assert self.held is not None
        return self.held

    @property
    def epoch(self) -> int:
        return self.partition.spec.epoch

    @cached_property
    def span(self) -> Span:
        return self.facts.span(self.partition)

    @cached_property
    def heirs(self) -> set[str]:
        """Partitions of this worker that have taken keys of it over."""
        return {name for name, part in self.facts.parts.items() if self.facts.follows(part, self.partition)}

    @cached_property
    def outlived(self) -> list[Span]:
        """Where Partitions of later epochs lie over it, wherever they are: nobody is to serve it any more."""
        return [
            self.facts.span(each)
            for each in self.facts.overlapping(self.span.start, self.span.end)
            if each.metadata.name != self.name and each.spec.epoch > self.epoch and not each.spec.merged_away
        ]

    @property
    def is_covered(self) -> bool:
        """Whether newer primaries that have objects hold every key of it, here or elsewhere."""
        objects, parts = self.facts.objects, self.facts.parts
        shown = [name for name in self.heirs if name in objects and objects[name].spec.epoch >= parts[name].epoch]
        spans = [parts[name].span for name in shown]
        return not any(gaps(spans + self.outlived, self.span))

    @property
    def is_claimed(self) -> bool:
        """Whether others hold keys of it that no object shows: they get theirs first."""
        over = self.facts.overlapping(self.span.start, self.span.end)
        claims = [claim for claim in self.facts.claims or () if claim.worker != self.worker.name]
        return bool(unsettled(claims, self.name, self.span, self.epoch, over))

    @cached_property
    def older(self) -> str:
        """Why what the worker's disk has of it is not the latest; "": it is, or there is no disk."""
        return older_than(self.partition, self.held, self.worker) if self.durable else ""

    @property
    def is_set_aside(self) -> bool:
        """Whether it says that its worker holds what is of an earlier Keyspace."""
        condition = find(self.partition.status.conditions, Partition.MISFIT)
        return condition is not None and condition.status is ConditionStatus.TRUE

    @property
    def was_served(self) -> bool:
        """Whether somebody has said so."""
        return self.partition.status.phase not in (None, PartitionPhase.UNASSIGNED, PartitionPhase.LOADING)

    @property
    def before(self) -> list[tuple[str, PartitionView]]:
        """What an older disk has of its keys, from before a split or merge: primaries that have no object any more."""
        return [
            (name, part)
            for name, part in sorted(self.facts.parts.items())
            if name not in self.facts.objects and part.role == "primary" and part.span.overlaps(self.span)
        ]

    @property
    def replaced(self) -> list[str]:
        """Of a primary without an object: Partitions that it has taken the place of."""
        mine = [each.metadata.name for each in self.facts.missing() if self.facts.follows(self.part, each)]
        return sorted({*mine, *self._outlived_elsewhere()})

    def _outlived_elsewhere(self) -> list[str]:
        """Partitions of other workers that it has taken the place of: nobody holds them, as every worker was asked."""
        if self.facts.claims is None:
            return []
        held = {claim.name for claim in self.facts.claims}
        over = list(self.facts.overlapping(self.part.span.start, self.part.span.end))
        if any(each.metadata.name in held or each.spec.epoch >= self.part.epoch for each in over):
            return []
        return [each.metadata.name for each in over if each.metadata.name not in {self.name, *self.facts.busy}]

    @property
    def above_loss(self) -> int:
        """The epoch in which it begins anew after its rows were lost."""
        return epoch_after_loss(self.epoch)

    # What is done

    def tell(self, epoch: int, command: Command) -> Tell:
        """A command to this worker."""
        worker = self.worker
        return Tell(worker.name, worker.incarnation, self.keyspace.metadata.name, self.name, epoch, command)

    def patch(self, epoch: int) -> Commit:
        """The object says this worker, in another epoch."""
        meta, proxy = self.partition.metadata, self.partition.spec.proxy or ""
        return Commit(meta.name, meta.resource_version, self.worker.name, proxy, epoch)

    def begin(self, epoch: int) -> Commit:
        """The same where what the worker held before counts no more."""
        meta, worker, proxy = self.partition.metadata, self.worker, self.partition.spec.proxy or ""
        hold = held_since(epoch, worker.incarnation)
        return Commit(meta.name, meta.resource_version, worker.name, proxy, epoch, hold)


def gaps(spans: Iterable[Span], whole: Span) -> Iterator[Span]:
    """What the spans leave of `whole`."""
    at = whole.start
    for span in sorted(spans, key=lambda each: each.start):
        if at < span.start:
            yield Span(at, span.start)
        if not span.end or (whole.end and span.end >= whole.end):
            return
        at = max(at, span.end)
    yield Span(at, whole.end)

"""repair: what to do about a Partition that somebody has edited or deleted, so that whoever has its rows serves them.

Anybody with the right to may write an object; who holds the rows nobody can write. So where no Assignment is in charge
and an object names another owner than the worker that is primary, the object is set right and not the worker emptied.
Pure, like all decisions here, and asked before ``recover``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dstk.api import Keyspace, Partition, PartitionPhase
from dstk.api.conditions import find
from dstk.api.span import range_of, span_of
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, Commit, CreatePartition, Record, SetPartitionStatus, Tell
from dstk.lifecycle.children import serve
from dstk.lifecycle.disks import found_at
from dstk.lifecycle.fitness import misfit_part

__all__ = ["Surroundings", "is_suspect", "repair", "settle"]

REPAIRED_SECONDS = 60.0
"""For so long at least a Partition says that it was repaired; the Event stays longer."""

Overlapping = Callable[[bytes, bytes], Iterable[Partition]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a repair has to know besides the object, found out after it was read.

    `views`: every worker that answers, with what it holds of the partition. `pods`: every worker pod there is.
    `silent`: UIDs of the pods that do not answer. `overlapping`: the Partitions with a key in a range.
    """

    views: Mapping[str, WorkerView]
    pods: Collection[str]
    silent: Collection[str]
    overlapping: Overlapping


def is_suspect(
    partition: Partition | None, worker: WorkerView, part: PartitionView | None, pods: Collection[str]
) -> bool:
    """Whether all the workers have to be asked, as the object and what this worker holds do not belong together."""
    serves = part is not None and part.role == "primary"
    if partition is None:
        return serves
    owner, proxy = partition.spec.primary, partition.spec.proxy
    if (owner == worker.name) is not serves and (serves or partition.spec.epoch > 0):
        return True
    if not proxy:
        return False
    return (owner == worker.name and proxy not in pods) or (proxy == worker.name and part is None)


def repair(
    partition: Partition | None, name: str, keyspace: Keyspace, around: Surroundings
) -> tuple[Action, ...] | None:
    """What sets the Partition right; () when it is to be left alone for now; None when nothing is wrong with it."""
    return _Repair(partition, name, keyspace, around).actions()


def settle(partition: Partition, repaired_seconds: float) -> tuple[Action, ...]:
    """What is to be done about a Partition with which nothing is wrong; `repaired_seconds`: since it was set right."""
    if find(partition.status.conditions, Partition.REPAIRED) is None or repaired_seconds < REPAIRED_SECONDS:
        return ()
    phase = partition.status.phase or PartitionPhase.READY
    return (SetPartitionStatus(partition.metadata.name, phase, over=Partition.REPAIRED),)


class _Repair:
    def __init__(self, partition: Partition | None, name: str, keyspace: Keyspace, around: Surroundings) -> None:
        self.partition = partition
        self.name = name
        self.keyspace = keyspace
        self.around = around
        claims = [(part.epoch, worker) for worker, part in self._parts() if part.role == "primary"]
        self.holder = max(claims, key=lambda claim: (claim[0], claim[1].name))[1] if claims else None

    def actions(self) -> tuple[Action, ...] | None:
        if self.holder is None:
            return () if self._last_owner_is_silent() else None
        held = self.holder.parts[self.name]
        if misfit_part(self.keyspace, held):
            return None  # It is of an earlier Keyspace of this name, which is not the object's fault.
        if self.partition is None:
            return tuple(self._create(self.holder, held)) or None
        if self.partition.spec.primary == self.holder.name:
            return tuple(self._clear_proxy(self.partition)) or None
        if self._belongs_to_the_owner(self.partition, held):
            return None
        return tuple(self._give_back(self.partition, self.holder, held))

    def _parts(self) -> Iterator[tuple[WorkerView, PartitionView]]:
        for worker in self.around.views.values():
            part = worker.parts.get(self.name)
            if part is not None and part.keyspace == self.keyspace.metadata.name:
                yield worker, part

    def _last_owner_is_silent(self) -> bool:
        """The pod that was confirmed last is another one, and does not answer: it may have the rows."""
        if self.partition is None or not self.partition.status.was_served:
            return False
        owner = self.around.views.get(self.partition.spec.primary or "")
        pod, _, _ = self.partition.status.incarnation.partition("/")
        return pod in self.around.silent and (owner is None or not owner.incarnation.startswith(pod + "/"))

    def _belongs_to_the_owner(self, partition: Partition, held: PartitionView) -> bool:
        """A move has committed, as far as can be known: the holder stands fenced since, or the owner serves."""
        owner = partition.spec.primary
        if owner is None:
            # Merged away: it passes requests on, and its rows are the merged partition's.
            return partition.spec.proxy is not None
        view = self.around.views.get(owner)
        if view is None:
            return owner in self.around.pods and held.fenced
        part = view.parts.get(self.name)
        if part is None:
            return False
        return part.epoch >= held.epoch if part.role == "primary" else held.fenced

    def _create(self, holder: WorkerView, held: PartitionView) -> Iterator[Action]:
        """The object as it was, unless others have its keys: then recovery knows what a split or merge has left."""
        if any(self.around.overlapping(held.span.start, held.span.end)):
            return
        range_ = range_of(held.span)
        keyspace, epoch = self.keyspace.metadata.name, held.epoch
        yield CreatePartition(
            self.name,
            keyspace,
            range_.start,
            range_.end,
            holder.name,
            epoch,
            holder.incarnation,
            found_at(holder, epoch),
        )
        # The Keyspace may be another than the one it was told of: its lease is the one to go by.
        yield self._serve(holder, held, epoch)
        yield from self._say(holder, "ObjectDeleted", f"it had no object; {holder.name} has its rows and serves on")

    def _give_back(self, partition: Partition, holder: WorkerView, held: PartitionView) -> Iterator[Action]:
        spec = partition.spec
        if span_of(spec.range, self.keyspace.spec.key_length) != held.span:
            message = (
                f"{holder.name} serves other keys under this name, {held.span}; give it another name, or that range"
            )
            yield Record("Warning", "NameHeld", message, self.name)
            return
        epoch = max(spec.epoch, *(part.epoch for _, part in self._parts())) + 1
        version = partition.metadata.resource_version
        yield Commit(self.name, version, holder.name, "", epoch, found_at(holder, held.epoch))
        yield self._serve(holder, held, epoch)
        named = f"primary was set to {spec.primary}" if spec.primary else "primary was taken away"
        message = f"{named}, by hand or from a backup; {holder.name} has the rows, serves on: move it by an Assignment"
        yield from self._say(holder, "PrimaryEdited", message)

    def _clear_proxy(self, partition: Partition) -> Iterator[Action]:
        spec, meta = partition.spec, partition.metadata
        proxy, holder = spec.proxy, self.holder
        assert holder is not None
        if not proxy or (proxy in self.around.pods and proxy not in self.around.views):
            return
        view = self.around.views.get(proxy)
        if view is not None and self.name in view.parts:
            return
        yield Commit(self.name, meta.resource_version, holder.name, "", spec.epoch)
        yield from self._say(holder, "ProxyEdited", f"{proxy} passes nothing on for it; proxy was taken away")

    def _serve(self, holder: WorkerView, held: PartitionView, epoch: int) -> Action:
        command = serve(self.keyspace, held.span)
        return Tell(holder.name, holder.incarnation, self.keyspace.metadata.name, self.name, epoch, command)

    def _say(self, holder: WorkerView, reason: str, message: str) -> Iterator[Action]:
        ready = PartitionPhase.READY
        yield SetPartitionStatus(self.name, ready, holder.incarnation, Partition.REPAIRED, reason, message)
        yield Record("Warning", reason, message, self.name)

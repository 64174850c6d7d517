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
from dstk.control.commands import Proxy, Release
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, Commit, CreatePartition, Record, SetPartitionStatus, Tell
from dstk.lifecycle.children import serve
from dstk.lifecycle.disks import found_at
from dstk.lifecycle.fitness import misfit_part
from dstk.lifecycle.recovery.facts import gaps
from dstk.lifecycle.transitions import Transitions, always, at, effect, guard
from dstk.span import Span

__all__ = ["REPAIRS", "Surroundings", "is_suspect", "repair", "settle"]

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
    facts = RepairedPartition(partition, name, keyspace, around)
    row = REPAIRS.pick(None, facts)
    found = tuple(action for effect in row.effects for action in effect.actions(facts))
    return found if found or row.waits_for else None


def settle(partition: Partition, repaired_seconds: float) -> tuple[Action, ...]:
    """What is to be done about a Partition with which nothing is wrong; `repaired_seconds`: since it was set right."""
    if find(partition.status.conditions, Partition.REPAIRED) is None or repaired_seconds < REPAIRED_SECONDS:
        return ()
    phase = partition.status.phase or PartitionPhase.READY
    return (SetPartitionStatus(partition.metadata.name, phase, over=Partition.REPAIRED),)


class RepairedPartition:
    """One Partition, and what the workers that answer hold of it; the arguments are those of ``repair``."""

    def __init__(self, partition: Partition | None, name: str, keyspace: Keyspace, around: Surroundings) -> None:
        self.object = partition
        self.name = name
        self.keyspace = keyspace
        self.around = around
        found = ((view, view.parts.get(name)) for view in around.views.values())
        mine = keyspace.metadata.name
        self.parts = [(view, part) for view, part in found if part is not None and part.keyspace == mine]
        claims = [(part.epoch, worker) for worker, part in self.parts if part.role == "primary"]
        self.primary = max(claims, key=lambda claim: (claim[0], claim[1].name))[1] if claims else None

    @property
    def partition(self) -> Partition:
        """The object, where a guard has seen to it that there is one."""
        assert self.object is not None
        return self.object

    @property
    def holder(self) -> WorkerView:
        """The worker that is its primary, in the latest epoch, where a guard has seen to it that there is one."""
        assert self.primary is not None
        return self.primary

    @property
    def held(self) -> PartitionView:
        return self.holder.parts[self.name]

    @property
    def heir(self) -> WorkerView | None:
        """Who serves some of its keys in a later epoch, on another worker that answers."""
        owners = (each.spec.primary or "" for each in self._later())
        found = (self.around.views.get(owner) for owner in owners if owner != self.holder.name)
        return next((view for view in found if view is not None), None)

    def _later(self) -> list[Partition]:
        span = self.held.span
        over = self.around.overlapping(span.start, span.end)
        ready = PartitionPhase.READY
        return [each for each in over if each.spec.epoch > self.held.epoch and each.status.phase is ready]

    def later_spans(self) -> list[Span]:
        """The ranges that were served in later epochs."""
        return [span_of(each.spec.range, self.keyspace.spec.key_length) for each in self._later()]

    def let_go(self) -> Iterator[Action]:
        """The holder holds it no longer: what it was asked is passed on to who has the keys now."""
        heir, holder, keyspace = self.heir, self.holder, self.keyspace.metadata.name
        assert heir is not None
        epoch = max(each.spec.epoch for each in self._later())
        yield Tell(holder.name, holder.incarnation, keyspace, self.name, epoch, Proxy(heir.name, heir.address))
        yield Tell(holder.name, holder.incarnation, keyspace, self.name, epoch, Release())

    def serve(self, epoch: int) -> Action:
        """The holder serves on, by the Keyspace as it is now: its lease is the one to go by."""
        holder, command = self.holder, serve(self.keyspace, self.held.span)
        return Tell(holder.name, holder.incarnation, self.keyspace.metadata.name, self.name, epoch, command)

    def say(self, reason: str, message: str) -> Iterator[Action]:
        """Why it was set right."""
        ready = PartitionPhase.READY
        yield SetPartitionStatus(self.name, ready, self.holder.incarnation, Partition.REPAIRED, reason, message)
        yield Record("Warning", reason, message, self.name)


@guard
def held(r: RepairedPartition) -> bool:
    """A worker that answers is its primary."""
    return r.primary is not None


@guard
def last_owner_silent(r: RepairedPartition) -> bool:
    """The pod that was confirmed last is another one, and does not answer: it may have the rows."""
    if r.object is None or not r.object.status.was_served:
        return False
    owner = r.around.views.get(r.object.spec.primary or "")
    pod, _, _ = r.object.status.incarnation.partition("/")
    return pod in r.around.silent and (owner is None or not owner.incarnation.startswith(pod + "/"))


@guard
def misfit(r: RepairedPartition) -> bool:
    """What is held is of an earlier Keyspace of this name, which is not the object's fault."""
    return bool(misfit_part(r.keyspace, r.held))


@guard
def no_object(r: RepairedPartition) -> bool:
    """Somebody has deleted it."""
    return r.object is None


@guard
def keys_of_others(r: RepairedPartition) -> bool:
    """Other Partitions have its keys: then recovery knows what a split or merge has left."""
    return any(r.around.overlapping(r.held.span.start, r.held.span.end))


@guard
def outlived(r: RepairedPartition) -> bool:
    """It stands fenced, and others were served on all its keys in later epochs: it comes from an older disk."""
    return r.held.fenced and r.heir is not None and not any(gaps(r.later_spans(), r.held.span))


@guard
def owner_holds(r: RepairedPartition) -> bool:
    """The object says the worker that has the rows."""
    return r.partition.spec.primary == r.holder.name


@guard
def proxy_gone(r: RepairedPartition) -> bool:
    """The worker that the object says passes requests on is gone, or answers that it does not."""
    proxy = r.partition.spec.proxy
    if not proxy or (proxy in r.around.pods and proxy not in r.around.views):
        return False
    view = r.around.views.get(proxy)
    return view is None or r.name not in view.parts


@guard
def moved(r: RepairedPartition) -> bool:
    """A move has committed, as far as can be known: the holder stands fenced since, or the owner serves."""
    owner = r.partition.spec.primary
    if owner is None:
        # Merged away: it passes requests on, and its rows are the merged partition's.
        return r.partition.spec.proxy is not None
    view = r.around.views.get(owner)
    if view is None:
        return owner in r.around.pods and r.held.fenced
    part = view.parts.get(r.name)
    if part is None:
        return False
    return part.epoch >= r.held.epoch if part.role == "primary" else r.held.fenced


@guard
def other_keys(r: RepairedPartition) -> bool:
    """What is held under its name has other bounds than the object."""
    return span_of(r.partition.spec.range, r.keyspace.spec.key_length) != r.held.span


@effect
def create(r: RepairedPartition) -> Iterator[Action]:
    """It gets an object as it was."""
    range_, holder, epoch, name = range_of(r.held.span), r.holder, r.held.epoch, r.keyspace.metadata.name
    hold = found_at(holder, epoch)
    yield CreatePartition(r.name, name, range_.start, range_.end, holder.name, epoch, holder.incarnation, hold)
    yield r.serve(epoch)
    yield from r.say("ObjectDeleted", f"it had no object; {holder.name} has its rows and serves on")


@effect
def let_go(r: RepairedPartition) -> Iterator[Action]:
    """Whoever has its keys now has had its rows."""
    return r.let_go()


@effect
def clear_proxy(r: RepairedPartition) -> Iterator[Action]:
    spec, meta = r.partition.spec, r.partition.metadata
    yield Commit(r.name, meta.resource_version, r.holder.name, "", spec.epoch)
    yield from r.say("ProxyEdited", f"{spec.proxy} passes nothing on for it; proxy was taken away")


@effect
def say_name_held(r: RepairedPartition) -> Iterator[Action]:
    """Only a person can say which of the two is meant."""
    message = f"{r.holder.name} serves other keys under this name, {r.held.span}; give it another name, or that range"
    yield Record("Warning", "NameHeld", message, r.name)


@effect
def give_back(r: RepairedPartition) -> Iterator[Action]:
    """The object says the worker that has the rows, above all epochs that anybody has."""
    spec, holder = r.partition.spec, r.holder
    epoch = max(spec.epoch, *(part.epoch for _, part in r.parts)) + 1
    version, hold = r.partition.metadata.resource_version, found_at(holder, r.held.epoch)
    yield Commit(r.name, version, holder.name, "", epoch, hold)
    yield r.serve(epoch)
    named = f"primary was set to {spec.primary}" if spec.primary else "primary was taken away"
    message = f"{named}, by hand or from a backup; {holder.name} has the rows, serves on: move it by an Assignment"
    yield from r.say("PrimaryEdited", message)


REPAIRS = Transitions(
    at(None).when(~held & last_owner_silent).wait("the last owner"),
    at(None).when(~held).stay(),
    at(None).when(misfit).stay(),
    at(None).when(no_object & outlived).do(let_go).stay(),
    at(None).when(no_object & keys_of_others).stay(),
    at(None).when(no_object).do(create).stay(),
    at(None).when(owner_holds & proxy_gone).do(clear_proxy).stay(),
    at(None).when(owner_holds | moved).stay(),
    at(None).when(other_keys).do(say_name_held).stay(),
    at(None).when(always).do(give_back).stay(),
)
"""Of a Partition that ``is_suspect``."""

"""The tables of recovery. The first row for what the worker holds whose guard holds is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dstk.api import OnLoss, Partition, PartitionPhase, child_name
from dstk.api.losses import is_accepted
from dstk.api.span import range_of
from dstk.control.commands import Drop, Fence, Promote, Proxy, Release, Unfence
from dstk.lifecycle.actions import (
    Action,
    Commit,
    CreatePartition,
    DeletePartition,
    Record,
    SetPartitionStatus,
    Touch,
)
from dstk.lifecycle.availability import is_away
from dstk.lifecycle.children import epoch_after_loss, serve
from dstk.lifecycle.disks import found_at, held_since
from dstk.lifecycle.fitness import misfit_part, what_to_do
from dstk.lifecycle.losses import DISK_OLDER, ROWS_MISSING, held_back, settled
from dstk.lifecycle.recovery.facts import NOTHING, RecoveredPartition, gaps
from dstk.lifecycle.transitions import Transitions, always, at, effect, guard

__all__ = ["FOREIGN", "OWNED"]

# What belongs to an earlier Keyspace of this name


@guard
def misfit(p: RecoveredPartition) -> bool:
    """What is held is of an earlier Keyspace of this name, with other immutable fields."""
    return p.misfit is not None


@effect
def set_aside(p: RecoveredPartition) -> Iterator[Action]:
    """It is neither served nor thrown away: somebody has to say which of the two they want."""
    if not p.part.fenced:
        yield p.tell(p.part.epoch, Fence(p.part.fence_token + 1))
    if p.is_owned and not p.is_set_aside:
        why = what_to_do(misfit_part(p.keyspace, p.part))
        message = f"what {p.worker.name} holds is not what is asked for: {why}"
        yield SetPartitionStatus(p.name, PartitionPhase.UNAVAILABLE, "", Partition.MISFIT, "OtherKeyspace", message)
        yield Record("Warning", Partition.MISFIT, message, p.name)


# What the worker has not got, though it is its own


@guard
def claimed(p: RecoveredPartition) -> bool:
    """Another worker holds keys of it that no object shows: that one gets its object first."""
    return p.is_claimed


@guard
def covered(p: RecoveredPartition) -> bool:
    """The worker has split or merged it, and all that came of that has objects."""
    return bool(p.heirs) and p.is_covered


@guard
def has_heirs(p: RecoveredPartition) -> bool:
    """The worker has split or merged it."""
    return bool(p.heirs)


@guard
def heirs_shown(p: RecoveredPartition) -> bool:
    """All that the worker holds of what came of it has objects."""
    return p.heirs <= p.facts.objects.keys()


@guard
def outlived(p: RecoveredPartition) -> bool:
    """Partitions of later epochs lie over it, here or elsewhere."""
    return bool(p.outlived)


@guard
def unasked(p: RecoveredPartition) -> bool:
    """A worker that may have rows of it does not answer."""
    return bool(p.facts.unasked)


@guard
def never_served(p: RecoveredPartition) -> bool:
    """Nobody has said that it was served, and its disk is not an older one; an earlier life may have served it in this
    epoch. With Disk the directory that it was given to is the same, and would have it."""
    return not p.was_served and not p.older


@guard
def given_up(p: RecoveredPartition) -> bool:
    """What was held of it was of an earlier Keyspace, and is gone as its condition asked for."""
    return p.is_set_aside


@guard
def accepted(p: RecoveredPartition) -> bool:
    """Somebody has accepted the loss of its rows."""
    return is_accepted(p.partition)


@guard
def loss_waits(p: RecoveredPartition) -> bool:
    """Its rows are on no disk that is there, or the Keyspace asks to hold what was lost."""
    return p.durable or p.keyspace.spec.on_loss is OnLoss.HOLD


@guard
def has_before(p: RecoveredPartition) -> bool:
    """The disk has what it was made of, from before a split or merge."""
    return p.durable and bool(p.before)


@effect
def delete(p: RecoveredPartition) -> Iterator[Action]:
    yield DeletePartition(p.name, p.partition.metadata.uid)


@effect
def replace(p: RecoveredPartition) -> Iterator[Action]:
    """What later Partitions leave of its keys becomes partitions of its own, and it goes; not before all are asked."""
    left = list(gaps(p.outlived, p.span))
    if left and p.facts.unasked:
        yield from seek.actions(p)
        return
    meta, keyspace, epoch, worker = p.partition.metadata, p.keyspace.metadata.name, p.epoch + 1, p.worker
    yield Touch(meta.name, meta.resource_version)
    for gap in left:
        name, range_ = child_name(keyspace, [meta.name], gap.start, gap.end, epoch), range_of(gap)
        yield CreatePartition(name, keyspace, range_.start, range_.end, worker.name, epoch, worker.incarnation)
    yield DeletePartition(meta.name, meta.uid)


@effect
def seek(p: RecoveredPartition) -> Iterator[Action]:
    """Say that it waits for somebody who may hold it."""
    if p.partition.status.phase is not PartitionPhase.UNAVAILABLE:
        yield SetPartitionStatus(p.name, PartitionPhase.UNAVAILABLE)
        silent = ", ".join(sorted(p.facts.unasked))
        message = f"{silent} may have rows of it, and does not answer; it is served once that is known"
        yield Record("Warning", "HolderSought", message, p.name)


@effect
def serve_empty(p: RecoveredPartition) -> Iterator[Action]:
    """It is served from empty, in an epoch above all that anybody may have used."""
    yield p.patch(p.above_loss)
    yield from _serve(p, p.above_loss)


@effect
def hold_back(p: RecoveredPartition) -> Iterator[Action]:
    """Say that its rows are missing, and that it is not served before somebody accepts that."""
    name, accept = p.worker.name, f"`dstk accept-loss {p.name}`"
    if p.durable:
        why = p.older or f"{name} has not got the rows in its data directory"
        message = f"{why}; nothing is served that was lost unawares: put the right volume back, or {accept}"
    else:
        message = (
            f"{name} restarted and has not got its rows; it is served from empty after {accept}, or once onLoss is "
            "Recreate"
        )
    yield from held_back(p.partition, ROWS_MISSING, message)


@effect
def reach_back(p: RecoveredPartition) -> Iterator[Action]:
    """What the disk has gets its objects back, once the loss of all that was made of it is accepted.

    Those that it takes the place of go at the next look.
    """
    worker, keyspace = p.worker, p.keyspace.metadata.name
    for name, part in p.before:
        over = p.facts.overlapping(part.span.start, part.span.end)
        above = [each for each in over if each.metadata.name != name]
        if not all(is_accepted(each) for each in (*above, p.partition)):
            continue
        range_, hold = range_of(part.span), held_since(part.epoch, worker.incarnation)
        epoch = epoch_after_loss(max(each.spec.epoch for each in (*above, p.partition)))
        yield CreatePartition(name, keyspace, range_.start, range_.end, worker.name, epoch, worker.incarnation, hold)
        yield Record("Warning", "ReachedBack", f"{name} is back, from before {p.name}", name)


@effect
def begin_anew(p: RecoveredPartition) -> Iterator[Action]:
    """It is served from empty, as its loss is accepted."""
    yield p.begin(p.above_loss)
    yield from _serve(p, p.above_loss)


@effect
def begin_lost(p: RecoveredPartition) -> Iterator[Action]:
    """It is served from empty at once, and says DataLost."""
    message, lost = (
        f"{p.worker.name} restarted and has not got its rows; it serves the range from empty",
        Partition.DATA_LOST,
    )
    yield p.begin(p.above_loss)
    yield SetPartitionStatus(p.name, PartitionPhase.UNAVAILABLE, "", lost, "WorkerRestarted", message)
    yield Record("Warning", lost, message, p.name)
    yield from _serve(p, p.above_loss)


# What the worker has, and is its own


@guard
def disk_older(p: RecoveredPartition) -> bool:
    """What the worker's disk has of it is not the latest."""
    return bool(p.older)


@guard
def object_behind(p: RecoveredPartition) -> bool:
    """The object was set back, from a backup for instance: the worker has a later epoch."""
    return p.part.epoch > p.epoch


@guard
def copy_complete(p: RecoveredPartition) -> bool:
    """A move had committed when its Assignment went away: the copy was complete by then."""
    return p.part.caught_up and p.part.epoch + 1 == p.epoch


@effect
def hold_older(p: RecoveredPartition) -> Iterator[Action]:
    """It waits for the right disk, or for somebody's yes."""
    if p.part.role == "primary" and not p.part.fenced:
        yield p.tell(p.part.epoch, Fence(p.part.fence_token + 1))
    accept = f"`dstk accept-loss {p.name}`"
    message = f"{p.older}; nothing of it is served: put the right volume back, or {accept}"
    yield from held_back(p.partition, DISK_OLDER, message)


@effect
def take_older(p: RecoveredPartition) -> Iterator[Action]:
    """From here on what the disk has counts: above all versions that were given out, and in a new hold."""
    epoch = epoch_after_loss(max(p.epoch, p.part.epoch))
    yield p.begin(epoch)
    if p.part.role == "proxy":
        yield p.tell(epoch, Release())
    elif p.part.role != "primary":
        yield p.tell(p.part.epoch, Drop())
    yield p.tell(epoch, serve(p.keyspace, p.span))


@effect
def catch_up_object(p: RecoveredPartition) -> Iterator[Action]:
    """The object is brought above it, so that no epoch is used twice."""
    yield p.patch(p.part.epoch + 1)
    yield from _serve(p, p.part.epoch + 1)


@effect
def catch_up_worker(p: RecoveredPartition) -> Iterator[Action]:
    """Where the worker has an older epoch than the object it is told."""
    if p.part.epoch < p.epoch:
        yield from _serve(p, p.epoch)


@effect
def lift_fence(p: RecoveredPartition) -> Iterator[Action]:
    """A fence that nobody is in charge of; a commit that is still under way fails from then on."""
    if p.part.fenced:
        token = p.part.fence_token + 1
        yield p.tell(p.epoch, Fence(token))
        yield Touch(p.name, p.partition.metadata.resource_version)
        yield p.tell(p.epoch, Unfence(token))


@effect
def confirm(p: RecoveredPartition) -> Iterator[Action]:
    """Where the object does not say that it is served in this life, it is, and does; losses that are over end."""
    if p.part.epoch != p.epoch:
        return
    status = p.partition.status
    # What was only away says without this that it is back.
    away = is_away(p.partition) and status.incarnation == p.worker.incarnation
    if status.phase != PartitionPhase.READY and not away:
        yield from _serve(p, p.epoch)
    yield from settled(p.partition, p.worker.incarnation, p.durable)


@effect
def promote(p: RecoveredPartition) -> Iterator[Action]:
    yield p.tell(p.epoch, Promote(p.part.sequence, p.part.digest))
    yield SetPartitionStatus(p.name, PartitionPhase.READY, p.worker.incarnation)


@effect
def serve_again(p: RecoveredPartition) -> Iterator[Action]:
    yield from _serve(p, p.epoch)


# What is not the worker's own


@guard
def no_object(p: RecoveredPartition) -> bool:
    """There is no Partition of that name."""
    return p.object is None


@guard
def owned_later(p: RecoveredPartition) -> bool:
    """Another worker, whose address is known, owns it in a later epoch. A primary that nobody has followed in office is
    left alone: its rows may be the only ones."""
    return p.partition.spec.primary in p.facts.addresses and p.epoch > p.part.epoch


@effect
def drop(p: RecoveredPartition) -> Iterator[Action]:
    """A move may have vanished with its commit under way: that fails after this, and the copy is of no use."""
    if p.object is not None:
        yield Touch(p.name, p.object.metadata.resource_version)
    yield p.tell(p.part.epoch, Drop())


@effect
def adopt(p: RecoveredPartition) -> Iterator[Action]:
    """A primary without an object gets one where it has taken the place of Partitions that nobody holds: its Assignment
    went away between flip and objects."""
    if replaced := p.replaced:
        range_, worker, keyspace = range_of(p.part.span), p.worker, p.keyspace.metadata.name
        hold, epoch = found_at(worker, p.part.epoch), p.part.epoch
        yield CreatePartition(p.name, keyspace, range_.start, range_.end, worker.name, epoch, worker.incarnation, hold)
        yield Record("Normal", "Adopted", f"{worker.name} serves it in place of {', '.join(replaced)}", p.name)


@effect
def release(p: RecoveredPartition) -> Iterator[Action]:
    """Nobody needs it to pass requests on any more, and the object says so."""
    yield p.tell(p.part.epoch if p.object is None else max(p.part.epoch, p.epoch), Release())
    if p.object is not None and p.object.spec.primary and p.object.spec.proxy == p.worker.name:
        yield Commit(p.name, p.object.metadata.resource_version, p.object.spec.primary, "", p.epoch)


@effect
def step_down(p: RecoveredPartition) -> Iterator[Action]:
    """It passes requests on, and is released at the next look."""
    owner = p.partition.spec.primary
    assert owner is not None
    yield p.tell(p.epoch, Proxy(owner, p.facts.addresses[owner]))


def _serve(p: RecoveredPartition, epoch: int) -> Iterable[Action]:
    yield p.tell(epoch, serve(p.keyspace, p.span))
    yield SetPartitionStatus(p.name, PartitionPhase.READY, p.worker.incarnation)


HELD = ("disconnected", "loading", "following", "primary", "proxy")


def missing() -> Any:
    """The worker does not hold it."""
    return at(NOTHING)


OWNED = Transitions(
    at(*HELD).when(misfit).do(set_aside).stay(),
    missing().when(claimed).wait("the worker that holds keys of it to get its object"),
    missing().when(covered).do(delete).stay(),
    missing().when(has_heirs & heirs_shown & outlived).do(replace).stay(),
    missing().when(has_heirs).wait("what came of it to get objects"),
    missing().when(outlived).do(replace).stay(),
    missing().when(unasked).do(seek).wait("all workers to answer"),
    missing().when(never_served | given_up).do(serve_empty).stay(),
    missing().when(loss_waits & ~accepted).do(hold_back).wait("somebody to accept the loss, or the right volume"),
    missing().when(has_before).do(reach_back).stay(),
    missing().when(loss_waits).do(begin_anew).stay(),
    missing().when(always).do(begin_lost).stay(),
    at(*HELD).when(disk_older & ~accepted).do(hold_older).wait("somebody to accept the loss, or the right volume"),
    at(*HELD).when(disk_older).do(take_older).stay(),
    at("primary").when(object_behind).do(catch_up_object).stay(),
    at("primary").when(always).do(catch_up_worker, lift_fence, confirm).stay(),
    at("following").when(copy_complete).do(promote).stay(),
    at("disconnected").when(always).do(serve_again).stay(),
    at(*HELD).when(always).wait("its Assignment"),
)
"""Of a Partition whose object names the worker as primary."""

FOREIGN = Transitions(
    at(*HELD).when(misfit).do(set_aside).stay(),
    at("loading", "following").when(always).do(drop).stay(),
    at("primary").when(no_object).do(adopt).stay(),
    at("proxy").when(always).do(release).stay(),
    at("primary").when(owned_later).do(step_down).stay(),
    at(NOTHING, *HELD).when(always).stay(),
)
"""Of what the worker holds, and no object says is its own."""

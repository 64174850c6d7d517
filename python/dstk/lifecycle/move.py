"""InterWorkerMove: a partition goes to another worker: it follows there, ownership flips, the source proxies.

Longer than 400 lines: an operation is read as one table, with the guards and effects that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dstk.api import MoveParams, MoveStatus, Partition, PartitionPhase, Progress, Role, Step
from dstk.control.commands import AwaitApplied, Drop, Fence, Follow, Promote, Proxy, Release
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, Record, SetPartitionStatus, Touch
from dstk.lifecycle.byhand import of_move
from dstk.lifecycle.operation import ADMISSION, Operation, cancelled, late, silent_for_long, uncertain
from dstk.lifecycle.transitions import Transitions, always, at, effect, guard

__all__ = ["Move"]

ROLES = {
    Step.LOADING: (Role.PRIMARY, Role.LOADING),
    Step.FOLLOWING: (Role.PRIMARY, Role.FOLLOWING),
    Step.PROXYING: (Role.PROXY, Role.PRIMARY),
    Step.COMPLETED: (Role.DISCONNECTED, Role.PRIMARY),
}
"""fromPod and toPod at each step."""


class Move(Operation):
    """Facts about a move."""

    field = "move"

    @property
    def params(self) -> MoveParams:
        params = self.assignment.spec.move_params
        assert params is not None
        return params

    @property
    def name(self) -> str:
        return self.params.partition

    @property
    def partition(self) -> Partition | None:
        return self.observed.partitions.get(self.name)

    @property
    def object(self) -> Partition:
        """The Partition, where a guard has seen to it that there is one."""
        assert self.partition is not None
        return self.partition

    @property
    def source(self) -> WorkerView:
        return self.worker(self.params.source)

    @property
    def destination(self) -> WorkerView:
        return self.worker(self.params.to)

    @property
    def workers(self) -> Sequence[WorkerView]:
        return (self.source, self.destination)

    @property
    def source_part(self) -> PartitionView | None:
        """The partition at the source, when the source answers."""
        return self.source.parts.get(self.name) if self.source.reachable else None

    @property
    def copy(self) -> PartitionView | None:
        """The partition at the destination, when the destination answers."""
        return self.destination.parts.get(self.name) if self.destination.reachable else None

    @property
    def fence_age(self) -> float:
        """Seconds since this driver fenced the source."""
        at = self.observed.memory.fenced_at
        return 0.0 if at is None else self.now - at

    def detail(self, step: Step, ended_badly: bool = False) -> MoveStatus:
        source, destination = (Role.PRIMARY, Role.DISCONNECTED) if ended_badly else ROLES[step]
        return MoveStatus(status=step, from_pod=source, to_pod=destination)

    def progress(self) -> Progress | None:
        old = self.assignment.status.progress or Progress()
        copy, source_part = self.copy, self.source_part
        rows, done, total, lag = old.rows_copied, old.bytes_copied, old.bytes_total, old.lag
        if copy is not None and copy.role in ("loading", "following"):
            rows, done, total, lag = copy.rows_copied, copy.bytes_copied, copy.bytes_total, copy.lag
        pause = old.write_pause_ms
        if source_part is not None and source_part.role == "proxy":
            lag, pause = 0, source_part.last_pause_seconds * 1000
        return Progress(rows_copied=rows, bytes_copied=done, bytes_total=total, lag=lag, write_pause_ms=pause)

    def wait_seconds(self) -> float:
        source_part = self.source_part
        if source_part is not None and source_part.fenced:
            return self.limits.fenced_wait_seconds
        if self.step is Step.PROXYING and source_part is not None:
            left = self.observed.keyspace.spec.proxy_seconds - source_part.quiet_seconds
            return min(max(left, self.limits.fenced_wait_seconds), 10 * self.limits.wait_seconds)
        return self.limits.wait_seconds

    def explain(self, reason: str) -> tuple[str, str]:
        source, to, limits = self.params.source, self.params.to, self.limits
        match reason:
            case "PartitionChanged":
                owner = self.partition.spec.primary if self.partition is not None else None
                said = f"belongs to {owner or 'nobody'}" if self.partition is not None else "has no object any more"
                return reason, f"{self.name} {said}; it was to move from {source} to {to}"
            case "SourceLost":
                return reason, f"{source} no longer holds {self.name}: its pod is gone or has restarted"
            case "DestinationLost":
                return reason, f"{to} no longer holds its copy of {self.name}; {source} serves on"
            case "BothLost":
                return reason, f"neither {source} nor {to} holds {self.name} any more: both restarted or are gone"
            case "DestinationSilent":
                limit = f"destination_silent_seconds ({limits.destination_silent_seconds:g} s)"
                return reason, f"{to} has not answered for {limit}; {source} serves on: name another worker"
            case "NoRoom":
                refused = self.observed.memory.refused
                told = self.copy.follow_error if self.copy is not None and self.copy.no_room else ""
                return reason, f"{told or (refused.message if refused is not None else '')}; {source} serves on"
            case "WorkerRefused":
                refused = self.observed.memory.refused
                return reason, f"{refused.message if refused is not None else to}; {source} serves on"
            case "FollowFailed":
                error = self.copy.follow_error if self.copy is not None else ""
                return reason, f"{to} could not follow {source} in {limits.follow_tries} tries; the last: {error}"
            case "FenceTimedOut":
                error = self.copy.follow_error if self.copy is not None else ""
                why = f"its stream broke, the last time by: {error}"
                if not error:
                    limit = f"fence_max_seconds ({limits.fence_max_seconds:g} s)"
                    why = f"{limit} were over; lower the write load or raise it"
                return reason, f"{to} did not catch up behind a fence, {limits.fence_tries} times: {why}"
            case "DigestMismatch":
                return reason, f"{to} has applied every write of {self.name} but its rows differ from {source}'s"
        return super().explain(reason)


# What can be seen


@guard
def moved(m: Move) -> bool:
    """The API server holds the destination as owner."""
    return m.partition is not None and m.partition.spec.primary == m.params.to


@guard
def owned_elsewhere(m: Move) -> bool:
    return m.partition is None or m.partition.spec.primary not in (m.params.source, m.params.to)


@guard
def source_silent(m: Move) -> bool:
    return m.is_silent(m.source)


@guard
def source_serves(m: Move) -> bool:
    return m.source_part is not None and m.source_part.role == "primary"


@guard
def source_behind(m: Move) -> bool:
    """The source is primary of an older epoch than the object's."""
    source_part, partition = m.source_part, m.partition
    return (
        source_part is not None
        and partition is not None
        and source_part.role == "primary"
        and source_part.epoch < partition.spec.epoch
    )


@guard
def object_outdated(m: Move) -> bool:
    """A worker was told of a later epoch than the object shows, which was read before another operator's commit."""
    parts = [part for part in (m.source_part, m.copy) if part is not None]
    return m.partition is not None and any(part.epoch > m.partition.spec.epoch for part in parts)


@guard
def source_open(m: Move) -> bool:
    """The source serves without a fence, which it does not after a commit of ours: somebody has set the owner."""
    return m.source_part is not None and m.source_part.role == "primary" and not m.source_part.fenced


@guard
def source_proxies(m: Move) -> bool:
    return m.source_part is not None and m.source_part.role == "proxy"


@guard
def destination_silent(m: Move) -> bool:
    return m.is_silent(m.destination)


@guard
def destination_silent_too_long(m: Move) -> bool:
    """It has not answered for destination_silent_seconds."""
    return m.silent_seconds(m.destination) >= m.limits.destination_silent_seconds


@guard
def no_room(m: Move) -> bool:
    """The destination has refused to follow for want of room, or its copy has ended for that."""
    refused = m.observed.memory.refused
    told = refused is not None and refused.no_room and refused.command is Follow
    return told or (m.copy is not None and m.copy.no_room)


@guard
def follow_refused(m: Move) -> bool:
    """The destination cannot follow this partition, however often it is told."""
    refused = m.observed.memory.refused
    return refused is not None and refused.lasting and refused.command is Follow


@guard
def destination_empty(m: Move) -> bool:
    return m.destination.reachable and m.copy is None


@guard
def destination_gone(m: Move) -> bool:
    return m.is_lost(m.destination)


@guard
def destination_stale(m: Move) -> bool:
    """It holds something of an earlier operation."""
    copy = m.copy
    if copy is None or m.partition is None:
        return False
    return copy.role not in ("loading", "following") or copy.epoch != m.partition.spec.epoch


@guard
def destination_serves(m: Move) -> bool:
    copy = m.copy
    return copy is not None and copy.role == "primary" and copy.epoch == m.object.spec.epoch


@guard
def destination_fenced(m: Move) -> bool:
    """It came back from its disk, and serves nothing before it is told that it may."""
    copy = m.copy
    return copy is not None and copy.role == "primary" and copy.epoch == m.object.spec.epoch and copy.fenced


@guard
def destination_follows(m: Move) -> bool:
    return m.copy is not None and m.copy.role in ("loading", "following")


@guard
def caught_up(m: Move) -> bool:
    return m.copy is not None and m.copy.caught_up and not m.copy.follow_error


@guard
def copy_complete(m: Move) -> bool:
    """It had caught up, whatever has come of the stream since."""
    return m.copy is not None and m.copy.caught_up


@guard
def copy_behind(m: Move) -> bool:
    """The source, which still serves, has writes that it has not."""
    copy, source_part = m.copy, m.source_part
    return (
        copy is not None
        and source_part is not None
        and source_part.role == "primary"
        and copy.sequence < source_part.sequence
    )


@guard
def lag_small(m: Move) -> bool:
    return m.copy is not None and m.copy.caught_up and m.copy.lag <= m.limits.fence_lag_writes


@guard
def stream_broken(m: Move) -> bool:
    return m.copy is not None and bool(m.copy.follow_error)


@guard
def stream_pause_over(m: Move) -> bool:
    at = m.observed.memory.followed_at
    return at is None or m.now - at >= m.limits.follow_retry_seconds


@guard
def stream_tries_used(m: Move) -> bool:
    return m.observed.memory.follow_tries >= m.limits.follow_tries


@guard
def fenced(m: Move) -> bool:
    return m.source_part is not None and m.source_part.fenced


@guard
def fence_is_ours(m: Move) -> bool:
    """The source has granted it to this driver, and nobody has been granted another since."""
    source_part, memory = m.source_part, m.observed.memory
    granted = source_part is not None and source_part.fence_token == memory.fence_token
    return granted and m.sealed(m.source) and memory.fenced_at is not None


@guard
def fence_too_long(m: Move) -> bool:
    return m.fence_age >= m.limits.fence_max_seconds


# A broken stream is not followed anew behind a fence: a copy can take longer than requests should be held.
fence_in_vain = (fence_too_long | stream_broken).named("fence_in_vain")


@guard
def fence_tries_used(m: Move) -> bool:
    return m.observed.memory.fence_tries >= m.limits.fence_tries


@guard
def fence_pause_over(m: Move) -> bool:
    at = m.observed.memory.unfenced_at
    return at is None or m.now - at >= m.limits.fence_retry_seconds


@guard
def same_sequence(m: Move) -> bool:
    copy, source_part = m.copy, m.source_part
    return copy is not None and source_part is not None and copy.caught_up and copy.sequence == source_part.sequence


@guard
def same_digest(m: Move) -> bool:
    return m.copy is not None and m.source_part is not None and m.copy.digest == m.source_part.digest


@guard
def quiet(m: Move) -> bool:
    """No stale client was passed on for keyspace.proxySeconds."""
    return m.source_part is not None and m.source_part.quiet_seconds >= m.observed.keyspace.spec.proxy_seconds


source_lost = (~source_silent & ~source_serves).named("source_lost")
destination_lost = (destination_gone | destination_empty).named("destination_lost")
drained = (same_sequence & same_digest).named("drained")
diverged = (same_sequence & ~same_digest).named("diverged")


# What can be done


@effect
def follow(m: Move) -> Iterable[Action]:
    yield _follow(m, m.object.spec.epoch)


def _follow(m: Move, epoch: int) -> Action:
    span, source = m.span(m.object), m.source
    command = Follow(
        span.start,
        span.end,
        m.key_length,
        source.name,
        source.address,
        source.incarnation,
        m.durable,
        m.lease_seconds,
        m.source_part.size if m.source_part is not None else 0,
    )
    return m.tell(m.destination, m.name, epoch, command)


@effect
def follow_on(m: Move) -> Iterable[Action]:
    """After the commit, from the source as it stands fenced, in its epoch."""
    assert m.source_part is not None
    yield _follow(m, m.source_part.epoch)


@effect
def clear_destination(m: Move) -> Iterable[Action]:
    copy = m.copy
    assert copy is not None
    if copy.role in ("loading", "following"):
        yield m.tell(m.destination, m.name, copy.epoch, Drop())
        return
    if copy.role == "primary":
        # A primary of an older epoch, which nobody routes to: it steps down before it forgets.
        command = Proxy(m.source.name, m.source.address)
        yield m.tell(m.destination, m.name, m.object.spec.epoch, command)
    yield m.tell(m.destination, m.name, m.object.spec.epoch, Release())


@effect
def fence(m: Move) -> Iterable[Action]:
    assert m.source_part is not None
    yield m.tell(m.source, m.name, m.object.spec.epoch, Fence(m.source_part.fence_token + 1))


@effect
def await_applied(m: Move) -> Iterable[Action]:
    assert m.source_part is not None
    left = max(0.0, m.limits.fence_max_seconds - m.fence_age)
    yield m.tell(m.destination, m.name, m.object.spec.epoch, AwaitApplied(m.source_part.sequence, left))


@effect
def commit(m: Move) -> Iterable[Action]:
    marks = of_move(m.assignment, m.object)
    yield m.patch(m.object, m.params.to, m.params.source, m.object.spec.epoch + 1, marks)


@effect
def promote(m: Move) -> Iterable[Action]:
    copy = m.copy
    assert copy is not None
    # The source's word counts as long as it stands fenced; afterwards the copy is what was compared before
    # the commit.
    truth = (
        m.source_part
        if m.source_part is not None and m.source_part.role == "primary" and m.source_part.fenced
        else copy
    )
    if copy.sequence != truth.sequence:
        left = m.limits.fence_max_seconds
        yield m.tell(m.destination, m.name, copy.epoch, AwaitApplied(truth.sequence, left))
    yield m.tell(m.destination, m.name, _epoch_after(m), Promote(truth.sequence, truth.digest))


@effect
def forward(m: Move) -> Iterable[Action]:
    if m.source_part is not None and m.source_part.role == "primary":
        command = Proxy(m.destination.name, m.destination.address)
        yield m.tell(m.source, m.name, _epoch_after(m), command)


@effect
def note_owner(m: Move) -> Iterable[Action]:
    yield SetPartitionStatus(m.name, PartitionPhase.READY, m.destination.incarnation)


def _epoch_after(m: Move) -> int:
    """The epoch in which the destination owns the partition, seen from before or after the commit."""
    epoch = m.object.spec.epoch
    return epoch if m.object.spec.primary == m.params.to else epoch + 1


@effect
def take_back(m: Move) -> Iterable[Action]:
    """The source is primary of the object's epoch first, still fenced: then a late call cannot make it a proxy."""
    source_part, epoch = m.source_part, m.object.spec.epoch
    if source_part is not None and source_part.epoch < epoch:
        yield m.serve(m.source, m.object, epoch)
    yield m.patch(m.object, primary=m.params.source, proxy="", epoch=epoch + 1, since=epoch)


@effect
def confirm_source(m: Move) -> Iterable[Action]:
    """The destination may have been told that it was primary, and have answered: nobody can know."""
    epoch, lost = m.object.spec.epoch, Partition.DATA_LOST
    yield m.serve(m.source, m.object, epoch)
    yield from m.lift(m.source, replace(m.source_part, epoch=epoch) if m.source_part is not None else None, m.object)
    message = f"{m.params.to} lost its copy after the commit, and any write that it had acknowledged by then"
    message += f"; {m.params.source} serves on"
    yield SetPartitionStatus(m.name, PartitionPhase.READY, m.source.incarnation, lost, "DestinationLost", message)
    yield Record("Warning", lost, message, m.name)


@effect
def unfence(m: Move) -> Iterable[Action]:
    return m.lift(m.source, m.source_part, m.object)


@effect
def unfence_destination(m: Move) -> Iterable[Action]:
    return m.lift(m.destination, m.copy, m.object)


@effect
def drop(m: Move) -> Iterable[Action]:
    """Where it cannot be told now, recovery drops it later."""
    copy = m.copy
    if copy is not None and copy.role in ("loading", "following"):
        yield m.tell(m.destination, m.name, copy.epoch, Drop())


@effect
def touch(m: Move) -> Iterable[Action]:
    """A commit that is still under way fails from then on; one that came before is seen."""
    yield Touch(m.name, m.object.metadata.resource_version)


@effect
def release(m: Move) -> Iterable[Action]:
    if m.source_part is not None and m.source_part.role == "proxy":
        yield m.tell(m.source, m.name, max(m.source_part.epoch, _epoch_of(m)), Release())


def _epoch_of(m: Move) -> int:
    return m.partition.spec.epoch if m.partition is not None else 0


@effect
def clear_proxy(m: Move) -> Iterable[Action]:
    if m.partition is not None and m.partition.spec.proxy == m.params.source:
        spec = m.partition.spec
        yield m.patch(m.partition, primary=spec.primary or "", proxy="", epoch=spec.epoch)


LOADING, FOLLOWING, PROXYING, COMPLETED = Step.LOADING, Step.FOLLOWING, Step.PROXYING, Step.COMPLETED


def before_commit() -> Any:
    """The steps at which the source is still the owner, unless the object says otherwise."""
    return at(LOADING, FOLLOWING)


Move.table = Transitions(
    *ADMISSION,
    # A commit may have happened: nothing is done before it is known.
    at(LOADING, FOLLOWING, PROXYING).when(uncertain).wait("the outcome of the commit"),
    # The commit has happened: only forward, or back by another commit when the destination lost everything.
    before_commit().when(moved & destination_serves & ~source_silent).do(forward, note_owner).go(PROXYING),
    before_commit().when(moved & source_open & ~destination_serves).do(take_back).stay(),
    before_commit().when(moved & destination_follows & stream_broken & copy_behind).do(follow_on).stay(),
    before_commit().when(moved & destination_follows & copy_complete).do(promote).stay(),
    before_commit().when(moved & destination_follows & stream_broken & source_serves).do(follow_on).stay(),
    before_commit().when(moved & destination_lost & source_serves).do(take_back).stay(),
    before_commit().when(moved & destination_lost & source_lost).do(release).abort("BothLost"),
    before_commit().when(moved & silent_for_long).stall("WorkerUnreachable"),
    before_commit().when(moved).wait("both workers"),
    # It has not: whatever goes wrong, the source serves on.
    before_commit().when(owned_elsewhere).do(drop).abort("PartitionChanged"),
    before_commit().when(object_outdated & ~late).wait("the object to show the latest commit"),
    before_commit().when(source_behind).do(confirm_source, drop).abort("DestinationLost"),
    before_commit().when(source_lost).do(touch, drop).abort("SourceLost"),
    before_commit().when(source_silent & silent_for_long).stall("WorkerUnreachable"),
    before_commit().when(source_silent).wait("the source"),
    before_commit().when(cancelled).do(unfence, drop).abort("Cancelled"),
    before_commit().when(late).do(unfence, drop).abort("DeadlineExceeded"),
    before_commit().when(destination_gone).do(unfence).abort("DestinationLost"),
    at(FOLLOWING).when(destination_empty).do(unfence).abort("DestinationLost"),
    before_commit().when(destination_silent_too_long).do(unfence).abort("DestinationSilent"),
    before_commit().when(no_room).do(unfence, drop).abort("NoRoom"),
    before_commit().when(follow_refused).do(unfence, drop).abort("WorkerRefused"),
    before_commit().when(stream_broken & stream_tries_used).do(unfence, drop).abort("FollowFailed"),
    # Load.
    at(LOADING).when(fenced).do(unfence).stay(),
    at(LOADING).when(destination_stale).do(clear_destination).stay(),
    at(LOADING).when(destination_empty).do(follow).stay(),
    # Flip.
    at(FOLLOWING).when(fenced & ~fence_is_ours).do(fence).stay(),
    at(FOLLOWING).when(fenced & drained).do(commit, promote, forward, note_owner).go(PROXYING),
    at(FOLLOWING).when(fenced & diverged).do(unfence, drop).abort("DigestMismatch"),
    at(FOLLOWING).when(fenced & fence_in_vain & fence_tries_used).do(unfence, drop).abort("FenceTimedOut"),
    at(FOLLOWING).when(fenced & fence_in_vain).do(unfence).stay(),
    at(FOLLOWING).when(fenced & caught_up).do(await_applied).stay(),
    at(FOLLOWING).when(fenced).wait("the destination"),
    # Follow.
    before_commit().when(stream_broken & stream_pause_over).do(follow).stay(),
    before_commit().when(stream_broken).wait("another try to follow"),
    at(LOADING).when(caught_up).go(FOLLOWING),
    at(FOLLOWING).when(lag_small & fence_pause_over).do(fence).stay(),
    before_commit().when(always).wait("the destination to catch up"),
    # Proxy, then forget.
    at(PROXYING).when(moved & destination_fenced).do(unfence_destination).stay(),
    at(PROXYING).when(source_serves & moved).do(forward).stay(),
    at(PROXYING).when(source_silent & late).do(clear_proxy).go(COMPLETED),
    at(PROXYING).when(source_silent & silent_for_long).stall("WorkerUnreachable"),
    at(PROXYING).when(source_silent).wait("the source"),
    at(PROXYING).when(~source_proxies).do(clear_proxy).go(COMPLETED),
    at(PROXYING).when(quiet | late | ~moved | destination_lost).do(release, clear_proxy).go(COMPLETED),
    at(PROXYING).when(always).wait("stale clients to learn the new address"),
)

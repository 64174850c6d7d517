"""What all operations have in common: the facts of one decision, who may begin, and how a status is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from dstk.api import Assignment, AssignmentPhase, AssignmentStatus, Partition, Progress, Step
from dstk.api.span import span_of
from dstk.control.commands import Command, Fence, Unfence
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle.actions import Action, Commit, Tell, Touch
from dstk.lifecycle.byhand import Annotations
from dstk.lifecycle.children import serve
from dstk.lifecycle.disks import held_since
from dstk.lifecycle.observed import Limits, Observed
from dstk.lifecycle.transitions import Guard, Row, Transitions, always, at, guard
from dstk.span import Span

__all__ = ["ADMISSION", "Operation", "cancelled", "late", "serving", "silent", "silent_for_long", "uncertain"]


class Operation(ABC):
    """The facts of one decision about one Assignment. Subclasses add those of their operation."""

    table: ClassVar[Transitions[Any]]
    field: ClassVar[str]
    """The field of `status` that belongs to the operation."""

    def __init__(self, observed: Observed, now: float) -> None:
        self.observed = observed
        self.now = now

    @property
    def assignment(self) -> Assignment:
        return self.observed.assignment

    @property
    def limits(self) -> Limits:
        return self.observed.limits

    @property
    def step(self) -> Step | None:
        """None before it has begun."""
        return self.assignment.status.step

    @property
    def started(self) -> float:
        """When it was first seen to have begun; now, when it is about to.

        Not `startedAt`, which another may have written, by a clock that was wrong.
        """
        at = self.observed.memory.begun_at
        return self.now if at is None else at

    @property
    def key_length(self) -> int:
        return self.observed.keyspace.spec.key_length

    @property
    def durable(self) -> bool:
        """Whether rows outlive the process that serves them."""
        return self.observed.keyspace.spec.durable

    @property
    def lease_seconds(self) -> float:
        """For how long a worker serves after the operator was heard; 0: for ever."""
        return self.observed.keyspace.spec.worker_lease

    @property
    @abstractmethod
    def workers(self) -> Sequence[WorkerView]:
        """The workers it cannot go on without."""

    @property
    def silent(self) -> Sequence[WorkerView]:
        """Those of them that do not answer and may come back with what they held."""
        return [worker for worker in self.workers if self.is_silent(worker)]

    @property
    def stalled_on(self) -> Sequence[WorkerView]:
        """Those of them that have not answered for so long that it is worth saying."""
        return [worker for worker in self.silent if self.silent_seconds(worker) >= self.limits.stall_seconds]

    def silent_seconds(self, worker: WorkerView) -> float:
        """For how long this driver has had no answer from it; 0 when it answers, or is lost."""
        since = self.observed.memory.silent_since
        return self.now - since.get(worker.name, self.now) if self.is_silent(worker) else 0.0

    @abstractmethod
    def detail(self, step: Step, ended_badly: bool = False) -> object:
        """What belongs under the operation's status field, in the seed's words."""

    def progress(self) -> Progress | None:
        """How much is done, as far as it is worth saying."""
        return None

    def note(self, step: Step | None) -> str:
        """A sentence for people about how it goes."""
        return ""

    def said(self, row: Row[Any], step: Step | None) -> str:
        """How it goes, on what it waits, and what a worker has refused that it goes on asking for."""
        waits = f"waits for {row.waits_for}" if row.waits_for else ""
        refused = self.observed.memory.refused
        return "; ".join(filter(None, (self.note(step), waits, refused.message if refused is not None else "")))

    def wait_seconds(self) -> float:
        """How long to wait at most where nothing tells that something has changed."""
        return self.limits.wait_seconds

    def explain(self, reason: str) -> tuple[str, str]:
        """Reason and message of an end or a stop for `reason`."""
        observed = self.observed
        match reason:
            case "Refused" if observed.refusal is not None:
                return observed.refusal.reason, observed.refusal.message
            case "Waiting":
                return reason, f"waits for {', '.join(observed.ahead)}, which came first and touches the same"
            case "Cancelled":
                return reason, "deleted before anything was committed; ownership is as it was"
            case "DeadlineExceeded":
                spent = self.now - self.started
                limit = self.limits.deadline_seconds
                return reason, f"not committed within {limit:g} s (ran for {spent:.0f} s); ownership is as it was"
            case "WorkerUnreachable":
                since = observed.memory.silent_since
                moments = {
                    worker.name: self.time_of_day(since.get(worker.name, self.now)) for worker in self.stalled_on
                }
                parts = [f"{name} has not answered since {moment:%H:%M:%SZ}" for name, moment in moments.items()]
                return reason, f"{'; '.join(parts)}; goes on when it answers, or when its pod is gone"
        return reason, ""

    def time_of_day(self, moment: float) -> datetime:
        """What a clock on the wall shows at a moment."""
        return datetime.fromtimestamp(moment - self.observed.ahead_of_day, UTC)

    # Reading

    def worker(self, name: str) -> WorkerView:
        """The worker of that name; one nobody knows counts as gone."""
        return self.observed.workers.get(name) or WorkerView(name, reachable=False, gone=True)

    def holder(self, names: Sequence[str]) -> str:
        """Who is primary of one of them, whatever the objects say; "": nobody that answers."""
        for worker in self.observed.workers.values():
            parts = (worker.parts.get(name) for name in names)
            if worker.reachable and any(part is not None and part.role == "primary" for part in parts):
                return worker.name
        return ""

    def is_lost(self, worker: WorkerView) -> bool:
        """Whether it does not answer and will not come back with what it held: its pod is gone, and so are the rows.
        With a lease that has to have run out: a pod can be gone before its process has ended."""
        lapse = lapse_seconds(self.lease_seconds)
        lost = lapse <= worker.unheard_seconds if lapse else worker.gone
        return not worker.reachable and lost and not self.durable

    def is_silent(self, worker: WorkerView) -> bool:
        """Whether it does not answer and may come back with what it held."""
        return not worker.reachable and not self.is_lost(worker)

    def span(self, partition: Partition) -> Span:
        return span_of(partition.spec.range, self.key_length)

    def sealed(self, worker: WorkerView) -> bool:
        """Whether this operator's term is the highest that the worker knows, so that it refuses older operators.

        A higher one means that this operator has been deposed: whatever it tells the worker will be refused.
        """
        return worker.term == self.observed.term

    # Speaking

    def tell(self, worker: WorkerView, partition: str, epoch: int, command: Command) -> Tell:
        keyspace = self.observed.keyspace.metadata.name
        return Tell(worker.name, worker.incarnation, keyspace, partition, epoch, command)

    def serve(self, worker: WorkerView, partition: Partition, epoch: int) -> Tell:
        command = serve(self.observed.keyspace, self.span(partition))
        return self.tell(worker, partition.metadata.name, epoch, command)

    def lift(self, worker: WorkerView, part: PartitionView | None, partition: Partition) -> Iterable[Action]:
        """Lift the fence so that no commit, of whichever operator, can come after it.

        The fence is first taken over, by this operator's term and a token of its own; then the object's
        resourceVersion moves on, which a commit under way does not survive; then requests run again. Nothing is
        done where no fence can be.
        """
        if part is None or (not part.fenced and self.sealed(worker)):
            return
        name, token = partition.metadata.name, part.fence_token + 1
        yield self.tell(worker, name, part.epoch, Fence(token))
        yield Touch(name, partition.metadata.resource_version)
        yield self.tell(worker, name, part.epoch, Unfence(token))

    def patch(
        self,
        partition: Partition,
        primary: str,
        proxy: str,
        epoch: int,
        annotations: Annotations = (),
        since: int | None = None,
    ) -> Commit:
        """`since`: from which epoch on a primary that it had not before has held it, if not from this one."""
        meta = partition.metadata
        if primary and primary != partition.spec.primary:
            life = self.worker(primary).incarnation
            annotations = (*annotations, *held_since(epoch if since is None else since, life))
        return Commit(meta.name, meta.resource_version, primary, proxy, epoch, annotations)

    def status(self, row: Row[Any], phase: AssignmentPhase, step: Step | None) -> AssignmentStatus:
        """The status after `row`."""
        old = self.assignment.status
        reason, message = self.explain(row.reason) if row.reason else ("", self.said(row, step))
        bad = phase is AssignmentPhase.ABORTED
        detail = {} if step is None else {self.field: self.detail(step, ended_badly=bad)}
        moment = self.time_of_day(self.now)
        return AssignmentStatus(
            phase=phase,
            reason=reason,
            message=message,
            # Before it has begun nothing is done, and what is refused may have no sensible parts to ask about.
            progress=(self.progress() if step is not None else None) or old.progress,
            started_at=old.started_at or (moment if step is not None else None),
            finished_at=moment if phase.final else None,
            conditions=old.conditions,
            observed_generation=self.assignment.metadata.generation,
            **detail,  # type: ignore[arg-type]
        )


def lapse_seconds(lease_seconds: float) -> float:
    """After how long a silence a worker has certainly stopped serving by itself, with a margin for clocks that run
    differently fast; 0: never."""
    return lease_seconds and lease_seconds * 1.1 + 1.0


def serving(worker: WorkerView, partition: Partition | None, name: str) -> PartitionView | None:
    """The worker's view of the partition when it is its primary in the epoch that the object says."""
    part = worker.parts.get(name) if worker.reachable else None
    if part is None or partition is None or part.role != "primary" or part.epoch != partition.spec.epoch:
        return None
    return part


def _common(holds: Callable[[Operation], bool]) -> Guard[Any]:
    """A guard for the tables of all operations."""
    return guard(holds)


@_common
def cancelled(facts: Operation) -> bool:
    return facts.observed.cancelled


@_common
def late(facts: Operation) -> bool:
    return facts.now - facts.started >= facts.limits.deadline_seconds


@_common
def uncertain(facts: Operation) -> bool:
    return facts.observed.uncertain


@_common
def silent(facts: Operation) -> bool:
    """A worker that it needs does not answer, and may come back."""
    return bool(facts.silent)


@_common
def silent_for_long(facts: Operation) -> bool:
    return bool(facts.stalled_on)


@_common
def refused(facts: Operation) -> bool:
    return facts.observed.refusal is not None


@_common
def refused_for_good(facts: Operation) -> bool:
    """Nothing that the Assignments ahead do can change it."""
    refusal = facts.observed.refusal
    return refusal is not None and refusal.lasting


@_common
def behind_others(facts: Operation) -> bool:
    return bool(facts.observed.ahead)


ADMISSION: tuple[Row[Any], ...] = (
    at(None).when(cancelled).abort("Cancelled"),
    at(None).when(refused_for_good).abort("Refused"),
    at(None).when(behind_others).queue("Waiting"),
    at(None).when(refused).abort("Refused"),
    at(None).when(always).go(Step.LOADING),
)
"""How every operation begins."""

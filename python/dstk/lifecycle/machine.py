"""One Assignment from its beginning to its end, as a passive machine: events go in, the next step comes out.

It keeps what is known between two decisions, and says what to look at before the next one. It does no I/O and reads no
clock, so a driver that carries its steps out is all that an operator adds. The state is only a memory: an operator that
has just started begins with an empty one, looks at everything, and goes on.

What an action answers is the next observation, so that between fence and promote nothing is asked that is known
already. Everything is looked at anew after a wait, a failure, or when somebody else has changed an object: the objects
are then always older than the workers' answers, as ``Observed`` demands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from dstk.api import Assignment, AssignmentPhase, AssignmentStatus, Keyspace, KeyspaceSpec, Partition, Step
from dstk.api.validation import Overlapping, Refusal, check
from dstk.control.views import PartitionView, WorkerView
from dstk.errors import DstkError, InvalidRequest, LimitReached
from dstk.lifecycle import actions
from dstk.lifecycle.claims import held_elsewhere
from dstk.lifecycle.decision import decide
from dstk.lifecycle.disks import without_older
from dstk.lifecycle.memory import Memory, Refused
from dstk.lifecycle.observed import Limits, Observed
from dstk.lifecycle.operation import lapse_seconds
from dstk.lifecycle.orphaned import without_keyspace
from dstk.lifecycle.outcome import CommitUncertain, Outcome
from dstk.lifecycle.scope import touched

__all__ = ["Act", "Known", "Look", "Machine", "Next", "ReadBack"]

UNKNOWN = Keyspace(spec=KeyspaceSpec(key_length=1))
"""Where nothing of the Keyspace is looked at."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the operator's caches hold at this moment. Mappings are live: they are read, and not kept.

    `assignment`: the object of that name, whoever made it. `keyspace`: that of its Partitions. `ahead`: names of the
    older Assignments on any of some partitions. `labels`: of each worker pod. `unheard_seconds`: since a worker was
    last known to have taken note of this operator. `now` in seconds, by a clock that never jumps; `ahead_of_day`: how
    far that one is ahead of the time of day. `term`: this operator's own.
    """

    assignment: Assignment | None
    keyspace: Keyspace | None
    partitions: Mapping[str, Partition]
    keyspaces: Mapping[str, Keyspace]
    labels: Mapping[str, Mapping[str, str]]
    overlapping: Overlapping
    ahead: Callable[[tuple[str, ...]], tuple[str, ...]]
    unheard_seconds: Callable[[str], float]
    term: int
    now: float
    ahead_of_day: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Read these Partitions from the API server itself, then say ``was_read``: a commit's outcome is not known."""

    partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Ask these workers what they hold of `partitions` (None: of all), then say ``looked``."""

    workers: tuple[str, ...]
    partitions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Act:
    """Carry these out, then say ``came_of``; after that wait for `pause` seconds, or not at all (None)."""

    actions: Sequence[actions.Action]
    pause: float | None
    progresses: bool = False
    """Whether something is done besides waiting and saying so."""


Next: TypeAlias = ReadBack | Look | Act


class Machine:
    """See the module. ``next`` gives the step to take; every other method tells of an event."""

    def __init__(self, assignment: Assignment, limits: Limits, progress_interval: float) -> None:
        self.assignment = assignment
        self.partition_names: tuple[str, ...] = ()
        self.worker_names: tuple[str, ...] = ()
        self._limits = limits
        self._progress_interval = progress_interval
        self._memory = Memory()
        self._uncertain: set[str] = set()
        self._keyspace: Keyspace | None = None
        self._partitions: dict[str, Partition] = {}
        self._workers: dict[str, WorkerView] = {}
        self._lives: dict[str, str] = {}
        self._claims: Sequence[WorkerView] = ()
        """Of a New: all workers, with all that they hold."""
        self._outcome = Outcome()
        self._fresh = False
        """Whether nothing is known to have changed since it was looked at."""
        self._undecided = False
        """Whether nothing was decided since then: what changes while workers answer is looked at after that, so that an
        object which changes all the time holds nothing up."""
        self._unread = False
        self._progress_written = 0.0
        self._last: Sequence[actions.Action] = ()

    @property
    def is_finished(self) -> bool:
        phase = self.assignment.status.phase
        return phase is not None and phase.final

    # What to do

    def next(self, known: Known) -> Next:
        """The step to take now. Raises InvalidRequest for a Partition whose bounds do not fit its Keyspace."""
        current = known.assignment
        deleted = current is None or current.metadata.uid != self.assignment.metadata.uid
        if current is not None and not deleted:
            self.assignment = current
        if not (self._fresh or self._undecided):
            if self._uncertain and not self._unread:
                return ReadBack(tuple(sorted(self._uncertain)))
            self._unread = False
            return self._look(known)
        self._undecided = False
        self._find_keyspace(known)
        cancelled = deleted or self.assignment.metadata.deletion_timestamp is not None
        refusal, keyspace = self._refusal(known), self._keyspace
        if keyspace is None and (refusal is not None or self._is_merged_and_cleared(known)):
            # Refused for this very reason, or has only to say that it is done: nothing of the Keyspace is looked at.
            keyspace = UNKNOWN
        if keyspace is None:
            self._fresh = False
            return Act(self._orphaned(known, cancelled), self._limits.wait_seconds)
        if self.assignment.status.step is not None:
            self._memory = self._memory.began(known.now)
        return self._act(decide(self._observed(known, keyspace, refusal, cancelled), known.now))

    def _act(self, decided: Sequence[actions.Action]) -> Act:
        # The same again means that what is known did not show its effect: look.
        waits = [action.seconds for action in decided if isinstance(action, actions.Wait)]
        if decided == self._last or waits:
            self._fresh = False
        self._last = decided
        pause = min(waits) if waits else None if decided else self._limits.wait_seconds
        return Act(decided, pause, any(not isinstance(each, (actions.Wait, actions.SetStatus)) for each in decided))

    def _look(self, known: Known) -> Look:
        """Objects first: they are read here, and the workers answer after that."""
        self._find_keyspace(known)
        names = touched(self.assignment, known.partitions, self._keyspace or UNKNOWN)
        self.partition_names, self.worker_names = names.partitions, names.workers
        found = ((name, known.partitions.get(name)) for name in self.partition_names)
        self._partitions = {name: partition for name, partition in found if partition is not None}
        self._fresh = True
        everybody = self._may_be_held or self._is_gone(known.partitions)
        others = [name for name in known.labels if name not in self.worker_names] if everybody else []
        return Look((*self.worker_names, *others), None if self._may_be_held else self.partition_names)

    def _observed(self, known: Known, keyspace: Keyspace, refusal: Refusal | None, cancelled: bool) -> Observed:
        return Observed(
            assignment=self.assignment,
            ahead_of_day=known.ahead_of_day,
            keyspace=keyspace,
            partitions=dict(self._partitions),
            workers=dict(self._workers),
            ahead=known.ahead(self.partition_names),
            cancelled=cancelled,
            refusal=refusal,
            uncertain=bool(self._uncertain),
            term=known.term,
            limits=self._limits,
            memory=self._memory,
        )

    def is_news(self, status: AssignmentStatus, now: float) -> bool:
        """Whether this status is to be written now: mere progress is, once in a while."""
        current = self.assignment.status
        if _without_progress(status) != _without_progress(current):
            return True
        interval = self._progress_interval
        if status.phase != AssignmentPhase.RUNNING:
            interval *= 10  # the sentence that says for how long it has been waiting
        return now - self._progress_written >= interval

    # What has happened

    def look_anew(self) -> None:
        """Nothing that was seen counts any more."""
        self._fresh = self._undecided = False

    def partition_changed(self, name: str, new: Partition | None) -> bool:
        """A Partition was written, or deleted (None). False: by this machine's own doing, which it knows of."""
        known = self._outcome.written[name] if name in self._outcome.written else self._partitions.get(name)
        if new is None and known is None:
            return False
        if new is not None and known is not None:
            ours = int(known.metadata.resource_version or 0) >= int(new.metadata.resource_version or 0)
            if ours and known.metadata.uid == new.metadata.uid:
                return False
        self._fresh = False
        return True

    def was_read(self, partitions: Iterable[str]) -> None:
        """These Partitions were read from the API server itself; what a commit of theirs came to is known."""
        self._uncertain.difference_update(partitions)
        self._unread = bool(self._uncertain)

    def looked(self, views: Sequence[WorkerView], known: Known) -> None:
        """The workers' answers to a ``Look``, in its order."""
        self._undecided = True
        self._claims = views if self._may_be_held else ()
        gone = self._is_gone(known.partitions)
        kept = [without_older(view, self._partitions) for view in views]
        kept = [view for view in kept if view.name in self.worker_names or (gone and view.parts)]
        if self._keyspace is None and not self._partitions:
            # None of its Partitions has an object: that of what its workers hold of them.
            held = (part for view in kept for name, part in view.parts.items() if name in self.partition_names)
            found = (known.keyspaces.get(part.keyspace) for part in held)
            self._keyspace = next((each for each in found if each is not None), None)
        self._workers = {view.name: self._with_life(view) for view in kept}
        self._memory = self._memory.saw((view.name for view in kept if not view.reachable), known.now)

    def begin(self) -> Outcome:
        """Where what comes of the next actions is to be noted, while they are carried out."""
        self._outcome = Outcome()
        return self._outcome

    def acted(self, action: actions.Action, now: float, error: BaseException | None = None) -> None:
        """An action was carried out, or ended with this error: then it was refused, or nobody knows."""
        if isinstance(error, CommitUncertain) and isinstance(action, actions.Commit):
            self._uncertain.add(action.partition)
        refused = _refused(action, error) if isinstance(error, DstkError) else None
        self._memory = self._memory.after(action, now, error is not None, refused)

    def wrote_status(self, status: AssignmentStatus, current: Assignment | None, now: float) -> None:
        """The Assignment was given this status. `current`: the object of its name, as it is after that."""
        self._progress_written = now
        if current is not None and current.metadata.uid == self.assignment.metadata.uid:
            self.assignment = current
        else:
            self.assignment = msgspec.structs.replace(self.assignment, status=status)

    def came_of(self, outcome: Outcome, term: int) -> None:
        """All that came of the actions of one step."""
        for name, partition in outcome.written.items():
            if partition is None:
                self._partitions.pop(name, None)
            else:
                self._partitions[name] = partition
        said: dict[str, dict[str, PartitionView]] = {}
        for worker, states in outcome.states:
            said.setdefault(worker, {}).update(states)
        for worker, latest in said.items():
            view = self._workers.get(worker)
            if view is not None:
                parts = {name: part for name, part in {**view.parts, **latest}.items() if part.role != "disconnected"}
                self._workers[worker] = replace(view, term=max(view.term, term), parts=parts)
        if outcome.stale:
            self._fresh = False
        self._outcome = Outcome()

    # What is known

    def _with_life(self, view: WorkerView) -> WorkerView:
        """Note in which life a worker was last seen to hold something of this Assignment; in another it is gone, unless
        its rows are on disk."""
        if self._keyspace is not None and self._keyspace.spec.durable:
            return view
        if view.reachable and any(part.role != "disconnected" for part in view.parts.values()):
            self._lives[view.name] = view.incarnation
        seen = self._lives.get(view.name, view.incarnation)
        return view if seen == view.incarnation else replace(view, gone=True)

    def _find_keyspace(self, known: Known) -> None:
        """The Keyspace of its Partitions; the last one known when the object is gone."""
        self._keyspace = known.keyspace or self._keyspace

    def _orphaned(self, known: Known, cancelled: bool) -> Sequence[actions.Action]:
        named = map(known.partitions.get, self.assignment.partitions)
        partition = next((each for each in named if each is not None), None)
        return without_keyspace(self.assignment, partition, cancelled, known.now - known.ahead_of_day)

    def _is_merged_and_cleared(self, known: Known) -> bool:
        """The parts are merged, and gone; an operator has ended between that and saying so."""
        merge = self.assignment.status.merge
        return (
            merge is not None
            and merge.status is Step.PROXYING
            and not any(name in known.partitions for name in self.assignment.spec.partitions)
        )

    def _refusal(self, known: Known) -> Refusal | None:
        if self.assignment.status.phase not in (None, AssignmentPhase.PENDING):
            return None
        refusal = check(self.assignment, known.partitions, known.keyspaces, self._present(known), known.overlapping)
        if refusal is not None or self._keyspace is None:
            return refusal
        return held_elsewhere(self.assignment, self._keyspace, self._claims, known.partitions, known.overlapping)

    @property
    def _may_be_held(self) -> bool:
        """Whether it is about to give somebody what another worker may have rows of, whatever the objects say."""
        return self.assignment.spec.new_params is not None and self.assignment.status.step is None

    def _is_gone(self, partitions: Mapping[str, Partition]) -> bool:
        """Whether something that it splits or merges has no object: who has what came of it, only the workers know."""
        spec = self.assignment.spec
        reshapes = spec.split_params is not None or spec.merge_params is not None
        return reshapes and any(name not in partitions for name in spec.partitions)

    def _present(self, known: Known) -> Mapping[str, Mapping[str, str]]:
        """Labels of the workers that may serve something of the Keyspace: not of those whose lease has run out."""
        lapse = lapse_seconds(self._keyspace.spec.worker_lease) if self._keyspace is not None else 0.0
        if not lapse:
            return known.labels
        return {name: each for name, each in known.labels.items() if known.unheard_seconds(name) < lapse}


def _refused(action: actions.Action, error: DstkError) -> Refused | None:
    """What a worker has refused for more than a moment: a conflict, or no answer, has it looked at again, no more."""
    if not isinstance(action, actions.Tell) or not isinstance(error, (InvalidRequest, LimitReached)):
        return None
    told = f"{action.worker} refused to {actions.name_of(action)}: {error}"
    no_room = isinstance(error, LimitReached)
    return Refused(action.worker, type(action.command), told, no_room=no_room, lasting=not no_room)


def _without_progress(status: AssignmentStatus) -> AssignmentStatus:
    return msgspec.structs.replace(status, progress=None, message="", conditions=(), observed_generation=0)

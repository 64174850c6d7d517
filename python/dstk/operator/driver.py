"""Drives one Assignment to its end: observe, decide, carry out, and again, whenever something has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from dstk.api import Assignment, AssignmentPhase, AssignmentStatus, Keyspace, KeyspaceSpec, Partition, Step
from dstk.api.span import span_of
from dstk.api.validation import Refusal, check
from dstk.control.views import PartitionView, WorkerView
from dstk.errors import DstkError, InvalidRequest, LimitReached
from dstk.kube import Backoff, Term, raise_if_cancelled
from dstk.lifecycle import actions, decide, touched
from dstk.lifecycle.claims import Claim, claims_of, unsettled
from dstk.lifecycle.disks import without_older
from dstk.lifecycle.memory import Memory, Refused
from dstk.lifecycle.observed import Observed
from dstk.lifecycle.operation import lapse_seconds
from dstk.lifecycle.orphaned import without_keyspace
from dstk.operator.cluster import Cluster, is_finished
from dstk.operator.executor import ActionExecutor, CommitUncertain, Outcome
from dstk.operator.moments import Moments
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLinks

__all__ = ["Driver"]

log = logging.getLogger(__name__)

UNKNOWN = Keyspace(spec=KeyspaceSpec(key_length=1))
"""Where nothing of the Keyspace is looked at."""


class Driver:
    """The loop around ``lifecycle.decide`` for one Assignment.

    What an action answers is the next observation, so that between fence and promote nothing is asked that is known
    already. Everything is looked at anew after a wait, a failure, or when somebody else has changed an object: the
    objects are then always older than the workers' answers, as ``Observed`` demands.
    """

    def __init__(
        self,
        assignment: Assignment,
        cluster: Cluster,
        workers: WorkerLinks,
        spans: Spans,
        executor: ActionExecutor,
        settings: OperatorSettings,
        term: Term,
        moments: Moments,
    ) -> None:
        self.assignment = assignment
        self.partition_names: tuple[str, ...] = ()
        self.worker_names: tuple[str, ...] = ()
        self._cluster = cluster
        self._workers = workers
        self._spans = spans
        self._executor = executor
        self._settings = settings
        self._term = term
        self._moments = moments
        self._now = moments.now
        self._memory = Memory()
        self._uncertain: set[str] = set()
        self._changed = asyncio.Event()
        self._partitions: dict[str, Partition] = {}
        self._views: dict[str, WorkerView] = {}
        self._lives: dict[str, str] = {}
        self._claims: Sequence[WorkerView] = ()
        """Of a New: all workers, with all that they hold."""
        self._outcome = Outcome()
        self._fresh = False
        self._progress_written = 0.0
        self._last: Sequence[actions.Action] = ()
        self._keyspace: Keyspace | None = None
        # Small partitions are copied within milliseconds: look soon at first, then ever more seldom.
        self._patience = Backoff(first=0.01, factor=1.5, longest=60.0)

    @property
    def name(self) -> str:
        return self.assignment.metadata.name

    def wake(self) -> None:
        """Something that this Assignment depends on may have changed."""
        self._changed.set()

    def look_anew(self) -> None:
        """The API server has begun another history: nothing that was seen of objects counts."""
        self._fresh = False
        self._changed.set()

    def partition_changed(self, new: Partition | None, name: str) -> None:
        """A Partition changed; ignored when it is what this driver wrote itself."""
        known = self._partitions.get(name)
        written = self._outcome.written
        if name in written:
            known = written[name]
        if new is None and known is None:
            return
        if new is not None and known is not None:
            ours = int(known.metadata.resource_version or 0) >= int(new.metadata.resource_version or 0)
            if ours and known.metadata.uid == new.metadata.uid:
                return
        self._fresh = False
        self._changed.set()

    async def run(self) -> None:
        """Until the Assignment is finished. Errors are tried again with back-off."""
        backoff = Backoff(longest=5.0)
        while not is_finished(self.assignment):
            raise_if_cancelled()
            self._changed.clear()
            try:
                pause = await self._step()
                backoff.reset()
            except DstkError as error:
                pause = backoff.next()
                self._fresh = False
                log.info("assignment %s: %s; again in %.2f s", self.name, error, pause)
            except Exception:  # It would leave its Assignment without a driver, which holds up its partitions for ever.
                pause = backoff.next()
                self._fresh = False
                log.exception("assignment %s: unexpected error; again in %.2f s", self.name, pause)
            if pause is not None and not is_finished(self.assignment):
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            self._fresh = False

    async def _step(self) -> float | None:
        """One decision. Seconds to wait before the next one, or None for at once. Raises the first failure."""
        observed = await self._observe()
        if observed is None:
            return self._settings.limits.wait_seconds
        decided = decide(observed, self._now())
        if decided == self._last:
            # The same again means that what is known did not show its effect: look.
            self._fresh = False
        self._last = decided
        if any(not isinstance(action, (actions.Wait, actions.SetStatus)) for action in decided):
            self._patience.reset()
        waits = [action.seconds for action in decided if isinstance(action, actions.Wait)]
        pause = min(waits) if waits else None
        outcome = self._outcome = Outcome()
        try:
            await self._lane(decided, outcome)
        finally:
            self._take_in(outcome)
        if pause is None:
            return None if decided else self._settings.limits.wait_seconds
        self._fresh = False
        return min(pause, self._patience.next())

    async def _act(self, action: actions.Action, outcome: Outcome) -> None:
        if isinstance(action, actions.SetStatus) and self._only_progress(action):
            return
        failed, refused = True, None
        try:
            await self._executor.carry_out(self.assignment, action, outcome)
            failed = False
        except CommitUncertain:
            assert isinstance(action, actions.Commit)
            self._uncertain.add(action.partition)
            raise
        except DstkError as error:
            refused = _refused(action, error)
            raise
        finally:
            self._memory = self._memory.after(action, self._now(), failed, refused)
        if isinstance(action, actions.SetStatus):
            self._progress_written = self._now()
            current = self._cluster.assignments.get(self.name)
            if current is not None and current.metadata.uid == self.assignment.metadata.uid:
                self.assignment = current
            else:
                self.assignment = msgspec.structs.replace(self.assignment, status=action.status)

    async def _lane(self, steps: Iterable[actions.Action], outcome: Outcome) -> None:
        """One after the other, up to the first failure.

        A Partition's status tells people and nobody waits for it: it is written while workers are being told what
        follows, so that writers are not held for it, and done before the Assignment's own status is.
        """
        beside: list[asyncio.Task[None]] = []
        try:
            for step in steps:
                match step:
                    case actions.Wait():
                        pass
                    case actions.Parallel():
                        await _all(self._lane(lane, outcome) for lane in step.lanes)
                    case actions.SetPartitionStatus():
                        beside.append(asyncio.create_task(self._act(step, outcome)))
                    case actions.SetStatus():
                        await _all(beside)
                        beside = []
                        await self._act(step, outcome)
                    case _:
                        await self._act(step, outcome)
        finally:
            await _all(beside)

    def _only_progress(self, action: actions.SetStatus) -> bool:
        """Is nothing new but the progress, and that was written a moment ago?"""
        current = self.assignment.status
        if _without_progress(action.status) != _without_progress(current):
            return False
        interval = self._settings.progress_interval
        if action.status.phase != AssignmentPhase.RUNNING:
            interval *= 10  # the sentence that says for how long it has been waiting
        return self._now() - self._progress_written < interval

    def _take_in(self, outcome: Outcome) -> None:
        for name, partition in outcome.written.items():
            if partition is None:
                self._partitions.pop(name, None)
            else:
                self._partitions[name] = partition
        said: dict[str, dict[str, PartitionView]] = {}
        for worker, states in outcome.states:
            said.setdefault(worker, {}).update(states)
        for worker, latest in said.items():
            view = self._views.get(worker)
            if view is not None:
                term = max(view.term, self._term())
                self._views[worker] = replace(view, term=term, parts=_merge(view.parts, latest))
        if outcome.stale:
            self._fresh = False

    async def _observe(self) -> Observed | None:
        current = self._cluster.assignments.get(self.name)
        deleted = current is None or current.metadata.uid != self.assignment.metadata.uid
        if current is not None and not deleted:
            self.assignment = current
        assignment = self.assignment
        if not self._fresh:
            await self._look()
        refusal = self._refusal()
        keyspace = self._find_keyspace()
        if keyspace is None and (refusal is not None or self._merged_and_cleared()):
            # Refused for this very reason, or has only to say that it is done: nothing of the Keyspace is looked at.
            keyspace = UNKNOWN
        cancelled = deleted or assignment.metadata.deletion_timestamp is not None
        if keyspace is None:
            named = map(self._cluster.partitions.get, assignment.partitions)
            partition = next((each for each in named if each is not None), None)
            await self._lane(without_keyspace(assignment, partition, cancelled, time.time()), Outcome())
            return None
        if assignment.status.step is not None:
            self._memory = self._memory.began(self._now())
        return Observed(
            assignment=assignment,
            ahead_of_day=self._moments.ahead_of_day(),
            keyspace=keyspace,
            partitions=dict(self._partitions),
            workers=dict(self._views),
            ahead=self._cluster.ahead(assignment, self.partition_names),
            cancelled=cancelled,
            refusal=refusal,
            uncertain=bool(self._uncertain),
            term=self._term(),
            limits=self._settings.limits,
            memory=self._memory,
        )

    async def _look(self) -> None:
        """Objects first, workers after them."""
        if self._uncertain:
            await self._read_back()
        keyspace = self._find_keyspace()
        partitions = self._cluster.partitions
        names = touched(self.assignment, partitions.items, keyspace or UNKNOWN)
        self.partition_names, self.worker_names = names.partitions, names.workers
        self._partitions = {
            name: partition for name in self.partition_names if (partition := partitions.get(name)) is not None
        }
        asked = None if self._may_be_held() else list(self.partition_names)
        gone = self._is_gone()
        ask_all = gone or self._may_be_held()
        others = [name for name in self._workers.labels if name not in self.worker_names] if ask_all else []
        looked = await asyncio.gather(*(self._workers.look(name, asked) for name in (*self.worker_names, *others)))
        self._claims = looked if self._may_be_held() else ()
        views = [without_older(view, self._partitions) for view in looked]
        views = [view for view in views if view.name in self.worker_names or (gone and view.parts)]
        if keyspace is None:
            self._keyspace = self._keyspace_of_what_is_held(views)
        self._views = {view.name: self._with_life(view) for view in views}
        self._memory = self._memory.saw((view.name for view in views if not view.reachable), self._now())
        self._fresh = True

    async def _read_back(self) -> None:
        """What an uncertain commit came to, from the API server itself; until it answers, it stays uncertain."""
        for name in sorted(self._uncertain):
            try:
                live = await self._cluster.partitions.objects.find(name)
            except DstkError as error:
                log.info("assignment %s: partition %s cannot be read back: %s", self.name, name, error)
                return
            if live is not None:
                self._cluster.partitions.learn(live)
            self._uncertain.discard(name)

    def _with_life(self, view: WorkerView) -> WorkerView:
        """Note in which life a worker was last seen to hold something of this Assignment; in another it is gone, unless
        its rows are on disk."""
        keyspace = self._keyspace
        if keyspace is not None and keyspace.spec.durable:
            return view
        if view.reachable and any(part.role != "disconnected" for part in view.parts.values()):
            self._lives[view.name] = view.incarnation
        seen = self._lives.get(view.name, view.incarnation)
        return view if seen == view.incarnation else replace(view, gone=True)

    def _find_keyspace(self) -> Keyspace | None:
        """The Keyspace of its partitions; the last one known when the object is gone."""
        self._keyspace = self._cluster.keyspace_of(self.assignment) or self._keyspace
        return self._keyspace

    def _keyspace_of_what_is_held(self, views: Iterable[WorkerView]) -> Keyspace | None:
        """When none of its Partitions has an object: that of what its workers hold of them."""
        partitions = self._cluster.partitions
        if any(partitions.get(name) is not None for name in self.partition_names):
            return None
        held = (part.keyspace for view in views for name, part in view.parts.items() if name in self.partition_names)
        return next((found for each in held if (found := self._cluster.keyspaces.get(each)) is not None), None)

    def _merged_and_cleared(self) -> bool:
        """The parts are merged, and gone; an operator has ended between that and saying so."""
        merge, partitions = self.assignment.status.merge, self._cluster.partitions
        return (
            merge is not None
            and merge.status is Step.PROXYING
            and all(partitions.get(name) is None for name in self.assignment.spec.partitions)
        )

    def _refusal(self) -> Refusal | None:
        if self.assignment.status.phase not in (None, AssignmentPhase.PENDING):
            return None
        refusal = check(
            self.assignment,
            self._cluster.partitions.items,
            self._cluster.keyspaces.items,
            self._present(),
            self._spans.overlapping,
        )
        return refusal or self._held_elsewhere()

    def _may_be_held(self) -> bool:
        """Whether it is about to give somebody what another worker may have rows of, whatever the objects say."""
        return self.assignment.spec.new_params is not None and self.assignment.status.step is None

    def _is_gone(self) -> bool:
        """Whether something that it splits or merges has no object: who has what came of it, only the workers know."""
        spec = self.assignment.spec
        reshapes = spec.split_params is not None or spec.merge_params is not None
        return reshapes and any(self._cluster.partitions.get(name) is None for name in spec.partitions)

    def _held_elsewhere(self) -> Refusal | None:
        """Of what has no owner by its object, a worker may have rows all the same: it is to get its object back."""
        new = self.assignment.spec.new_params
        keyspace = self._find_keyspace()
        if new is None or keyspace is None or not self._claims:
            return None
        claims = claims_of(self._claims, keyspace.metadata.name)
        holders = {claim.name: claim.worker for claim in claims}
        for name in new.names:
            partition = self._cluster.partitions.get(name)
            if partition is None:
                continue
            holder = holders.get(name)
            if holder is None or holder == new.primary or partition.spec.primary:
                holder = next((claim.worker for claim in self._unsettled(partition, keyspace, claims)), None)
            if holder is not None:
                return Refusal("HeldElsewhere", f'pod "{holder}" has rows of Partition "{name}", and gets them back')
        return None

    def _unsettled(self, partition: Partition, keyspace: Keyspace, claims: Iterable[Claim]) -> list[Claim]:
        """Who holds keys of it that no object shows."""
        try:
            span = span_of(partition.spec.range, keyspace.spec.key_length)
        except InvalidRequest:
            return []
        names = self._spans.overlapping(keyspace.metadata.name, span.start, span.end)
        over = [each for name in names if (each := self._cluster.partitions.get(name)) is not None]
        return unsettled(claims, partition.metadata.name, span, partition.spec.epoch, over)

    def _present(self) -> Mapping[str, Mapping[str, str]]:
        """Labels of the workers that may serve something of the Keyspace: not of those whose lease has run out."""
        labels, keyspace = self._workers.labels, self._keyspace
        lapse = lapse_seconds(keyspace.spec.worker_lease) if keyspace is not None else 0.0
        if not lapse:
            return labels
        return {name: each for name, each in labels.items() if self._workers.unheard_seconds(name) < lapse}


def _refused(action: actions.Action, error: DstkError) -> Refused | None:
    """What a worker has refused for more than a moment: a conflict, or no answer, has it looked at again, no more."""
    if not isinstance(action, actions.Tell) or not isinstance(error, (InvalidRequest, LimitReached)):
        return None
    told = f"{action.worker} refused to {actions.name_of(action)}: {error}"
    command, no_room = type(action.command), isinstance(error, LimitReached)
    return Refused(action.worker, command, told, no_room=no_room, lasting=not no_room)


def _merge(parts: Mapping[str, PartitionView], states: Mapping[str, PartitionView]) -> dict[str, PartitionView]:
    """States that came back replace what was known; what is not held any more is left out."""
    merged = {**parts, **states}
    return {name: part for name, part in merged.items() if part.role != "disconnected"}


def _without_progress(status: AssignmentStatus) -> AssignmentStatus:
    return msgspec.structs.replace(status, progress=None, message="", conditions=(), observed_generation=0)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Await all of it; the first failure is raised when everything has ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result

"""Brings workers in line with the objects where no Assignment is in charge: after a (re)connect, and after an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from dstk.api import ACCEPT_LOSS_ANNOTATION, Assignment, AssignmentPhase, Keyspace, Partition
from dstk.api.conditions import find
from dstk.api.span import span_of
from dstk.control.views import WorkerView
from dstk.errors import DstkError, InvalidRequest
from dstk.kube import Backoff
from dstk.lifecycle import Surroundings, actions, is_suspect, recover, repair, settle, touched
from dstk.lifecycle.claims import claims_of
from dstk.lifecycle.operation import lapse_seconds
from dstk.lifecycle.outcome import CommitUncertain, Outcome
from dstk.operator.cluster import WORKER, Cluster
from dstk.operator.executor import ActionExecutor
from dstk.operator.moments import Moments
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLinks

__all__ = ["WorkerReconciler"]

log = logging.getLogger(__name__)


class WorkerReconciler:
    """Looks at a worker whenever it appears in a new life or on a new connection, until there is nothing left to do.

    It looks again from time to time: late calls may leave fences or copies, and a late commit may leave an owner that
    does not know of it.
    """

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        spans: Spans,
        executor: ActionExecutor,
        settings: OperatorSettings,
        moments: Moments | None = None,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._spans = spans
        self._executor = executor
        self._moments = moments or Moments(cluster.clock)
        self._longest = settings.reconnect_longest
        self._relook = settings.relook_interval
        self._lives: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._fenced: set[str] = set()
        """Workers that have something fenced which an Assignment is in charge of."""
        self._doubted: set[str] = set()
        """Workers that have not been brought in line since this operator began, or the API server another history: what
        they hold the objects may know nothing of."""
        self._seekers: set[str] = set()
        """Workers of which something waits until all others can be asked."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        workers.on_change(self._on_worker)
        cluster.on_assignment(self._on_assignment)
        cluster.keyspaces.on_change(self._on_keyspace)
        cluster.partitions.on_change(self._on_partition)
        cluster.partitions.on_history(self._on_history)

    async def run(self) -> None:
        """For ever."""
        self._doubted = set(self._workers.labels)
        for link in self._workers:
            self._on_worker(link.name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_again(), name="recovery of late arrivals")
            while True:
                await self._wake.wait()
                self._wake.clear()
                for name in sorted(self._waiting):
                    if name not in self._running:
                        self._waiting.discard(name)
                        self._running[name] = tasks.create_task(self._settle(name), name=f"recovery of {name}")

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(self._relook)
            for name in list(self._lives):
                self._look_at(name)

    def _look_at(self, name: str) -> None:
        self._waiting.add(name)
        self._wake.set()

    def _on_history(self) -> None:
        """The objects were set back: what workers hold goes before what they say."""
        self._doubted = set(self._workers.labels)
        for name in self._lives:
            self._look_at(name)

    def _on_worker(self, name: str) -> None:
        link = self._workers.get(name)
        seekers, self._seekers = self._seekers, set()
        for each in sorted(seekers & self._lives.keys()):
            self._look_at(each)
        if link is None or not link.reachable:
            self._lives.pop(name, None)
        elif self._lives.get(name) != link.incarnation:
            self._lives[name] = link.incarnation
            self._look_at(name)

    def _on_keyspace(self, old: Keyspace | None, new: Keyspace | None) -> None:
        anew = new is not None and (old is None or old.metadata.uid != new.metadata.uid)
        if anew or (old is not None and new is not None and old.spec.on_loss is not new.spec.on_loss):
            for link in self._workers:
                self._look_at(link.name)

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        """Outside of any Assignment somebody has written or deleted it: those who have to do with it are asked."""
        partition = new or old
        assert partition is not None
        name = partition.metadata.name
        same = old is not None and new is not None and old.spec == new.spec and _accepted(old) == _accepted(new)
        if same or any(self._cluster.unfinished(name)):
            return
        owners = {owner for each in (old, new) if each is not None for owner in (each.spec.primary, each.spec.proxy)}
        owners.add(self._workers.holder(name, partition.spec.keyspace))
        if old is None:
            owners.update(each.spec.primary for each in self._below(partition))
        for owner in sorted(filter(None, owners)):
            if owner in self._lives:
                self._look_at(owner)

    def _below(self, partition: Partition) -> list[Partition]:
        """Partitions that have keys of it in earlier epochs: it was made in their place."""
        keyspace = self._cluster.keyspaces.get(partition.spec.keyspace)
        if keyspace is None:
            return []
        try:
            span = span_of(partition.spec.range, keyspace.spec.key_length)
        except InvalidRequest:
            return []
        over = self._overlapping(self._cluster.partitions.items, partition.spec.keyspace, span.start, span.end)
        return [each for each in over if each.spec.epoch < partition.spec.epoch]

    def _on_assignment(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        phase = assignment.status.phase
        if new is None or (phase is not None and phase.final):
            # What was left to an Assignment may have come back fenced, which it had no part in.
            for name in sorted(self._fenced):
                self._look_at(name)
            self._fenced.clear()
        if new is not None and not (phase is not None and phase.final):
            return
        if old is None or (new is not None and old.status.phase is phase):
            return
        spec = assignment.spec
        if phase is AssignmentPhase.COMPLETED:
            # Nothing is left to do, unless somebody has deleted meanwhile what it served.
            lost = spec.new_params or spec.move_params
            if not lost or all(self._cluster.partitions.get(name) for name in spec.partitions):
                return
        names = {spec.move_params.source, spec.move_params.to} if spec.move_params is not None else set()
        for name in spec.partitions:
            partition = self._cluster.partitions.get(name)
            if partition is not None:
                names.update(filter(None, (partition.spec.primary, partition.spec.proxy)))
            # Of one that was deleted meanwhile, only who has the rows is known.
            names.update(link.name for link in self._workers if name in link.loads)
        for name in sorted(names):
            self._look_at(name)

    async def _settle(self, name: str) -> None:
        backoff = Backoff(longest=self._longest)
        try:
            while name in self._lives:
                try:
                    if not await self._step(name):
                        self._doubted.discard(name)
                        return
                    pause = 0.0
                except DstkError as error:
                    pause = backoff.next()
                    log.info("worker %s is not in line yet: %s; again in %.1f s", name, error, pause)
                except Exception:  # What one worker brings about must not end the recovery of the others.
                    pause = backoff.next()
                    log.exception("worker %s could not be brought in line; again in %.1f s", name, pause)
                await asyncio.sleep(pause or backoff.next())
        finally:
            del self._running[name]
            if name in self._waiting:
                self._wake.set()

    async def _step(self, name: str) -> bool:
        """Whether there was anything to do.

        What is decided on is the objects as they were before the workers were asked. What an Assignment was in charge
        of at any moment since, or has changed since, is left for the next look: else the operator would take what it
        did itself meanwhile for somebody's deed.
        """
        charged = self._busy()
        objects = dict(self._cluster.partitions.items)
        concerned = set(self._cluster.partitions.by(WORKER, name))
        view = await self._workers.look(name, None)
        if not view.reachable:
            return False
        concerned.update(view.parts)
        mine: dict[str, dict[str, Partition]] = {}
        for partition in (objects[each] for each in sorted(concerned) if each in objects):
            mine.setdefault(partition.spec.keyspace, {})[partition.metadata.name] = partition
        addresses = {link.name: link.data_address for link in self._workers}
        suspects = self._suspects(concerned, objects, view)
        views = await self._views(view, suspects)
        everything = await self._everything(view) if self._is_missing(name, concerned, objects, view) else None
        changed = self._changed(objects, concerned)
        busy = charged | self._busy() | changed
        if any(part.fenced and partition in busy for partition, part in view.parts.items()):
            self._fenced.add(name)
        decided: list[actions.Action] = []
        for keyspace in self._cluster.keyspaces:
            partitions = mine.get(keyspace.metadata.name, {})
            overlapping = partial(self._overlapping, objects, keyspace.metadata.name)
            around = Surroundings(views, self._workers.labels, self._silent(views), overlapping)
            suspect = [each for each, where in suspects.items() if where == keyspace.metadata.name and each not in busy]
            for each in suspect:
                steps = repair(objects.get(each), each, keyspace, around)
                if steps is not None:
                    busy.add(each)
                    decided += [actions.Parallel((steps,))] if steps else []
            if everything is None:
                decided += recover(partitions, view, keyspace, busy, addresses, overlapping)
            else:
                claims = claims_of(everything, keyspace.metadata.name)
                unasked = self._unasked(everything, keyspace)
                if unasked:
                    self._seekers.add(name)
                decided += recover(partitions, view, keyspace, busy, addresses, overlapping, claims, unasked)
        lanes = [lane for action in decided for lane in _lanes(action)]
        calm = (objects[each] for each in sorted(concerned.difference(busy, suspects)) if each in objects)
        lanes += [steps for partition in calm if (steps := settle(partition, self._repaired_seconds(partition)))]
        if not lanes:
            return bool(changed)
        log.info("worker %s: bringing %d partitions in line", name, len(lanes))
        results = await asyncio.gather(*(self._lane(lane) for lane in lanes), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return True

    def _changed(self, objects: Mapping[str, Partition], names: Iterable[str]) -> set[str]:
        """Of these Partitions those whose objects are others now."""
        current = self._cluster.partitions
        return {name for name in names if _substance(objects.get(name)) != _substance(current.get(name))}

    def _repaired_seconds(self, partition: Partition) -> float:
        """For how long the Partition has said that it was repaired."""
        condition = find(partition.status.conditions, Partition.REPAIRED)
        if condition is None:
            return 0.0
        key = f"{partition.metadata.uid} {condition.last_transition_time}"
        return self._moments.now() - self._moments.of(key, condition.last_transition_time)

    def _suspects(self, names: Iterable[str], objects: Mapping[str, Partition], view: WorkerView) -> dict[str, str]:
        """Of these Partitions those whose object does not go with what the worker holds, and their keyspaces."""
        found: dict[str, str] = {}
        for name in sorted(names):
            partition, part = objects.get(name), view.parts.get(name)
            if is_suspect(partition, view, part, self._workers.labels):
                found[name] = partition.spec.keyspace if partition is not None else part.keyspace if part else ""
        return found

    async def _views(self, view: WorkerView, suspects: Collection[str]) -> dict[str, WorkerView]:
        """What all workers that answer hold of these partitions."""
        if not suspects:
            return {}
        asked = sorted(suspects)
        others = [link.name for link in self._workers if link.name != view.name]
        looked = await asyncio.gather(*(self._workers.look(name, asked) for name in others))
        return {each.name: each for each in (view, *looked) if each.reachable}

    def _is_missing(self, name: str, names: Iterable[str], objects: Mapping[str, Partition], view: WorkerView) -> bool:
        """Whether the worker has not got what is its own, or has what no object shows."""
        for each in names:
            partition, part = objects.get(each), view.parts.get(each)
            if partition is None and part is not None and part.role == "primary":
                return True
            if partition is not None and partition.spec.primary == name and part is None:
                return True
        return False

    async def _everything(self, view: WorkerView) -> list[WorkerView]:
        """All workers with all that they hold: before something is served from empty, each is asked who has it."""
        others = [link.name for link in self._workers if link.name != view.name]
        return [view, *await asyncio.gather(*(self._workers.look(name, None) for name in others))]

    def _unasked(self, views: Iterable[WorkerView], keyspace: Keyspace) -> set[str]:
        """Workers that may hold what no object shows, and cannot be asked; whose lease is over serves nothing."""
        lapse = lapse_seconds(keyspace.spec.worker_lease)
        return {
            view.name
            for view in views
            if not view.reachable
            and not view.gone
            and view.name in self._doubted
            and not (0 < lapse <= view.unheard_seconds)
        }

    def _silent(self, views: Mapping[str, WorkerView]) -> set[str]:
        return {link.uid for link in self._workers if link.name not in views}

    def _overlapping(
        self, objects: Mapping[str, Partition], keyspace: str, start: bytes, end: bytes
    ) -> list[Partition]:
        """Of the Partitions as they were read, those of the keyspace with a key in [start, end)."""
        return [objects[name] for name in self._spans.overlapping(keyspace, start, end) if name in objects]

    async def _lane(self, steps: tuple[actions.Action, ...]) -> None:
        """One after the other, until an Assignment takes charge of the partition: it decides from then on."""
        for step in steps:
            if step.partition and any(self._cluster.unfinished(step.partition)):
                return
            outcome = Outcome()
            try:
                await self._executor.carry_out(None, step, outcome)
            except CommitUncertain:
                assert isinstance(step, actions.Commit)
                await self._cluster.read_back(step.partition)
                raise
            if isinstance(step, actions.CreatePartition) and outcome.stale:
                return  # Somebody else has made it: what was to be said of it is not true.

    def _busy(self) -> set[str]:
        busy: set[str] = set()
        for assignment in self._cluster.open_assignments():
            busy.update(assignment.partitions)
            keyspace = self._cluster.keyspace_of(assignment)
            if keyspace is not None and assignment.spec.new_params is None:
                busy.update(touched(assignment, self._cluster.partitions.items, keyspace).partitions)
        return busy


def _substance(partition: Partition | None) -> tuple[object, ...]:
    """What decisions are made from."""
    if partition is None:
        return ()
    return partition.metadata.uid, partition.spec, partition.status.phase, partition.status.incarnation


def _accepted(partition: Partition) -> str | None:
    return partition.metadata.annotations.get(ACCEPT_LOSS_ANNOTATION)


def _lanes(action: actions.Action) -> tuple[tuple[actions.Action, ...], ...]:
    return action.lanes if isinstance(action, actions.Parallel) else ((action,),)

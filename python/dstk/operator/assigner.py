"""The Assigner: looks, lets ``dstk.plan`` plan, and creates what is planned. It shares nothing with the reconciler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from dstk.api import (
    PROPOSED_LABEL,
    Assignment,
    Keyspace,
    Partition,
    PartitionPhase,
    standing,
    to_dict,
)
from dstk.api.conditions import condition, with_condition
from dstk.errors import ApiError, DstkError
from dstk.kube import PODS, STATEFUL_SETS, Cache, ObjectReference
from dstk.operator.cluster import ASSIGNMENTS, KEYSPACE, KEYSPACES, PRIMARY, Cluster, reference
from dstk.operator.coverage import Coverage
from dstk.operator.earlier import Bare, held_before, misfits, obstacle_of, says
from dstk.operator.marks import PartitionMarks
from dstk.operator.metrics import Metrics
from dstk.operator.moments import Moments
from dstk.operator.reconciler import FINALIZER
from dstk.operator.sets import REVISION_LABEL, owner_of, worker_set
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLinks
from dstk.operator.writes import difference
from dstk.plan import Cluster as Seen
from dstk.plan import Load, Plan, Restart, Worker, plan

__all__ = ["Assigner"]

log = logging.getLogger(__name__)

IDLE_LOOKS = 5
"""While no object changes, only the load can ask for something new: it is looked at every so many intervals."""

PLANNING_SHARE = 10
"""Planning may take at most one part in so many of the time, whatever the number of partitions."""


class Assigner:
    """Plans every interval, sooner or later as things change."""

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        spans: Spans,
        metrics: Metrics,
        settings: OperatorSettings,
        moments: Moments | None = None,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._metrics = metrics
        self._interval = settings.plan_interval
        self._writes = asyncio.Semaphore(settings.max_writes)
        self._moments = moments or Moments(cluster.clock)
        self._now = self._moments.now
        self._absent: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._marks = PartitionMarks(cluster, spans, self._writes, self._now)
        self._bare = Bare(cluster, workers, self._now)
        self._coverage = Coverage(cluster, spans, self._now)
        self._stuck: dict[str, str] = {}
        self._full: dict[str, str] = {}
        self._dirty = True
        caches: tuple[Cache[Any], ...] = (cluster.keyspaces, cluster.partitions, cluster.assignments, cluster.sets)
        for cache in caches:
            cache.on_change(self._on_change)
        workers.on_change(self._on_worker)

    async def run(self) -> None:
        """For ever."""
        idle = 0
        while True:
            started = self._cluster.clock.monotonic()
            if self._dirty or idle >= IDLE_LOOKS:
                self._dirty, idle = False, 0
                try:
                    await self.step()
                except DstkError as error:
                    self._dirty = True
                    log.warning("planning: %s", error)
                except Exception:  # One odd object must not end the operator: it would at every start.
                    self._dirty = True
                    log.exception("planning failed")
            idle += 1
            took = self._cluster.clock.monotonic() - started
            await asyncio.sleep(max(self._interval - took, 0.0))

    async def step(self) -> None:
        """Look once, plan once, create what is planned, and say on the Keyspaces how it stands."""
        await self._all(self._marks.changed())
        orphaned = held_before(self._cluster, self._workers)
        unfit = misfits(self._cluster.keyspaces, self._workers)
        kept = {*orphaned, *unfit}
        served = [keyspace for keyspace in self._cluster.keyspaces if keyspace.metadata.name not in kept]
        started = self._cluster.clock.monotonic()
        planned = plan(self._look(served), self._now())
        took = self._cluster.clock.monotonic() - started
        await self._create(planned)
        await self._restart(planned.restarts, planned.stuck)
        self._say_full(planned.stuck)
        await self._report(
            planned.cut, orphaned, planned.refused, unfit, {**self._coverage.look(), **self._bare.look(kept)}
        )
        await asyncio.sleep(max(0.0, took * PLANNING_SHARE - self._interval))

    def _on_change(self, old: object, new: object) -> None:
        self._dirty = True

    def _on_worker(self, name: str) -> None:
        self._dirty = True

    def _look(self, keyspaces: Sequence[Keyspace]) -> Seen:
        workers = [self._worker(name) for name in sorted(self._workers.labels)]
        known = {worker.name for worker in workers}
        now = self._now()
        owners = set(self._cluster.partitions.keys(PRIMARY)) - known - {""}
        self._absent = {name: self._absent.get(name, now) for name in sorted(owners)}
        loads = {
            name: Load(
                rows=load.rows,
                bytes=load.bytes,
                size=load.size,
                operations_per_second=load.operations_per_second,
                median_key=load.median_key,
            )
            for link in self._workers
            for name, load in link.loads.items()
            if load.role == "primary"
        }
        return Seen(
            keyspaces=keyspaces,
            partitions=[each for each in self._cluster.partitions if not self._has_rows_of(each)],
            workers=workers,
            assignments=list(self._cluster.assignments),
            loads=loads,
            absent=self._absent,
            moments=self._when(),
            sets=[worker_set(each) for each in self._cluster.sets],
        )

    def _when(self) -> dict[str, float]:
        """When finished Assignments ended and Partitions were created, by the clock that plans are made by."""
        said = {each.metadata.uid: each.metadata.creation_timestamp for each in self._cluster.partitions}
        said |= {each.metadata.uid: each.status.finished_at for each in self._cluster.assignments if each.finished}
        self._moments.keep(said)
        return {uid: self._moments.of(uid, moment) for uid, moment in said.items()}

    def _has_rows_of(self, partition: Partition) -> bool:
        """Whether a worker has rows of it though it has no owner: that one gets it back."""
        spec = partition.spec
        return not spec.primary and self._workers.holder(partition.metadata.name, spec.keyspace) is not None

    def _worker(self, name: str) -> Worker:
        link = self._workers.get(name)
        labels = self._workers.labels[name]
        place = self._place(name)
        if link is None:
            return Worker(name, labels, ready=False, leaving=self._workers.is_leaving(name), **place)
        leaving = link.draining or link.cordoned or self._workers.is_leaving(name)
        if link.reachable:
            self._silent.pop(name, None)
        else:
            self._silent.setdefault(name, self._now())
        silent_since = self._silent.get(name)
        if link.heard:
            silent_since = self._now() - self._workers.unheard_seconds(name)
        return Worker(
            name,
            labels,
            ready=link.reachable,
            leaving=leaving,
            silent_since=silent_since,
            room=link.room.free if link.room is not None else None,
            copies=frozenset(each for each, load in link.loads.items() if load.role in ("loading", "following")),
            **place,
        )

    def _place(self, name: str) -> dict[str, Any]:
        """The worker's StatefulSet, its ordinal and its revision there, if there is one."""
        pod = self._cluster.pods.get(name)
        owner = owner_of(pod) if pod is not None else None
        found = self._cluster.sets.get(owner[0].name) if owner is not None else None
        if pod is None or owner is None or found is None or found.metadata.uid != owner[0].uid:
            return {}
        return {"set": owner[0].name, "ordinal": owner[1], "revision": pod.metadata.labels.get(REVISION_LABEL, "")}

    async def _create(self, planned: Plan) -> None:
        await self._all(self._create_partition(partition) for partition in planned.partitions)
        await self._all(self._create_assignment(assignment) for assignment in planned.assignments)

    def _say_full(self, stuck: Mapping[str, str]) -> None:
        """An Event on each worker that leaves and whose partitions fit nowhere, when that begins."""
        for name, why in stuck.items():
            pod = self._cluster.pods.get(name)
            if name not in self._full and pod is not None:
                about = ObjectReference(PODS.api_version, PODS.kind, name, pod.metadata.namespace, pod.metadata.uid)
                self._cluster.events.record(about, "Warning", "NoRoom", f"{name} cannot be emptied: {why}")
                log.warning("%s cannot be emptied: %s", name, why)
        self._full = dict(stuck)
        self._metrics.full.set(len(stuck))

    async def _restart(self, restarts: Sequence[Restart], full: Mapping[str, str]) -> None:
        """Evict the pods that are to go, and say what keeps others from it."""
        stuck: dict[str, str] = {}
        for each in restarts:
            found, pod = self._cluster.sets.get(each.set), self._cluster.pods.get(each.worker)
            if found is None or pod is None:
                continue
            about = reference(STATEFUL_SETS, found)
            if each.empty and not pod.metadata.deletion_timestamp:
                revision = found.status.update_revision
                if await self._evict(each.worker, pod.metadata.uid):
                    message = f"{each.worker} is empty; its pod is evicted and comes back with revision {revision}"
                    self._cluster.events.record(about, "Normal", "WorkerRestarted", message)
                else:
                    stuck[each.worker] = "its PodDisruptionBudget does not allow an eviction now"
            elif each.stuck:
                stuck[each.worker] = each.stuck
            elif each.worker in full:
                stuck[each.worker] = "its partitions fit nowhere; its pod's Events say how much room they need"
            if (why := stuck.get(each.worker)) and why != self._stuck.get(each.worker):
                message = f"{each.worker} is to be restarted, but {why}"
                self._cluster.events.record(about, "Warning", "RestartStuck", message)
        self._stuck = stuck

    async def _evict(self, name: str, uid: str) -> bool:
        """Whether the pod goes, or has gone already; if not, it is tried again at the next look."""
        try:
            allowed = await self._cluster.pods.objects.evict(name, uid=uid)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return True
        if not allowed:
            self._dirty = True
        return allowed

    async def _create_partition(self, partition: Partition) -> None:
        async with self._writes:
            try:
                self._cluster.partitions.learn(await self._cluster.partitions.objects.create(to_dict(partition)))
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    async def _create_assignment(self, assignment: Assignment) -> None:
        metadata = assignment.metadata
        if metadata.labels.get(PROPOSED_LABEL) != "true":
            # The reconciler would put it there first thing: one write less.
            metadata = replace(metadata, finalizers=(*metadata.finalizers, FINALIZER))
        body = to_dict(replace(assignment, metadata=metadata))
        async with self._writes:
            try:
                created = await self._cluster.assignments.objects.create(body)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return
                raise
        self._cluster.assignments.learn(created)
        keyspace = self._cluster.keyspace_of(created)
        self._metrics.planned.labels(keyspace.metadata.name if keyspace else "", created.spec.type.value).inc()
        self._cluster.events.record(reference(ASSIGNMENTS, created), "Normal", "Planned", created.spec.reason)
        log.info("created assignment %s: %s", created.metadata.name, created.spec.reason)

    async def _report(
        self,
        cut: Sequence[str],
        orphaned: Collection[str],
        refused: Mapping[str, str],
        unfit: Mapping[str, str],
        bare: Mapping[str, str],
    ) -> None:
        """Status of the Keyspaces: how many partitions, how many served, and what keeps it from being ready."""
        for keyspace in list(self._cluster.keyspaces):
            name = keyspace.metadata.name
            partitions = self._cluster.partitions.by(KEYSPACE, name).values()
            ready = sum(partition.status.phase is PartitionPhase.READY for partition in partitions)
            conditions = keyspace.status.conditions
            generation = keyspace.metadata.generation
            if name in cut:
                # Once for all generations.
                done = condition(
                    self._now(), Keyspace.CUT, True, "Created", "the initial Partitions exist", generation=0
                )
                conditions = with_condition(conditions, done)
            elif bare.get(name) == "":
                message = "no Partition was left and no worker held any; it is cut again, from empty"
                undone = condition(self._now(), Keyspace.CUT, False, "Uncovered", message, generation=0)
                conditions = with_condition(conditions, undone)
                self._cluster.events.record(reference(KEYSPACES, keyspace), "Warning", "CutAgain", message)
            if (obstacle := obstacle_of(name, unfit, bare, {} if name in orphaned else refused)) is not None:
                state = condition(self._now(), standing.READY, False, *obstacle, generation)
                if not says(conditions, state):
                    self._cluster.events.record(reference(KEYSPACES, keyspace), "Warning", *obstacle)
            elif name in orphaned:
                message = "workers have partitions of an earlier Keyspace of this name; those get their objects back"
                state = condition(self._now(), standing.READY, False, "RowsHeld", message, generation)
            elif partitions and ready == sum(not partition.spec.merged_away for partition in partitions):
                state = condition(self._now(), standing.READY, True, "Served", "every partition is served", generation)
            else:
                message = f"{ready} of {len(partitions)} partitions are served"
                state = condition(self._now(), standing.READY, False, "NotServed", message, generation)
            conditions = with_condition(conditions, state)
            status = replace(
                keyspace.status,
                partitions=len(partitions),
                ready=ready,
                conditions=conditions,
                observed_generation=generation,
            )
            await self._write_status(keyspace, difference(to_dict(keyspace.status), to_dict(status)))

    async def _write_status(self, keyspace: Keyspace, patch: dict[str, Any]) -> None:
        if not patch:
            return
        name, version = keyspace.metadata.name, keyspace.metadata.resource_version
        try:
            written = await self._cluster.keyspaces.objects.patch_status(name, patch, resource_version=version)
        except ApiError as error:
            # Changed or deleted meanwhile: the next look sees to it.
            if error.status in (404, 409):
                self._dirty = True
                return
            raise
        self._cluster.keyspaces.learn(written)

    async def _all(self, work: Iterable[Awaitable[None]]) -> None:
        """Await all of it; what is new is to be looked at. Raises the first failure when everything has ended."""
        results = await asyncio.gather(*work, return_exceptions=True)
        if results:
            self._dirty = True
        for result in results:
            if isinstance(result, BaseException):
                raise result

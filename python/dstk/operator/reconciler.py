"""The AssignmentReconciler: one driver an unfinished Assignment, woken when something it depends on has changed."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from dstk.api import GROUP, Assignment, Partition
from dstk.errors import Unavailable
from dstk.kube import Term
from dstk.operator.cluster import Cluster, is_approved, is_finished
from dstk.operator.driver import Driver
from dstk.operator.executor import ActionExecutor
from dstk.operator.metrics import Metrics
from dstk.operator.moments import Moments
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLinks

__all__ = ["FINALIZER", "Reconciler"]

log = logging.getLogger(__name__)

FINALIZER = f"{GROUP}/reconciler"


class Reconciler:
    """Drives Assignments. ``start(name, uid)`` is what kopf's daemon awaits."""

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        spans: Spans,
        executor: ActionExecutor,
        metrics: Metrics,
        settings: OperatorSettings,
        term: Term,
        moments: Moments | None = None,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._spans = spans
        self._executor = executor
        self._metrics = metrics
        self._settings = settings
        self._term = term
        self._moments = moments or Moments(cluster.clock)
        self._drivers: dict[str, Driver] = {}
        self._taken: set[str] = set()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stopping = False
        self._by_partition: defaultdict[str, dict[Driver, None]] = defaultdict(dict)
        cluster.partitions.on_change(self._on_partition)
        cluster.on_assignment(self._on_assignment)
        workers.on_change(self._on_worker)
        cluster.partitions.on_history(self._on_history)
        cluster.assignments.on_history(self._on_history)

    @property
    def driving(self) -> int:
        return len(self._drivers)

    async def start(self, name: str, uid: str) -> None:
        """Drive the Assignment until it has ended, or until the reconciler stops (then it raises CancelledError).

        Raises whatever else ends the driver, a cancellation that nobody asked for as Unavailable: it is to be
        started again.
        """
        if self._stopping:
            raise asyncio.CancelledError
        task = asyncio.create_task(self._drive(name, uid), name=f"assignment {name}")
        self._tasks[task] = None
        try:
            await task
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            raise Unavailable(f"assignment {name}: its driver was cut off") from None
        finally:
            self._tasks.pop(task, None)

    def take_orphans(self) -> None:
        """Drive what was deleted while no operator ran: kopf starts no daemon for it."""
        for assignment in self._cluster.assignments:
            self._take_orphan(assignment)

    def _take_orphan(self, assignment: Assignment) -> None:
        metadata = assignment.metadata
        if metadata.deletion_timestamp is None or FINALIZER not in metadata.finalizers or is_finished(assignment):
            return
        self._take(assignment)

    def _take(self, assignment: Assignment) -> None:
        metadata = assignment.metadata
        if metadata.uid not in self._taken and not self._stopping:
            task = asyncio.create_task(self._drive(metadata.name, metadata.uid), name=f"taken {metadata.name}")
            self._tasks[task] = None
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def stop(self) -> None:
        """Stop driving, for good; another operator, or this one started again, goes on from where it is."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drive(self, name: str, uid: str) -> None:
        if uid in self._taken:
            return
        self._taken.add(uid)
        try:
            await self._drive_to_the_end(name, uid)
        finally:
            self._taken.discard(uid)

    async def _drive_to_the_end(self, name: str, uid: str) -> None:
        # A deleted one is taken as soon as it is seen, which may be before its Partitions are.
        await self._cluster.synced()
        # Nothing is begun that a deletion could make everybody forget.
        assignments = self._cluster.assignments
        known = assignments.get(name)
        if known is None or known.metadata.uid != uid:
            # kopf's watch can be ahead of the cache's.
            live = await assignments.objects.find(name)
            if live is None or live.metadata.uid != uid:
                return
            assignments.learn(live)
        assignment = await assignments.wait_for(name, _is_guarded)
        if assignment is None or assignment.metadata.uid != uid or is_finished(assignment):
            return
        driver = Driver(
            assignment, self._cluster, self._workers, self._spans, self._executor, self._settings, self._term,
            self._moments,
        )  # fmt: skip
        named = assignment.partitions
        self._drivers[uid] = driver
        for partition in named:
            self._by_partition[partition][driver] = None
        self._metrics.running.inc()
        try:
            with self._cluster.driving(assignment):
                await driver.run()
        finally:
            self._metrics.running.dec()
            del self._drivers[uid]
            for partition in named:
                drivers = self._by_partition[partition]
                drivers.pop(driver, None)
                if not drivers:
                    del self._by_partition[partition]

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        partition = new or old
        assert partition is not None
        name = partition.metadata.name
        for driver in self._by_partition.get(name, ()):
            driver.partition_changed(new, name)

    def _on_assignment(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        driver = self._drivers.get(assignment.metadata.uid)
        if driver is not None and (new is None or new.metadata.deletion_timestamp is not None):
            driver.wake()
        if new is not None:
            self._take_orphan(new)
        if new is None or is_finished(new) or (old is not None and is_approved(old) != is_approved(new)):
            for partition in assignment.partitions:
                for other in self._by_partition.get(partition, ()):
                    if other is not driver:
                        other.wake()

    def _on_history(self) -> None:
        """What is under way is looked at anew; what is under way again goes on, which kopf may not hear of."""
        for driver in self._drivers.values():
            driver.look_anew()
        for assignment in self._cluster.open_assignments():
            if FINALIZER in assignment.metadata.finalizers:
                self._take(assignment)

    def _on_worker(self, name: str) -> None:
        for driver in self._drivers.values():
            if name in driver.machine.worker_names:
                driver.wake()


def _is_guarded(assignment: Assignment | None) -> bool:
    if assignment is None or assignment.metadata.deletion_timestamp is not None:
        return True
    return FINALIZER in assignment.metadata.finalizers

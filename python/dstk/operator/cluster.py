"""What the operator sees of the cluster: one cache a kind, and the handles to write through."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from dstk.api import (
    API_VERSION,
    APPROVED_ANNOTATION,
    PROPOSED_LABEL,
    Assignment,
    Keyspace,
    Partition,
)
from dstk.clock import SYSTEM, Clock
from dstk.errors import DstkError
from dstk.kube import (
    EVENTS,
    PODS,
    STATEFUL_SETS,
    Api,
    Cache,
    EventRecorder,
    Kind,
    ObjectReference,
    Objects,
    Pod,
    StatefulSet,
)
from dstk.lifecycle.availability import is_away
from dstk.operator.settings import OperatorSettings

__all__ = [
    "ASSIGNMENTS",
    "AWAY",
    "KEYSPACE",
    "KEYSPACES",
    "PARTITIONS",
    "PRIMARY",
    "WORKER",
    "Cluster",
    "is_approved",
    "is_finished",
    "pod_reference",
    "reference",
]

log = logging.getLogger(__name__)

KEYSPACES = Kind(API_VERSION, "Keyspace", "keyspaces", Keyspace)
PARTITIONS = Kind(API_VERSION, "Partition", "partitions", Partition)
ASSIGNMENTS = Kind(API_VERSION, "Assignment", "assignments", Assignment)

Handler = Callable[[Assignment | None, Assignment | None], None]

UNFINISHED = "unfinished"
OPEN = "open"
KEYSPACE = "keyspace"
PRIMARY = "primary"
WORKER = "worker"
AWAY = "away"


def is_finished(assignment: Assignment) -> bool:
    """Completed or Aborted."""
    return assignment.status.phase is not None and assignment.status.phase.final


def is_approved(assignment: Assignment) -> bool:
    """May it run? Proposals wait for somebody's yes; everything else needs none."""
    proposed = assignment.metadata.labels.get(PROPOSED_LABEL) == "true"
    return not proposed or assignment.metadata.annotations.get(APPROVED_ANNOTATION) == "true"


def reference(
    kind: Kind[Assignment] | Kind[Partition] | Kind[Keyspace] | Kind[StatefulSet],
    item: Assignment | Partition | Keyspace | StatefulSet,
) -> ObjectReference:
    """What an Event about ``item`` points at."""
    metadata = item.metadata
    return ObjectReference(kind.api_version, kind.kind, metadata.name, metadata.namespace, metadata.uid)


def pod_reference(name: str, namespace: str, uid: str) -> ObjectReference:
    """What an Event about a pod points at."""
    return ObjectReference(PODS.api_version, PODS.kind, name, namespace, uid)


class Cluster:
    """The caches, indexed so that no decision scans a whole kind.

    ``partitions`` by keyspace, by primary, by each worker they name, and by the primary that they say is silent or
    gone; ``assignments`` that are not finished by each partition they name.
    An Assignment whose driver runs is in charge of its partitions until the driver ends, also when the object is gone:
    somebody has removed its finalizer.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        settings: OperatorSettings,
        on_write: Callable[[str, str], None] | None = None,
        clock: Clock = SYSTEM,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.clock = clock
        self.namespace = namespace
        cache = settings.cache
        self.keyspaces: Cache[Keyspace] = Cache(
            Objects(api, KEYSPACES, namespace, on_write), settings=cache, clock=clock
        )
        self.partitions: Cache[Partition] = Cache(
            Objects(api, PARTITIONS, namespace, on_write), settings=cache, clock=clock
        )
        self.assignments: Cache[Assignment] = Cache(
            Objects(api, ASSIGNMENTS, namespace, on_write), settings=cache, clock=clock
        )
        self.pods: Cache[Pod] = Cache(
            Objects(api, PODS, namespace, on_write),
            label_selector=settings.worker_selector,
            settings=cache,
            clock=clock,
        )
        self.sets: Cache[StatefulSet] = Cache(Objects(api, STATEFUL_SETS, namespace), settings=cache, clock=clock)
        self.events = EventRecorder(Objects(api, EVENTS, namespace, on_write), "dstk-operator", clock, token)
        self.partitions.index(KEYSPACE, lambda partition: (partition.spec.keyspace,))
        self.partitions.index(PRIMARY, lambda partition: (partition.spec.primary or "",))
        self.partitions.index(WORKER, _workers_named)
        self.partitions.index(AWAY, lambda partition: (partition.spec.primary or "",) if is_away(partition) else ())
        self.assignments.index(UNFINISHED, _partitions_while_unfinished)
        self.assignments.index(OPEN, lambda assignment: () if is_finished(assignment) else ("",))
        self._driven: set[str] = set()
        self._vanished: dict[str, Assignment] = {}
        self._let_go_handlers: list[Handler] = []
        self.assignments.on_change(self._note_vanished)

    def on_assignment(self, handler: Handler) -> None:
        """Have ``handler(old, new)`` called when an Assignment changes, and once more when one that had vanished is no
        longer in charge."""
        self.assignments.on_change(handler)
        self._let_go_handlers.append(handler)

    @contextlib.contextmanager
    def driving(self, assignment: Assignment) -> Iterator[None]:
        """Its driver runs meanwhile."""
        uid = assignment.metadata.uid
        self._driven.add(uid)
        try:
            yield
        finally:
            self._driven.discard(uid)
            vanished = self._vanished.pop(uid, None)
            for handler in self._let_go_handlers if vanished is not None else ():
                handler(vanished, None)

    def unfinished(self, partition: str) -> Iterator[Assignment]:
        """The unfinished, approved Assignments that name the partition."""
        for assignment in self.assignments.by(UNFINISHED, partition).values():
            if is_approved(assignment):
                yield assignment
        for assignment in self._vanished.values():
            if partition in _partitions_while_unfinished(assignment):
                yield assignment

    def open_assignments(self) -> Iterator[Assignment]:
        """All Assignments that are not finished and may run."""
        for assignment in self.assignments.by(OPEN, "").values():
            if is_approved(assignment):
                yield assignment
        yield from self._vanished.values()

    def _note_vanished(self, old: Assignment | None, new: Assignment | None) -> None:
        if old is None or is_finished(old) or old.metadata.uid not in self._driven:
            return
        if new is None or new.metadata.uid != old.metadata.uid:
            self._vanished[old.metadata.uid] = old

    def keyspace_of(self, assignment: Assignment) -> Keyspace | None:
        """The Keyspace of the Partitions that it names or is known to create, as far as they are there."""
        for name in assignment.partitions:
            partition = self.partitions.get(name)
            if partition is not None:
                return self.keyspaces.get(partition.spec.keyspace)
        return None

    def lease_before(self, worker: str, uid: str) -> float | None:
        """The longest lease, in seconds, under which an earlier pod of the worker than that of `uid` was last known to
        serve; 0: under none; None: not known yet."""
        if not (self.partitions.is_synced and self.keyspaces.is_synced):
            return None
        before = (
            self.keyspaces.get(partition.spec.keyspace)
            for partition in self.partitions.by(WORKER, worker).values()
            if partition.spec.primary == worker and partition.status.incarnation.partition("/")[0] not in ("", uid)
        )
        return max((keyspace.spec.worker_lease for keyspace in before if keyspace is not None), default=0.0)

    async def read_back(self, partition: str) -> bool:
        """Read a Partition from the API server itself; whether it could be read."""
        try:
            live = await self.partitions.objects.find(partition)
        except DstkError as error:
            log.info("partition %s cannot be read back: %s", partition, error)
            return False
        if live is not None:
            self.partitions.learn(live)
        return True

    def ahead(self, assignment: Assignment, partitions: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the Assignments that go first on one of the partitions: older ones, by name within a second."""
        order = _order(assignment)
        found = {
            other.metadata.name
            for partition in partitions
            for other in self.unfinished(partition)
            if other.metadata.uid != assignment.metadata.uid and _order(other) < order
        }
        return tuple(sorted(found))

    @property
    def caches(self) -> tuple[Cache[Any], ...]:
        return (self.keyspaces, self.partitions, self.assignments, self.pods, self.sets)

    async def run(self) -> None:
        """Keep the caches and write the Events, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for cache in self.caches:
                tasks.create_task(cache.run())
            tasks.create_task(self.events.run())

    async def synced(self) -> None:
        """Wait until every cache has been listed once."""
        for cache in self.caches:
            await cache.synced()


def _order(assignment: Assignment) -> tuple[float, str]:
    created = assignment.metadata.creation_timestamp
    return (created.timestamp() if created else 0.0, assignment.metadata.name)


def _workers_named(partition: Partition) -> tuple[str, ...]:
    return tuple(filter(None, (partition.spec.primary, partition.spec.proxy)))


def _partitions_while_unfinished(assignment: Assignment) -> tuple[str, ...]:
    return () if is_finished(assignment) else assignment.partitions

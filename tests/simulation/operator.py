"""An operator: its caches, what it knows of workers, a driver an Assignment, recovery, routes, and the Assigner.

It does what ``dstk.operator`` does, in the same order, with the same decisions; what is awaited there is yielded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as with_

from dstk.api import Assignment, AssignmentPhase, Durability, Partition
from dstk.api.validation import Refusal, check
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import touched

from .api_server import Cache, NotFound
from .checker import span_of_partition
from .clock import Failed, Process, Steps, Task
from .driver import Driver, is_final
from .hands import Hands
from .recovery import Recovery
from .worker import Route

if TYPE_CHECKING:
    from .world import World

__all__ = ["Operator"]


@dataclass(slots=True)
class Link:
    """What an operator knows of a worker."""

    name: str
    uid: str
    incarnation: str = ""
    term: int = 0
    reachable: bool = False
    loads: Mapping[str, PartitionView] = field(default_factory=dict)
    task: Task | None = None


class Operator(Process):
    """One holder of the lease, of `term`."""

    def __init__(self, world: World, term: int) -> None:
        super().__init__()
        self.world = world
        self.clock = world.clock
        self.term = term
        self.keyspace = world.keyspace
        self.partitions = Cache(world.api, "partitions", self)
        self.assignments = Cache(world.api, "assignments", self)
        self.pods = Cache(world.api, "pods", self)
        self.links: dict[str, Link] = {}
        self.hands = Hands(self)
        self.drivers: dict[str, Driver] = {}
        self.vanished: dict[str, Assignment] = {}
        """Assignments whose driver runs though they are gone: they are in charge until it ends."""
        self.recovery = Recovery(self)
        self._absent: dict[str, float] = {}
        self._pushes: set[str] = set()

    def start(self) -> None:
        self.partitions.on_change(self._on_partition)
        self.assignments.on_change(self._on_assignment)
        self.pods.on_change(self._on_pod)
        for pod in list(self.pods):
            self._on_pod(None, pod)
        for assignment in list(self.assignments):
            self._on_assignment(None, assignment)
        self.spawn(self.recovery.look_again())
        if self.world.plans:
            self.spawn(self._plan())

    def spawn(self, steps: Steps) -> Task:
        return self.clock.spawn(self, steps, 0.005 * self.clock.random.random())

    def end(self) -> None:
        self.alive = False
        for cache in (self.partitions, self.assignments, self.pods):
            cache.close()

    # Changes

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        partition = new or old
        assert partition is not None
        name = partition.metadata.name
        for driver in self.drivers.values():
            if name in driver.named:
                driver.partition_changed(new, name)
        if old is None or new is None or old.spec != new.spec:
            for worker in self.links:
                self._push_soon(worker)

    def _on_assignment(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        driver = self.drivers.get(assignment.metadata.uid)
        if driver is not None and old is not None and new is None and not is_final(old):
            self.vanished[old.metadata.uid] = old
        if driver is not None and (new is None or new.metadata.deletion_timestamp is not None):
            driver.wake()
        if new is None or is_final(new):
            for other in self.drivers.values():
                if other is not driver and other.named & set(assignment.partitions):
                    other.wake()
        if driver is None and new is not None:
            if not is_final(new):
                driver = self.drivers[new.metadata.uid] = Driver(self, new)
                self.spawn(driver.run())
            elif new.metadata.deletion_timestamp is not None:
                self.spawn(self.finalize(new))
        self.recovery.on_assignment(old, new)

    def driver_ended(self, assignment: Assignment) -> None:
        self.drivers.pop(assignment.metadata.uid, None)
        vanished = self.vanished.pop(assignment.metadata.uid, None)
        if vanished is not None:
            self._on_assignment(vanished, None)

    def _in_charge(self) -> Iterator[Assignment]:
        yield from (each for each in self.assignments if not is_final(each))
        yield from self.vanished.values()

    def finalize(self, assignment: Assignment) -> Steps:
        """Let go of an Assignment that was deleted and has ended."""
        name, uid = assignment.metadata.name, assignment.metadata.uid
        yield self.world.api.request(lambda: self.world.api.delete("assignments", name, uid))

    def _on_pod(self, old: Any, new: Any) -> None:
        pod = new or old
        name = pod.metadata.name
        link = self.links.get(name)
        if link is not None and (new is None or link.uid != new.metadata.uid):
            del self.links[name]
            if link.task is not None:
                link.task.stop()
            link = None
        if new is not None and link is None:
            link = self.links[name] = Link(name, new.metadata.uid)
            link.task = self.spawn(self._keep(link))
        self.on_worker(name)

    def on_worker(self, name: str) -> None:
        self.recovery.on_worker(name)
        for driver in self.drivers.values():
            if name in driver.worker_names:
                driver.wake()

    # Workers

    def _keep(self, link: Link) -> Steps:
        """Stay in touch: the worker reports its loads, or it is silent."""
        while True:
            reply = self.world.network.call(link.name, "look", None)
            yield reply
            try:
                incarnation, term, views = reply.result()
            except Failed:
                if link.reachable:
                    link.reachable = False
                    self.on_worker(link.name)
            else:
                link.loads = views
                self._heard(link, incarnation, term)
                if not link.reachable:
                    link.reachable = True
                    self.on_worker(link.name)
                    self._push_soon(link.name)
            yield 0.5 + self.clock.random.random()

    def _heard(self, link: Link, incarnation: str, term: int) -> None:
        link.term = max(link.term, term)
        if incarnation != link.incarnation:
            link.incarnation = incarnation
            self.on_worker(link.name)
            self._push_soon(link.name)

    def look(self, name: str, names: list[str] | None) -> Steps:
        """A WorkerView, just now."""
        view = yield from self._look(name, names)
        if view.gone and (yield from self.is_there(name)):
            return replace(view, gone=False)
        return view

    def is_there(self, name: str) -> Steps:
        """Whether the API server itself has the pod, or does not say."""
        api = self.world.api
        reply = api.request(lambda: api.get("pods", name))
        yield reply
        try:
            reply.result()
        except NotFound:
            return False
        except Failed:
            pass
        return True

    def _look(self, name: str, names: list[str] | None) -> Steps:
        link = self.links.get(name)
        if link is None:
            return WorkerView(name, reachable=False, gone=name not in self.pods.items)
        reply = self.world.network.call(name, "look", names)
        yield reply
        try:
            incarnation, term, views = reply.result()
        except Failed:
            return self._view(link, {}, reachable=False)
        self._heard(link, incarnation, term)
        return self._view(link, views, reachable=True)

    def _view(self, link: Link, parts: Mapping[str, PartitionView], *, reachable: bool) -> WorkerView:
        return WorkerView(
            name=link.name,
            incarnation=link.incarnation,
            address=f"{link.name}:7",
            reachable=reachable,
            gone=not reachable and link.name not in self.pods.items,
            term=link.term,
            parts=parts,
        )

    # Routes

    def _push_soon(self, worker: str) -> None:
        if worker not in self._pushes:
            self._pushes.add(worker)
            self.spawn(self._push(worker))

    def _push(self, worker: str) -> Steps:
        """All that the cache says, to one worker; again when it does not arrive."""
        while worker in self.links:
            yield 0.01
            self._pushes.discard(worker)
            routes = {}
            for partition in self.partitions:
                spec = partition.spec
                if spec.primary or not spec.proxy:
                    span = span_of_partition(partition)
                    routes[partition.metadata.name] = Route(span.start, span.end, spec.epoch, spec.primary or "")
            reply = self.world.network.call(worker, "take_routes", self.term, routes)
            yield reply
            try:
                reply.result()
            except Failed:
                self._pushes.add(worker)
                yield 0.5
            else:
                return
        self._pushes.discard(worker)

    # The Assigner

    def _plan(self) -> Steps:
        from .planner import plan_for

        api = self.world.api
        while self.world.plans:
            yield 1.0
            known = {*self.pods.items}
            owners = sorted({each.spec.primary for each in self.partitions if each.spec.primary} - known)
            self._absent = {name: self._absent.get(name, self.clock.now) for name in owners}
            for assignment in plan_for(self, self._absent):
                yield api.request(lambda new=assignment: api.create("assignments", new))

    # What drivers ask

    def ahead(self, assignment: Assignment, names: Iterable[str]) -> tuple[str, ...]:
        """Older unfinished Assignments that name one of the partitions."""
        order, names = _order(assignment), set(names)
        return tuple(
            sorted(
                other.metadata.name
                for other in self._in_charge()
                if other.metadata.uid != assignment.metadata.uid
                and not names.isdisjoint(other.partitions)
                and _order(other) < order
            )
        )

    def busy(self) -> set[str]:
        """Partitions that an unfinished Assignment touches."""
        busy: set[str] = set()
        for assignment in self._in_charge():
            busy.update(assignment.partitions)
            if assignment.spec.new_params is None:
                busy.update(touched(assignment, self.partitions.items, self.keyspace).partitions)
        return busy

    def taken(self, partition: str) -> bool:
        """Whether an unfinished Assignment names the partition."""
        return any(partition in each.partitions for each in self._in_charge())

    def refusal(self, assignment: Assignment) -> Refusal | None:
        if assignment.status.phase not in (None, AssignmentPhase.PENDING):
            return None
        # What is asked here is what does not depend on how the rows are kept.
        spec = with_(self.keyspace.spec, durability=Durability.MEMORY)
        keyspaces = {self.keyspace.metadata.name: with_(self.keyspace, spec=spec)}
        pods: dict[str, Any] = {name: {} for name in self.pods.items}
        return check(assignment, self.partitions.items, keyspaces, pods, self.meeting)

    def over(self, start: bytes, end: bytes) -> list[Partition]:
        return [self.partitions.items[name] for name in self.meeting("", start, end)]

    def meeting(self, keyspace: str, start: bytes, end: bytes) -> Iterator[str]:
        for name, partition in self.partitions.items.items():
            span = span_of_partition(partition)
            if (not end or span.start < end) and (not span.end or start < span.end):
                yield name


def _order(assignment: Assignment) -> tuple[float, str]:
    created = assignment.metadata.creation_timestamp
    return (created.timestamp() if created else 0.0, assignment.metadata.name)

"""An operator: its caches, what it knows of workers, a driver an Assignment, recovery, routes, and the Assigner.

It does what ``dstk.operator`` does, in the same order, with the same decisions; what is awaited there is yielded here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as with_

from dstk.api import (
    Assignment,
    AssignmentPhase,
    Condition,
    ConditionStatus,
    Durability,
    KeyRange,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
)
from dstk.api.conditions import with_condition
from dstk.api.partition import PartitionStatus
from dstk.api.validation import Refusal, check
from dstk.lifecycle import actions, decide, recover, touched
from dstk.lifecycle.memory import Memory
from dstk.lifecycle.observed import Limits, Observed, PartView, WorkerView

from .api_server import Cache, Conflict, NotFound, TimedOut
from .checker import span_of_partition
from .clock import Failed, Process, Reply, Steps, Task
from .worker import Request, Route

if TYPE_CHECKING:
    from .world import World

__all__ = ["LIMITS", "Operator", "is_final"]

LIMITS = Limits(
    deadline_seconds=200.0,
    stall_seconds=4.0,
    fence_lag_writes=5,
    fence_max_seconds=1.0,
    fence_tries=20,
    fence_retry_seconds=1.0,
    follow_tries=20,
    follow_retry_seconds=0.5,
    chunk=3,
)
"""Tries are many here: what ends an operation early is what the matrix tests are for."""

RELOOK_SECONDS = 10.0
"""Every worker is looked at anew so often, for what arrived too late to be noticed."""


def is_final(assignment: Assignment) -> bool:
    phase = assignment.status.phase
    return phase is not None and phase.final


@dataclass(slots=True)
class Link:
    """What an operator knows of a worker."""

    name: str
    uid: str
    incarnation: str = ""
    term: int = 0
    reachable: bool = False
    loads: Mapping[str, PartView] = field(default_factory=dict)
    task: Task | None = None


@dataclass(slots=True)
class Outcome:
    """What came back from the actions of one decision."""

    written: dict[str, Partition | None] = field(default_factory=dict)
    states: list[tuple[str, dict[str, PartView]]] = field(default_factory=list)
    stale: bool = False


class Uncertain(Failed):
    """A commit was sent and it is not known whether it took effect."""


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
                if other is not driver and other.named & {*assignment.spec.partitions, *assignment.spec.creates}:
                    other.wake()
        if driver is None and new is not None:
            if not is_final(new):
                driver = self.drivers[new.metadata.uid] = Driver(self, new)
                self.spawn(driver.run())
            elif new.metadata.deletion_timestamp is not None:
                self.spawn(self._finalize(new))
        self.recovery.on_assignment(old, new)

    def driver_ended(self, assignment: Assignment) -> None:
        self.drivers.pop(assignment.metadata.uid, None)
        vanished = self.vanished.pop(assignment.metadata.uid, None)
        if vanished is not None:
            self._on_assignment(vanished, None)

    def _in_charge(self) -> Iterator[Assignment]:
        yield from (each for each in self.assignments if not is_final(each))
        yield from self.vanished.values()

    def _finalize(self, assignment: Assignment) -> Steps:
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

    def _view(self, link: Link, parts: Mapping[str, PartView], *, reachable: bool) -> WorkerView:
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
                and not names.isdisjoint((*other.spec.partitions, *other.spec.creates))
                and _order(other) < order
            )
        )

    def busy(self) -> set[str]:
        """Partitions that an unfinished Assignment touches."""
        busy: set[str] = set()
        for assignment in self._in_charge():
            busy.update((*assignment.spec.partitions, *assignment.spec.creates))
            if assignment.spec.new_params is None:
                busy.update(touched(assignment, self.partitions.items, self.keyspace).partitions)
        return busy

    def taken(self, partition: str) -> bool:
        """Whether an unfinished Assignment names the partition."""
        return any(partition in (*each.spec.partitions, *each.spec.creates) for each in self._in_charge())

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

    # Hands

    def carry_out(self, assignment: Assignment | None, action: actions.Action, outcome: Outcome) -> Steps:
        """One action. Raises Failed, or Uncertain."""
        if self.world.trace is not None:
            about = assignment.metadata.name if assignment is not None else "recovery"
            self.world.note("[%s] %s: %s", self.term, about, said(action))
        match action:
            case actions.Tell():
                yield from self._tell(action, outcome)
            case actions.Commit():
                yield from self._commit(action, outcome)
            case actions.Touch():
                yield from self._touch(action, outcome)
            case actions.CreatePartition():
                yield from self._create(action, outcome)
            case actions.DeletePartition():
                yield from self._delete(action, outcome)
            case actions.SetPartitionStatus():
                yield from self._set_partition_status(action, outcome)
            case actions.SetStatus() if assignment is not None:
                yield from self._set_status(assignment, action)
            case actions.Record():
                self.world.events.append(action)

    def _tell(self, tell: actions.Tell, outcome: Outcome) -> Steps:
        if tell.worker not in self.links:
            raise Failed("there is no such worker")
        request = Request(tell.incarnation, self.term, tell.partition, tell.epoch, tell.command)
        reply = self.world.network.call(tell.worker, "act", request)
        yield reply
        states = reply.result()
        named = [tell.partition]
        if isinstance(tell.command, actions.Merge):
            named += [part.partition for part in tell.command.parts]
        gone = {name: PartView("disconnected", tell.epoch) for name in named if name not in states}
        outcome.states.append((tell.worker, {**states, **gone}))

    def _commit(self, commit: actions.Commit, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(
            lambda: api.replace("partitions", commit.partition, _committed(commit), commit.resource_version)
        )
        yield reply
        try:
            written = reply.result()
        except TimedOut as error:
            raise Uncertain(str(error)) from error
        except Conflict:
            # Told again after it took effect is a success.
            reply = api.request(lambda: api.get("partitions", commit.partition))
            yield reply
            live = reply.result()
            self.partitions.learn(live)
            if (live.spec.primary or "", live.spec.proxy or "", live.spec.epoch) != (
                commit.primary, commit.proxy, commit.epoch,
            ):  # fmt: skip
                raise
            outcome.stale = True
            written = live
        self._learn(written, outcome)

    def _touch(self, touch: actions.Touch, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(lambda: api.replace("partitions", touch.partition, lambda it: it, touch.resource_version))
        yield reply
        self._learn(reply.result(), outcome)

    def _create(self, create: actions.CreatePartition, outcome: Outcome) -> Steps:
        api = self.world.api
        range_ = KeyRange(start=create.start, end=create.end)
        spec = PartitionSpec(keyspace=create.keyspace, range=range_, primary=create.primary, epoch=create.epoch)
        created = datetime.fromtimestamp(self.clock.now, UTC)
        fresh = Partition(metadata=ObjectMeta(name=create.name, creation_timestamp=created), spec=spec)
        reply = api.request(lambda: api.create("partitions", fresh))
        yield reply
        try:
            made = reply.result()
        except (Conflict, TimedOut):
            reply = api.request(lambda: api.get("partitions", create.name))
            yield reply
            made = reply.result()
            outcome.stale = True
            if made.spec.range != range_ or made.spec.epoch < create.epoch:
                raise
        if (made.status.phase, made.status.incarnation) != (PartitionPhase.READY, create.incarnation):
            status = PartitionStatus(phase=PartitionPhase.READY, incarnation=create.incarnation)
            reply = api.request(lambda: api.replace("partitions", create.name, lambda it: with_(it, status=status)))
            yield reply
            made = reply.result()
        self._learn(made, outcome)

    def _delete(self, delete: actions.DeletePartition, outcome: Outcome) -> Steps:
        api = self.world.api
        reply = api.request(lambda: api.delete("partitions", delete.name, delete.uid))
        yield reply
        with contextlib.suppress(NotFound, Conflict):
            reply.result()
        outcome.written[delete.name] = None

    def _set_partition_status(self, change: actions.SetPartitionStatus, outcome: Outcome) -> Steps:
        api, known = self.world.api, self.partitions.get(change.partition)
        if known is None:
            return
        status = known.status
        condition = None
        if change.condition:
            condition = Condition(
                type=change.condition,
                status=ConditionStatus.TRUE,
                last_transition_time=datetime.fromtimestamp(self.clock.now, UTC),
                reason=change.reason or change.condition,
                message=change.message,
            )
        same = status.phase == change.phase and change.incarnation in ("", status.incarnation)
        if same and condition is None:
            return

        def patch(partition: Partition) -> Partition:
            new = with_(partition.status, phase=change.phase)
            if change.incarnation:
                new = with_(new, incarnation=change.incarnation)
            if condition is not None:
                new = with_(new, conditions=with_condition(new.conditions, condition))
            return with_(partition, status=new)

        reply = api.request(lambda: api.replace("partitions", change.partition, patch))
        yield reply
        try:
            written = reply.result()
        except NotFound:
            return
        self.partitions.learn(written)
        outcome.stale = True

    def _set_status(self, assignment: Assignment, change: actions.SetStatus) -> Steps:
        api, name = self.world.api, assignment.metadata.name
        known = self.assignments.get(name)
        if known is None or known.metadata.uid != assignment.metadata.uid or known.status == change.status:
            return
        # The version that was decided from: what others have written since is not to be overwritten.
        version = assignment.metadata.resource_version
        reply = api.request(
            lambda: api.replace("assignments", name, lambda it: with_(it, status=change.status), version)
        )
        yield reply
        try:
            written = reply.result()
        except NotFound:
            return
        except Conflict:
            reply = api.request(lambda: api.get("assignments", name))
            yield reply
            self.assignments.learn(reply.result())
            raise
        self.assignments.learn(written)

    def _learn(self, partition: Partition, outcome: Outcome) -> None:
        outcome.written[partition.metadata.name] = partition
        self.partitions.learn(partition)


def _committed(commit: actions.Commit) -> Any:
    def patch(partition: Partition) -> Partition:
        spec = with_(partition.spec, primary=commit.primary or None, proxy=commit.proxy or None, epoch=commit.epoch)
        return with_(partition, spec=spec)

    return patch


def _order(assignment: Assignment) -> tuple[float, str]:
    created = assignment.metadata.creation_timestamp
    return (created.timestamp() if created else 0.0, assignment.metadata.name)


class Driver:
    """The loop around ``decide`` for one Assignment; see ``dstk.operator.driver``."""

    def __init__(self, operator: Operator, assignment: Assignment) -> None:
        self.assignment = assignment
        self.named = {*assignment.spec.partitions, *assignment.spec.creates}
        self.worker_names: tuple[str, ...] = ()
        self._operator = operator
        self._memory = Memory()
        self._uncertain: set[str] = set()
        self._partitions: dict[str, Partition] = {}
        self._views: dict[str, WorkerView] = {}
        self._lives: dict[str, str] = {}
        self._outcome = Outcome()
        self._fresh = False
        self._last: list[actions.Action] = []
        self._changed = Reply()

    def wake(self) -> None:
        self._changed.succeed()

    def partition_changed(self, new: Partition | None, name: str) -> None:
        """A Partition changed; ignored when it is what this driver wrote itself."""
        known = self._partitions.get(name)
        if name in self._outcome.written:
            known = self._outcome.written[name]
        if new is None and known is None:
            return
        if new is not None and known is not None:
            ours = int(known.metadata.resource_version) >= int(new.metadata.resource_version)
            if ours and known.metadata.uid == new.metadata.uid:
                return
        self._fresh = False
        self.wake()

    def run(self) -> Steps:
        clock = self._operator.clock
        while not is_final(self.assignment):
            self._changed = Reply()
            try:
                pause = yield from self._step()
            except Failed as failed:
                self._operator.world.note("[%s] failed: %s", self._operator.term, failed)
                pause, self._fresh = 0.1, False
            if pause is not None and not is_final(self.assignment):
                pause = max(pause, 0.01)
                changed = self._changed
                clock.after(pause, changed.succeed, "over")
                yield changed
                if changed.result() == "over":
                    self._fresh = False
        self._operator.driver_ended(self.assignment)
        current = self._operator.assignments.get(self.assignment.metadata.name)
        if current is not None and current.metadata.deletion_timestamp is not None and is_final(current):
            yield from self._operator._finalize(current)

    def _step(self) -> Steps:
        """One decision; how long to wait before the next one."""
        operator = self._operator
        observed = yield from self._observe()
        decided = decide(observed, operator.clock.now)
        if decided == self._last:
            self._fresh = False
        self._last = decided
        waits = [action.seconds for action in decided if isinstance(action, actions.Wait)]
        outcome = self._outcome = Outcome()
        try:
            for action in decided:
                if isinstance(action, actions.Parallel):
                    yield from self._lanes(action, outcome)
                elif not isinstance(action, actions.Wait):
                    yield from self._act(action, outcome)
        finally:
            self._take_in(outcome)
        if not waits:
            return None if decided else LIMITS.wait_seconds
        self._fresh = False
        return min(waits)

    def _lanes(self, parallel: actions.Parallel, outcome: Outcome) -> Steps:
        failed = None
        for lane in parallel.lanes:
            try:
                for action in lane:
                    yield from self._act(action, outcome)
            except Failed as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _act(self, action: actions.Action, outcome: Outcome) -> Steps:
        operator, failed = self._operator, True
        try:
            yield from operator.carry_out(self.assignment, action, outcome)
            failed = False
        except Uncertain:
            assert isinstance(action, actions.Commit)
            self.doubt(action.partition)
            raise
        finally:
            self._memory = self._memory.after(action, operator.clock.now, failed)
        if isinstance(action, actions.SetStatus):
            current = operator.assignments.get(self.assignment.metadata.name)
            if current is not None and current.metadata.uid == self.assignment.metadata.uid:
                self.assignment = current
            else:
                self.assignment = with_(self.assignment, status=action.status)

    def doubt(self, partition: str) -> None:
        """It is not known whether the commit has happened."""
        self._uncertain.add(partition)

    def _take_in(self, outcome: Outcome) -> None:
        for name, partition in outcome.written.items():
            if partition is None:
                self._partitions.pop(name, None)
            else:
                self._partitions[name] = partition
        for worker, states in outcome.states:
            view = self._views.get(worker)
            if view is not None:
                merged = {**view.parts, **states}
                parts = {name: part for name, part in merged.items() if part.role != "disconnected"}
                self._views[worker] = replace(view, term=max(view.term, self._operator.term), parts=parts)
        if outcome.stale:
            self._fresh = False

    def _observe(self) -> Steps:
        operator = self._operator
        name, uid = self.assignment.metadata.name, self.assignment.metadata.uid
        current = operator.assignments.get(name)
        deleted = current is None or current.metadata.uid != uid
        if not deleted:
            self.assignment = current
        if not self._fresh:
            yield from self._look()
        assignment = self.assignment
        return Observed(
            assignment=assignment,
            keyspace=operator.keyspace,
            partitions=dict(self._partitions),
            workers=dict(self._views),
            ahead=operator.ahead(assignment, self.partition_names),
            cancelled=deleted or assignment.metadata.deletion_timestamp is not None,
            refusal=operator.refusal(assignment),
            uncertain=bool(self._uncertain),
            term=operator.term,
            limits=LIMITS,
            memory=self._memory,
        )

    def _look(self) -> Steps:
        """Objects first, workers after them."""
        operator = self._operator
        if self._uncertain:
            yield from self._read_back()
        names = touched(self.assignment, operator.partitions.items, operator.keyspace)
        self.partition_names, self.worker_names = names.partitions, names.workers
        self._partitions = {
            name: partition for name in names.partitions if (partition := operator.partitions.get(name)) is not None
        }
        views = []
        for worker in names.workers:
            view = yield from operator.look(worker, list(names.partitions))
            views.append(view)
        self._views = {view.name: self._with_life(view) for view in views}
        silent = (view.name for view in views if not view.reachable)
        self._memory = self._memory.saw(silent, operator.clock.now)
        self._fresh = True

    def _read_back(self) -> Steps:
        api = self._operator.world.api
        for name in sorted(self._uncertain):
            reply = api.request(lambda name=name: api.get("partitions", name))
            yield reply
            try:
                self._operator.partitions.learn(reply.result())
            except NotFound:
                pass
            except Failed:
                return
            self._uncertain.discard(name)

    def _with_life(self, view: WorkerView) -> WorkerView:
        """In another life than it was first seen in, a worker that keeps nothing on disk is gone."""
        if self._operator.keyspace.spec.durability is Durability.DISK:
            return view
        if view.reachable and view.parts:
            self._lives[view.name] = view.incarnation
        seen = self._lives.get(view.name, view.incarnation)
        return view if seen == view.incarnation else replace(view, gone=True)


class Recovery:
    """Brings workers in line with the objects where no Assignment is in charge; see ``dstk.operator.recovery``."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lives: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._running: set[str] = set()

    def look_again(self) -> Steps:
        while True:
            yield RELOOK_SECONDS
            for name in list(self._lives):
                self.look_at(name)

    def look_at(self, name: str) -> None:
        self._waiting.add(name)
        if name not in self._running:
            self._running.add(name)
            self._operator.spawn(self._settle(name))

    def on_worker(self, name: str) -> None:
        link = self._operator.links.get(name)
        if link is None or not link.reachable:
            self._lives.pop(name, None)
        elif self._lives.get(name) != link.incarnation:
            self._lives[name] = link.incarnation
            self.look_at(name)

    def on_assignment(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        phase = assignment.status.phase
        if phase is AssignmentPhase.COMPLETED or (new is not None and phase is not AssignmentPhase.ABORTED):
            return
        if old is None or (new is not None and old.status.phase is phase):
            return
        spec = assignment.spec
        names = {spec.move_params.source, spec.move_params.to} if spec.move_params is not None else set()
        for name in spec.partitions:
            partition = self._operator.partitions.get(name)
            if partition is not None:
                names.update(filter(None, (partition.spec.primary, partition.spec.proxy)))
        for name in sorted(names):
            self.look_at(name)

    def _settle(self, name: str) -> Steps:
        while name in self._lives:
            self._waiting.discard(name)
            try:
                found = yield from self._step(name)
            except Failed as failed:
                self._operator.world.note("[%s] recovery of %s failed: %s", self._operator.term, name, failed)
                yield 0.3
            else:
                if found:
                    yield 0.1
                elif name not in self._waiting:
                    break
        self._running.discard(name)

    def _step(self, name: str) -> Steps:
        """Whether there was anything to do."""
        operator = self._operator
        objects = dict(operator.partitions.items)
        view = yield from operator.look(name, None)
        if not view.reachable:
            return False
        mine = {
            each: partition
            for each, partition in objects.items()
            if name in (partition.spec.primary, partition.spec.proxy) or each in view.parts
        }
        addresses = {link.name: f"{link.name}:7" for link in operator.links.values()}
        decided = recover(mine, view, operator.keyspace, operator.busy(), addresses, operator.over)
        lanes = [lane for each in decided if isinstance(each, actions.Parallel) for lane in each.lanes]
        failed = None
        for lane in lanes:
            try:
                yield from self._lane(lane)
            except Failed as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return bool(lanes)

    def _lane(self, steps: tuple[actions.Action, ...]) -> Steps:
        operator = self._operator
        for step in steps:
            partition = getattr(step, "partition", "")
            if partition and operator.taken(partition):
                return
            try:
                yield from operator.carry_out(None, step, Outcome())
            except Uncertain:
                assert isinstance(step, actions.Commit)
                api = operator.world.api
                reply = api.request(lambda api=api, name=step.partition: api.get("partitions", name))
                yield reply
                operator.partitions.learn(reply.result())
                raise


def said(action: actions.Action) -> object:
    """The action as a trace has it: of a status, what people read."""
    if isinstance(action, actions.SetStatus):
        status = action.status
        step = status.step.value if status.step is not None else "-"
        return f"status {status.phase} {step} {status.reason} {status.message}"
    return action

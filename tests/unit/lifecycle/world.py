"""A small world in memory: an API server, workers, clients that write, operators that crash; time is simulated.

Everything that happens is one step of some task, and a seeded generator chooses which task goes next, so that every
order of events is met and a failure repeats from its seed. After every step the promises of the design are checked:

A  a key's acknowledged value is what its primary holds, unless the worker that was its primary died;
B  at most one worker accepts writes for a key;
C  the overlay of Partitions by epoch gives every key at most one owner, and one for ever once it was served;
E  in the end every Assignment is Completed or Aborted, and what could not go on meanwhile said Stalled and why.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from msgspec.structs import replace as with_
from sim_worker import Refused, SimPart, SimWorker

from dstk.api import (
    Assignment,
    AssignmentSpec,
    Condition,
    ConditionStatus,
    KeyRange,
    Keyspace,
    KeyspaceSpec,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
)
from dstk.api.conditions import with_condition
from dstk.api.span import Span, span_of
from dstk.lifecycle import actions, touched
from dstk.lifecycle.observed import WorkerView

KEYSPACE = Keyspace(metadata=ObjectMeta(name="default", uid="ks"), spec=KeyspaceSpec(key_length=1, proxy_seconds=3))
KEYS = [key.encode() for key in "acegjln"]
EPOCH_ZERO = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@cache
def _span(start: str, end: str) -> Span:
    return span_of(KeyRange(start=start, end=end), KEYSPACE.spec.key_length)


Task = Iterator[float]
"""Yields how long to sleep; 0 lets others go first."""


class Failed(Exception):
    """An action failed, or its outcome is not known: the driver stops and looks again."""


class Uncertain(Failed):
    """A commit that may have happened."""


@dataclass(frozen=True)
class Chances:
    """How often things go wrong, each per step or per call."""

    lost: float = 0.0
    """A call to a worker gets lost."""
    unanswered: float = 0.0
    """A call to a worker is carried out, and the answer gets lost."""
    uncertain: float = 0.0
    """A commit times out: it has happened, has not, or will happen later."""
    operator_crash: float = 0.0
    operator_lingers: float = 0.3
    """A task of a dead operator goes on beside the new one's."""
    worker_crash: float = 0.0
    pod_deleted: float = 0.0
    unreachable: float = 0.0
    label: float = 0.0
    """Somebody changes a label of a Partition."""
    cancel: float = 0.0
    """An Assignment is deleted, and its finalizer keeps it until it has ended."""
    vanish: float = 0.0
    """An Assignment is deleted together with its finalizer: it is gone at once, whatever it was doing."""


@dataclass
class World:
    """`seed` decides everything. `operator` gives the tasks of a new operator of a term. `worker_names` are there from the beginning."""

    seed: int
    operator: Callable[[World, int], Iterable[Task]]
    worker_names: tuple[str, ...] = ("pod1", "pod2", "pod3")
    chances: Chances = field(default_factory=Chances)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = EPOCH_ZERO
        self.version = 0
        self.partitions: dict[str, Partition] = {}
        self.assignments: dict[str, Assignment] = {}
        self.workers: dict[str, SimWorker] = {}
        self.absent: dict[str, float] = {}
        self.silent: dict[str, float] = {}
        self.late: list[actions.Commit] = []
        self.acked: dict[bytes, int] = {}
        self.owned: set[bytes] = set()
        self.doubtful: set[bytes] = set()
        """Keys to check after the step: all of them, unless nothing but a write has happened."""
        self.writes = 0
        self.lives = 0
        self.term = 1
        self.faults_left = 0
        self.events: list[actions.Record] = []
        self.trace: list[str] = []
        self.tasks: list[tuple[int, Task]] = []
        self.sleeping: dict[int, float] = {}
        for name in self.worker_names:
            self.start_worker(name)

    # Objects

    def add_partition(self, name: str, start: str, end: str, primary: str | None = None) -> None:
        epoch = 1 if primary else 0
        meta = ObjectMeta(name=name, uid=f"uid-{name}-{self.version}", resource_version=self.next_version())
        spec = PartitionSpec(range=KeyRange(start=start, end=end), primary=primary, epoch=epoch)
        partition = Partition(metadata=meta, spec=spec)
        if primary is not None:
            partition = with_(partition, status=with_(partition.status, phase=PartitionPhase.READY))
            span = self.span(partition)
            self.workers[primary].parts[name] = SimPart(span.start, span.end, "primary", epoch)
        self.partitions[name] = partition

    def add_assignment(self, name: str, spec: AssignmentSpec) -> None:
        created = datetime.fromtimestamp(self.now + len(self.assignments), UTC)
        meta = ObjectMeta(
            name=name, uid=f"uid-{name}", resource_version=self.next_version(), creation_timestamp=created
        )
        self.assignments[name] = Assignment(metadata=meta, spec=spec)

    def next_version(self) -> str:
        self.version += 1
        return str(self.version)

    def span(self, partition: Partition) -> Span:
        return _span(partition.spec.range.start, partition.spec.range.end)

    def owner(self, key: bytes) -> Partition | None:
        """Who the overlay of all Partitions by epoch says owns the key."""
        covering = [p for p in self.partitions.values() if self.span(p).holds(key) and p.spec.primary]
        if not covering:
            return None
        covering.sort(key=lambda p: p.spec.epoch)
        assert len(covering) == 1 or covering[-1].spec.epoch > covering[-2].spec.epoch, (
            f"C: {key!r} has two owners in one epoch: {[p.metadata.name for p in covering]}"
        )
        return covering[-1]

    # Workers

    def start_worker(self, name: str) -> None:
        self.lives += 1
        life = f"{name}/{self.lives}"
        self.workers[name] = SimWorker(name, life, self.random, self.find_source, lambda: self.now)

    def find_source(self, worker: str, incarnation: str, partition: str) -> SimPart | None:
        found = self.workers.get(worker)
        return found.parts.get(partition) if found is not None and found.incarnation == incarnation else None

    def kill_worker(self, name: str) -> None:
        """Its memory is gone, and with it what it was the primary of: those rows nobody promised to keep."""
        self.doubtful.update(KEYS)
        for part in self.workers[name].parts.values():
            if part.role == "primary":
                for key in filter(part.holds, KEYS):
                    self.acked.pop(key, None)
        del self.workers[name]

    def look(self, name: str) -> WorkerView:
        worker = self.workers.get(name)
        if worker is None:
            return WorkerView(name, reachable=False, gone=True)
        if name in self.silent:
            return WorkerView(name, worker.incarnation, f"{name}:1", reachable=False)
        return WorkerView(name, worker.incarnation, f"{name}:1", term=worker.term, parts=worker.views())

    # Clients

    def write(self) -> None:
        """A client writes to where it believes that the key lives; stale ones believe anything."""
        key = self.random.choice(KEYS)
        owner = self.owner(key)
        known = owner.spec.primary if owner is not None and self.random.random() < 0.7 else None
        worker = self.workers.get(known or self.random.choice(self.worker_names))
        part = self.serving_part(worker, key)
        if part is not None:
            self.writes += 1
            part.write(key, self.writes)
            self.acked[key] = self.writes
            self.doubtful.add(key)

    def serving_part(self, worker: SimWorker | None, key: bytes, hops: int = 2) -> SimPart | None:
        if worker is None or not hops:
            return None
        for part in worker.parts.values():
            if part.holds(key) and part.role == "primary":
                return part if part.accepts else None
        for part in worker.parts.values():
            if part.holds(key) and part.role == "proxy":
                part.quiet_since = self.now
                return self.serving_part(self.workers.get(part.proxy_to), key, hops - 1)
        return None

    # What must always hold

    def check(self) -> None:
        for key in self.doubtful:
            accepting = [
                (worker.name, part)
                for worker in self.workers.values()
                for part in worker.parts.values()
                if part.accepts and part.holds(key)
            ]
            assert len(accepting) <= 1, f"B: {key!r} is accepted by {[name for name, _ in accepting]}"
            if accepting and key in self.acked:
                held = accepting[0][1].rows.get(key)
                assert held == self.acked[key], f"A: {key!r} is {held} on {accepting[0][0]}, not {self.acked[key]}"
            owner = self.owner(key)
            if owner is not None and accepting:
                self.owned.add(key)
            assert owner is not None or key not in self.owned, f"C: {key!r} has lost its owner"
        self.doubtful.clear()

    # Time

    def tick(self) -> None:
        self.now += self.random.choice((0.01, 0.1, 0.3))
        for worker in self.workers.values():
            if worker.name not in self.silent:
                worker.tick()
        for name, until in list(self.silent.items()):
            if self.now >= until:
                del self.silent[name]
        for name, until in list(self.absent.items()):
            if self.now >= until:
                del self.absent[name]
                self.start_worker(name)
        if self.late and self.random.random() < 0.1:
            self.patch_late(self.late.pop(self.random.randrange(len(self.late))))

    def patch_late(self, commit: actions.Commit) -> None:
        self.doubtful.update(KEYS)
        with contextlib.suppress(Failed):
            self.patch(commit)

    # Faults

    def misfortune(self) -> None:
        chances, draw = self.chances, self.random.random
        if not self.faults_left:
            return
        alive = sorted(self.workers)
        before = self.faults_left
        if alive and draw() < chances.worker_crash:
            name = self.random.choice(alive)
            self.kill_worker(name)
            self.start_worker(name)
            self.faults_left -= 1
        elif alive and draw() < chances.pod_deleted:
            name = self.random.choice(alive)
            self.kill_worker(name)
            self.absent[name] = self.now + self.random.choice((1.0, 20.0))
            self.faults_left -= 1
        elif alive and draw() < chances.unreachable:
            self.silent[self.random.choice(alive)] = self.now + self.random.choice((0.5, 3.0, 15.0))
            self.faults_left -= 1
        elif draw() < chances.operator_crash:
            self.new_operator()
            self.faults_left -= 1
        elif self.partitions and draw() < chances.label:
            name = self.random.choice(sorted(self.partitions))
            self.save(self.partitions[name])
        elif draw() < chances.cancel:
            running = [a for a in self.assignments.values() if not final(a) and not a.metadata.deletion_timestamp]
            if running:
                assignment = self.random.choice(running)
                meta = with_(assignment.metadata, deletion_timestamp=datetime.fromtimestamp(self.now, UTC))
                self.assignments[meta.name] = with_(assignment, metadata=meta)
                self.faults_left -= 1
        elif draw() < chances.vanish and self.assignments:
            del self.assignments[self.random.choice(sorted(self.assignments))]
            self.faults_left -= 1
        if self.faults_left != before:
            self.trace.append(f"{self.now - EPOCH_ZERO:8.2f} fault {sorted(self.absent)} {sorted(self.silent)}")

    # Writes of operators

    def save(self, partition: Partition) -> Partition:
        meta = with_(partition.metadata, resource_version=self.next_version())
        self.partitions[meta.name] = with_(partition, metadata=meta)
        return self.partitions[meta.name]

    def current(self, name: str, version: str) -> Partition:
        partition = self.partitions.get(name)
        if partition is None or partition.metadata.resource_version != version:
            raise Failed("conflict")
        return partition

    def patch(self, commit: actions.Commit) -> None:
        partition = self.current(commit.partition, commit.resource_version)
        assert commit.epoch >= partition.spec.epoch, "an epoch never decreases"
        assert not commit.primary or commit.primary == partition.spec.primary or commit.epoch > partition.spec.epoch, (
            "a new primary needs a new epoch"
        )
        spec = with_(partition.spec, primary=commit.primary or None, proxy=commit.proxy or None, epoch=commit.epoch)
        self.save(with_(partition, spec=spec))

    def carry_out(self, action: actions.Action, term: int, assignment: Assignment | None) -> None:
        """One action of an operator of `term`. Raises Failed, or Uncertain."""
        self.trace.append(f"{self.now - EPOCH_ZERO:8.2f} [{term}] {action}")
        self.doubtful.update(KEYS)
        match action:
            case actions.Tell():
                self._tell(action, term)
            case actions.Commit():
                self._commit(action)
            case actions.Touch():
                self.save(self.current(action.partition, action.resource_version))
            case actions.CreatePartition():
                self._create(action)
            case actions.DeletePartition():
                found = self.partitions.get(action.name)
                if found is not None and found.metadata.uid == action.uid:
                    del self.partitions[action.name]
            case actions.SetPartitionStatus():
                self._set_partition_status(action)
            case actions.SetStatus():
                self._set_status(action, assignment)
            case actions.Record():
                self.events.append(action)

    def _tell(self, tell: actions.Tell, term: int) -> None:
        draw = self.random.random() if self.faults_left else 1.0
        worker = self.workers.get(tell.worker)
        if worker is None or tell.worker in self.silent or draw < self.chances.lost:
            raise Failed("no answer")
        try:
            worker.act(tell, term)
        except Refused as refused:
            raise Failed(str(refused)) from refused
        if draw < self.chances.lost + self.chances.unanswered:
            raise Failed("no answer")

    def _commit(self, commit: actions.Commit) -> None:
        if self.faults_left and self.random.random() < self.chances.uncertain:
            match self.random.randrange(3):
                case 0:
                    self.late.append(commit)
                case 1:
                    self.patch_late(commit)
            raise Uncertain("time-out")
        self.patch(commit)

    def _create(self, create: actions.CreatePartition) -> None:
        range_ = KeyRange(start=create.start, end=create.end)
        found = self.partitions.get(create.name)
        if found is not None:
            if found.spec.range != range_:
                raise Failed("AlreadyExists")
            return
        meta = ObjectMeta(name=create.name, uid=f"uid-{create.name}-{self.version}")
        spec = PartitionSpec(keyspace=create.keyspace, range=range_, primary=create.primary, epoch=create.epoch)
        created = Partition(metadata=meta, spec=spec)
        self.save(with_(created, status=with_(created.status, phase=PartitionPhase.READY)))

    def _set_partition_status(self, change: actions.SetPartitionStatus) -> None:
        partition = self.partitions.get(change.partition)
        if partition is None:
            return
        status = with_(partition.status, phase=change.phase, incarnation=change.incarnation)
        if change.condition:
            condition = Condition(
                type=change.condition,
                status=ConditionStatus.TRUE,
                last_transition_time=datetime.fromtimestamp(self.now, UTC),
                reason=change.reason,
                message=change.message,
            )
            status = with_(status, conditions=with_condition(status.conditions, condition))
        self.save(with_(partition, status=status))

    def _set_status(self, change: actions.SetStatus, assignment: Assignment | None) -> None:
        assert assignment is not None
        name = assignment.metadata.name
        current = self.assignments.get(name)
        if current is None:
            return
        if current.metadata.resource_version != assignment.metadata.resource_version:
            raise Failed("conflict")
        meta = with_(current.metadata, resource_version=self.next_version())
        self.assignments[name] = with_(current, metadata=meta, status=change.status)

    # Operators

    def new_operator(self) -> None:
        """The old one's tasks go on for a while as if nothing had happened, or stop in the middle."""
        self.term += 1
        self.tasks = [task for task in self.tasks if self.random.random() < self.chances.operator_lingers]
        for task in self.operator(self, self.term):
            self.spawn(task)

    def spawn(self, task: Task) -> None:
        number = max((number for number, _ in self.tasks), default=0) + 1
        self.tasks.append((number, task))
        self.sleeping.pop(number, None)

    def step(self) -> None:
        """One thing happens."""
        ready = [entry for entry in self.tasks if self.sleeping.get(entry[0], 0.0) <= self.now]
        choice = self.random.random()
        if not ready or choice < 0.25:
            self.tick()
        elif choice < 0.5:
            self.write()
        else:
            number, task = self.random.choice(ready)
            try:
                self.sleeping[number] = self.now + next(task)
            except StopIteration:
                self.tasks.remove((number, task))
        self.misfortune()
        self.check()

    def run(self, faults: int = 0, steps: int = 60_000) -> None:
        """Until every Assignment has ended and the workers hold what the objects say."""
        self.faults_left = faults
        self.new_operator()
        for _ in range(steps):
            self.step()
            if self.settled():
                break
        unfinished = {name: a.status for name, a in self.assignments.items() if not final(a)}
        assert not unfinished, f"E: {unfinished}"
        assert self.settled(), f"not in line: {self.workers}"

    def settled(self) -> bool:
        """Everything has ended, and every range that has an owner is served by it."""
        if self.late or self.absent or self.silent or not all(map(final, self.assignments.values())):
            return False
        for partition in self.partitions.values():
            if partition.spec.primary:
                part = self.workers[partition.spec.primary].parts.get(partition.metadata.name)
                if part is None or not part.accepts or part.epoch != partition.spec.epoch:
                    return False
        held = {(worker.name, name) for worker in self.workers.values() for name in worker.parts}
        return held == {(p.spec.primary, p.metadata.name) for p in self.partitions.values() if p.spec.primary}

    def unfinished(self, name: str) -> list[Assignment]:
        """Assignments that have not ended and touch a Partition."""
        return [
            assignment
            for assignment in self.assignments.values()
            if not final(assignment) and name in touched(assignment, self.partitions, KEYSPACE).partitions
        ]


def final(assignment: Assignment) -> bool:
    phase = assignment.status.phase
    return phase is not None and phase.final

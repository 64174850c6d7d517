"""A StatefulSet in a few lines: pods of revisions, the controller that deletes them, and what their restart moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from scene import World, keyspace, partition

from dstk.api import AssignmentType
from dstk.plan import Cluster, RestartedBy, Worker, WorkerSet, plan

ROUNDS = 10_000
"""A bound against going round for ever."""


@dataclass
class StatefulSet(World):
    """``pods`` workers named w-0 and on. ``step`` lets everybody act once: planner, reconciler, controller, kubelet."""

    set: WorkerSet = field(default_factory=lambda: WorkerSet("w", 1))
    broken: frozenset[str] = frozenset()
    """Revisions whose pods never get ready."""
    deleted: list[str] = field(default_factory=list)
    """Pods that went, in this order."""

    @classmethod
    def of(cls, pods: int, partitions: int, restarted_by: RestartedBy, spare: int = 0, at_once: int = 1) -> StatefulSet:
        made = WorkerSet("w", pods, revision="r1", restarted_by=restarted_by, spare=spare)
        world = cls(
            keyspace(maxConcurrentMoves=at_once),
            [Worker(f"w-{n}", set="w", ordinal=n, revision="r1") for n in range(pods)],
            {f"p{n:03d}": partition(f"p{n:03d}", f"{n:03d}", f"{n + 1:03d}") for n in range(partitions)},
            set=made,
        )
        assert world.run(ROUNDS)
        return world

    def cluster(self) -> Cluster:
        return replace(super().cluster(), sets=[self.set])

    @property
    def moves(self) -> int:
        return self.steps.get(AssignmentType.MOVE, 0)

    def step(self) -> bool:
        """Whether anything was done."""
        result = plan(self.cluster(), self.now)
        for one in result.assignments:
            assert one.spec.new_params or one.spec.move_params
            self.steps[one.spec.type] = self.steps.get(one.spec.type, 0) + 1
            self._carry_out(one.spec)
        self.now += 1e6
        gone = [each.worker for each in result.restarts if each.empty]
        counts = self.counts()
        gone += [w.name for w in self.workers if w.leaving and not counts[w.name]]
        for name in gone:
            self._replace(name)
        return bool(result.assignments or gone or self._control())

    def settle(self) -> None:
        """Until nobody does anything any more."""
        for _ in range(ROUNDS):
            if not self.step():
                return
        raise AssertionError("it goes on for ever")

    def roll(self, revision: str) -> int:
        """A rolling restart to its end; the moves that it took, without those that come once it has ended."""
        before = self.moves
        self.set = replace(self.set, revision=revision)
        for _ in range(ROUNDS):
            if all(w.revision == revision for w in self.workers):
                return self.moves - before
            self.step()
        raise AssertionError("it goes on for ever")

    def _control(self) -> bool:
        """The controller: surplus pods go at once (podManagementPolicy Parallel), outdated ones one after the other."""
        surplus = [w for w in self.workers if w.ordinal >= self.set.replicas and not w.leaving]
        for worker in surplus:
            self._mark(worker)
        if self.set.restarted_by is not RestartedBy.CONTROLLER or surplus:
            return bool(surplus)
        if not all(w.ready and not w.leaving for w in self.workers):
            return False
        outdated = [w for w in self.workers if w.revision != self.set.revision and w.ordinal >= self.set.partition]
        if outdated:
            self._mark(max(outdated, key=lambda w: w.ordinal))
        return bool(outdated)

    def _mark(self, worker: Worker) -> None:
        self.workers[self.workers.index(worker)] = replace(worker, leaving=True)

    def _replace(self, name: str) -> None:
        assert not self.counts()[name], f"{name} went with partitions"
        at = next(n for n, worker in enumerate(self.workers) if worker.name == name)
        old = self.workers[at]
        self.deleted.append(name)
        if old.ordinal >= self.set.replicas:
            del self.workers[at]
            return
        revision = self.set.revision if old.ordinal >= self.set.partition else old.revision
        self.workers[at] = Worker(
            name, set="w", ordinal=old.ordinal, revision=revision, ready=revision not in self.broken
        )

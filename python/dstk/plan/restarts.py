"""Restarts: which worker of a StatefulSet is emptied and restarted next, and which ones are kept empty.

The order is what a rolling restart costs. Every partition has to leave its worker once, as every worker is restarted.
It is moved again only if it went to a worker that is restarted later. So the emptiest goes first, and what leaves goes
to those that have been restarted. With one worker empty at the start everything is moved exactly once, and the last to
be restarted is the empty one of the next time. The sums are in docs/decisions/rolling-restarts.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dstk.api import Assignment, Mode
from dstk.plan.cluster import Cluster, RestartedBy, Worker, WorkerSet

__all__ = ["Restart", "RolloutState", "heading", "rollout"]


@dataclass(frozen=True, slots=True)
class Restart:
    """A worker that is to be restarted: ``empty``, its pod may go now; ``stuck`` says what only a person can mend."""

    worker: str
    set: str
    empty: bool
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What the StatefulSets ask of their workers, by name.

    ``leaving``: will go, and why. ``outdated``: will be restarted for a new revision. ``spares``: are kept empty.
    ``rolling``: their set is being restarted or is not complete, so that evening out would be in vain.
    """

    leaving: Mapping[str, str]
    outdated: frozenset[str] = frozenset()
    spares: frozenset[str] = frozenset()
    rolling: frozenset[str] = frozenset()
    restarts: tuple[Restart, ...] = ()


def rollout(cluster: Cluster) -> RolloutState:
    """What the StatefulSets ask of their workers; O(n) for n partitions and Assignments."""
    if not cluster.sets:
        return RolloutState({})
    holding = _Holding(cluster)
    leaving: dict[str, str] = {}
    outdated: set[str] = set()
    spares: set[str] = set()
    rolling: set[str] = set()
    restarts: list[Restart] = []
    for each in sorted(cluster.sets, key=lambda one: one.name):
        members = [worker for worker in cluster.workers if worker.set == each.name]
        staying = [worker for worker in members if each.start <= worker.ordinal < each.start + each.replicas]
        old = [worker for worker in staying if _is_outdated(each, worker)]
        due = _due(each, staying, old, holding)
        leaving.update((w.name, f"{each.name} is scaled in") for w in members if w not in staying)
        if due is not None:
            leaving[due.name] = "it is restarted next"
            stuck = holding.stuck(due, staying)
            restarts.append(Restart(due.name, each.name, holding.is_empty(due), stuck))
        outdated.update(worker.name for worker in old)
        if old or len(staying) < each.replicas:
            rolling.update(worker.name for worker in members)
        spares.update(_spares(each, [w for w in staying if not w.leaving and w is not due], outdated, holding))
    return RolloutState(leaving, frozenset(outdated), frozenset(spares), frozenset(rolling), tuple(restarts))


def heading(assignment: Assignment) -> Mapping[str, str]:
    """Where an Assignment that has not ended brings which partitions."""
    spec, phase = assignment.spec, assignment.status.phase
    if phase is not None and phase.final:
        return {}
    if spec.move_params is not None:
        return {spec.move_params.partition: spec.move_params.to}
    if spec.new_params is not None:
        return dict.fromkeys(spec.partitions, spec.new_params.primary)
    return {}


class _Holding:
    """Which workers hold what, of all keyspaces."""

    def __init__(self, cluster: Cluster) -> None:
        going = {name: to for one in cluster.assignments for name, to in heading(one).items()}
        modes = {keyspace.metadata.name: keyspace.spec.policy.mode for keyspace in cluster.keyspaces}
        self.counts: Counter[str] = Counter()
        """Partitions that each worker has, once what is under way has ended."""
        self._tied: set[str] = set(going.values())
        self._left_alone: dict[str, str] = {}
        for partition in cluster.partitions:
            primary, proxy = partition.spec.primary, partition.spec.proxy
            self._tied.update(name for name in (primary, proxy) if name)
            owner = going.get(partition.metadata.name, primary)
            if not owner:
                continue
            self.counts[owner] += 1
            if owner == primary and modes.get(partition.spec.keyspace, Mode.OFF) is not Mode.AUTO:
                self._left_alone[owner] = partition.spec.keyspace

    def is_empty(self, worker: Worker) -> bool:
        """Whether the worker serves nothing, passes nothing on, and is to get nothing."""
        return worker.name not in self._tied

    def stuck(self, worker: Worker, members: Iterable[Worker]) -> str:
        """Why nothing will empty the worker, if so."""
        if not self.counts[worker.name]:
            return ""
        keyspace = self._left_alone.get(worker.name)
        if keyspace is not None:
            return f"it holds partitions of keyspace {keyspace}, whose policy.mode is not Auto; move them"
        if all(other is worker or other.leaving for other in members):
            return f"it holds {self.counts[worker.name]} partitions and there is no other worker to take them"
        return ""

    def rank(self, worker: Worker) -> tuple[int, int]:
        """Sorts those that hold least first, of these the highest ordinal: where a StatefulSet controller begins."""
        return (self.counts[worker.name], -worker.ordinal)


def _is_outdated(each: WorkerSet, worker: Worker) -> bool:
    if not each.revision or not worker.revision or worker.revision == each.revision:
        return False
    if each.restarted_by is RestartedBy.CONTROLLER:
        return worker.ordinal >= each.partition
    return each.restarted_by is RestartedBy.OPERATOR


def _due(each: WorkerSet, staying: list[Worker], outdated: list[Worker], holding: _Holding) -> Worker | None:
    """The worker that we empty and restart next: one at a time, and only while all others are well.

    So a revision that does not come up costs the empty worker alone. That one may be restarted again, since nothing
    else brings it back when the revision is put right.
    """
    if each.restarted_by is not RestartedBy.OPERATOR or not outdated or len(staying) < each.replicas:
        return None
    unwell = [worker for worker in staying if not worker.ready]
    if unwell:
        return unwell[0] if unwell[0] in outdated and len(unwell) == 1 and holding.is_empty(unwell[0]) else None
    return min(outdated, key=holding.rank)


def _spares(each: WorkerSet, staying: list[Worker], outdated: set[str], holding: _Holding) -> list[str]:
    """Those to keep empty: of those that hold least, first who is still to be restarted.

    A worker that is away comes back empty and counts. Somebody has to serve in any case.
    """
    away = each.replicas - len(staying)
    count = max(0, min(each.spare - away, len(staying) - 1))
    order = sorted(
        staying, key=lambda worker: (holding.counts[worker.name], worker.name not in outdated, -worker.ordinal)
    )
    return [worker.name for worker in order[:count]]

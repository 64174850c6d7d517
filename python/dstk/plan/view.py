"""One keyspace as planning sees it, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from dstk.api import (
    CUT_ANNOTATION,
    PLACED_ANNOTATION,
    Assignment,
    AssignmentPhase,
    AssignmentType,
    Keyspace,
    Partition,
    PartitionPhase,
    Policy,
    Step,
)
from dstk.api.losses import is_accepted
from dstk.api.span import span_of
from dstk.errors import InvalidRequest
from dstk.plan.cluster import Cluster, Load, Worker
from dstk.plan.restarts import RolloutState, heading
from dstk.plan.room import ELSEWHERE, Refusal, refusals
from dstk.span import Span

__all__ = ["Part", "View", "views"]

RETRY_SECONDS = 5.0
"""Pause after an operation on a partition was aborted; doubled with every further one up to the policy's cool-down."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Partition as planning sees it. ``created``: when, 0 when unknown.

    ``cut_by_hand``: somebody cut the keys at its start; ``placed_by_hand``: somebody moved it to its worker.
    """

    name: str
    span: Span
    primary: str | None = None
    proxy: str | None = None
    epoch: int = 0
    created: float = 0.0
    load: Load | None = None
    uid: str = ""
    cut_by_hand: bool = False
    placed_by_hand: bool = False
    given_up: bool = False
    """Somebody has accepted that its rows are lost."""

    @property
    def weight(self) -> tuple[int, str]:
        """Sorts the cheapest to copy first, whatever the order of the input."""
        return (self.load.bytes if self.load else 0, self.name)


@dataclass(frozen=True, slots=True)
class View:
    """One keyspace and what concerns it. Times are seconds by the planner's clock.

    ``parts`` in key order; ``workers`` that the keyspace selects, by name; ``pods``: names of all workers.
    ``busy``: partitions that an unfinished Assignment names. ``heading``: where unfinished ones bring partitions.
    ``moving`` and ``reshaping``: how many of them copy, or split and merge; not those that wait for a worker that does
    not answer. ``moved``: end of the last completed move.
    ``retry``: when an aborted operation may be tried again, and ``aborted`` its name. ``elsewhere``: partitions that
    each worker has of other keyspaces. ``rollout``: what the workers' StatefulSets ask of them. ``loads``: of all
    partitions. ``refused``: who did not take what, lately.
    """

    keyspace: Keyspace
    parts: tuple[Part, ...]
    workers: tuple[Worker, ...]
    pods: frozenset[str]
    now: float
    busy: frozenset[str] = frozenset()
    heading: Mapping[str, str] = field(default_factory=dict)
    moving: int = 0
    reshaping: int = 0
    moved: Mapping[str, float] = field(default_factory=dict)
    retry: Mapping[str, float] = field(default_factory=dict)
    aborted: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    rollout: RolloutState = field(default_factory=lambda: RolloutState({}))
    loads: Mapping[str, Load] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()

    @property
    def policy(self) -> Policy:
        """The keyspace's policy."""
        return self.keyspace.spec.policy

    @property
    def takers(self) -> tuple[Worker, ...]:
        """The workers that may be given partitions: those that are kept empty only when there is no other."""
        able = tuple(worker for worker in self.workers if worker.ready and not worker.leaving)
        return tuple(worker for worker in able if worker.name not in self.rollout.spares) or able

    def owner(self, part: Part) -> str | None:
        """The worker that has the partition, or will once what is under way has ended."""
        return self.heading.get(part.name, part.primary)

    def cooled(self, part: Part) -> bool:
        """Whether the last move of the partition is a cool-down ago."""
        return self.now - self.moved.get(part.name, float("-inf")) >= self.policy.cooldown_seconds

    def settled(self, part: Part) -> bool:
        """Whether the partition is also as old as a cool-down: what a split or merge made is new."""
        return self.cooled(part) and self.now - part.created >= self.policy.cooldown_seconds


def views(cluster: Cluster, now: float, rollout: RolloutState) -> list[View]:
    """One view a keyspace, by name. Partitions whose bounds make no sense, or that are being deleted, are left out."""
    when = _When(cluster.moments, now)
    keyspaces = {keyspace.metadata.name: keyspace for keyspace in cluster.keyspaces}
    parts: dict[str, list[Part]] = {name: [] for name in keyspaces}
    for partition in cluster.partitions:
        keyspace = keyspaces.get(partition.spec.keyspace)
        if keyspace is None or partition.metadata.deletion_timestamp is not None:
            continue
        if partition.status.phase is PartitionPhase.INVALID:
            continue
        try:
            part = _part(partition, keyspace, cluster.loads, when)
        except InvalidRequest:
            continue
        parts[partition.spec.keyspace].append(part)
    owners = {name: Counter(part.primary for part in found if part.primary) for name, found in parts.items()}
    everywhere = sum(owners.values(), Counter())
    dated = [(when(each.metadata.uid, each.status.finished_at), each) for each in cluster.assignments]
    history = _History.of(dated)
    refused = tuple(refusals(dated, now))
    pods = frozenset(worker.name for worker in cluster.workers)
    workers = sorted(
        (replace(each, leaving=each.leaving or each.name in rollout.leaving) for each in cluster.workers),
        key=lambda worker: worker.name,
    )
    return [
        View(
            keyspace=keyspace,
            parts=tuple(sorted(parts[name], key=lambda part: (part.span, part.name))),
            workers=tuple(worker for worker in workers if keyspace.spec.selects(worker.labels)),
            pods=pods,
            now=now,
            busy=history.busy,
            heading=history.heading,
            moving=sum(part.name in history.copying for part in parts[name]),
            reshaping=sum(part.name in history.reshaping for part in parts[name]),
            moved=history.moved,
            retry=history.retry(keyspace.spec.policy.cooldown_seconds),
            aborted=history.aborted,
            absent=cluster.absent,
            elsewhere=everywhere - owners[name],
            rollout=rollout,
            loads=cluster.loads,
            refused=refused,
        )
        for name, keyspace in sorted(keyspaces.items())
    ]


@dataclass(frozen=True, slots=True)
class _When:
    """The moments at which happened what objects tell of."""

    moments: Mapping[str, float]
    now: float

    def __call__(self, uid: str, said: datetime | None) -> float:
        return self.moments.get(uid, min(_seconds(said), self.now))


def _part(partition: Partition, keyspace: Keyspace, loads: Mapping[str, Load], when: _When) -> Part:
    name = partition.metadata.name
    return Part(
        name=name,
        span=span_of(partition.spec.range, keyspace.spec.key_length),
        primary=partition.spec.primary,
        proxy=partition.spec.proxy,
        epoch=partition.spec.epoch,
        created=when(partition.metadata.uid, partition.metadata.creation_timestamp),
        load=loads.get(name),
        uid=partition.metadata.uid,
        cut_by_hand=CUT_ANNOTATION in partition.metadata.annotations,
        placed_by_hand=PLACED_ANNOTATION in partition.metadata.annotations,
        given_up=is_accepted(partition),
    )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


@dataclass(frozen=True, slots=True)
class _History:
    """What the Assignments say about partitions."""

    busy: frozenset[str]
    heading: Mapping[str, str]
    copying: frozenset[str]
    reshaping: frozenset[str]
    moved: Mapping[str, float]
    aborted: Mapping[str, str]
    aborts: Mapping[str, tuple[int, float]]

    @classmethod
    def of(cls, dated: Iterable[tuple[float, Assignment]]) -> _History:
        busy: set[str] = set()
        towards: dict[str, str] = {}
        copying: set[str] = set()
        reshaping: set[str] = set()
        moved: dict[str, float] = {}
        aborted: dict[str, str] = {}
        aborts: dict[str, tuple[int, float]] = {}
        for ended, assignment in sorted(dated, key=lambda entry: (entry[0], entry[1].metadata.name)):
            spec = assignment.spec
            if assignment.status.phase is AssignmentPhase.COMPLETED:
                if spec.move_params is not None:
                    moved[spec.move_params.partition] = ended
            elif assignment.status.phase is AssignmentPhase.ABORTED:
                for name in spec.partitions:
                    aborted[name] = assignment.metadata.name
                    if assignment.status.reason in ELSEWHERE:
                        continue
                    aborts[name] = (aborts.get(name, (0, 0.0))[0] + 1, ended)
            else:
                busy.update(assignment.partitions)
                towards.update(heading(assignment))
                if assignment.status.phase is AssignmentPhase.STALLED:
                    continue  # it goes on when a worker answers, and holds up nobody else until then
                if spec.move_params is not None:
                    if assignment.status.step is not Step.PROXYING:
                        copying.add(spec.move_params.partition)
                elif spec.type in (AssignmentType.SPLIT, AssignmentType.MERGE) and spec.partitions:
                    reshaping.add(spec.partitions[0])
        return cls(
            frozenset(busy), towards, frozenset(copying), frozenset(reshaping), moved, aborted, aborts
        )  # fmt: skip

    def retry(self, longest: float) -> dict[str, float]:
        return {
            name: ended + min(longest, RETRY_SECONDS * 2.0 ** min(count - 1, 30))
            for name, (count, ended) in self.aborts.items()
        }

"""The Assigner's decisions: one pure function from what is to what should be done next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dstk.api import Assignment, Mode, Partition
from dstk.errors import InvalidRequest
from dstk.plan.balance import balance
from dstk.plan.cluster import Cluster
from dstk.plan.cut import is_cut, missing_partitions
from dstk.plan.draft import Draft
from dstk.plan.drain import drain
from dstk.plan.merge import merge
from dstk.plan.place import place
from dstk.plan.restarts import Restart, rollout
from dstk.plan.split import split
from dstk.plan.view import View, views

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to create next. Creating an object that is there already (AlreadyExists) is no error: it was planned before.

    ``partitions``: initial Partitions of new keyspaces. ``cut``: keyspaces whose initial Partitions are all there; they
    get the condition ``Keyspace.CUT``, and nothing else is planned for them until they have it. ``refused``: keyspaces
    that cannot be cut as they ask, and why. ``assignments``: each
    with its reason in ``spec.reason``; no two of them name the same partition. ``restarts``: workers that are to be
    restarted; the pods of those that are empty are to be evicted. ``stuck``: workers that leave and that nothing can
    empty as things stand, and why.
    """

    partitions: tuple[Partition, ...] = ()
    cut: tuple[str, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    restarts: tuple[Restart, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    stuck: Mapping[str, str] = field(default_factory=dict)


def plan(cluster: Cluster, now: float) -> Plan:
    """The next things to do at ``now``, by the clock of the cluster's times, the same for the same arguments.

    Takes O(n log n) for n partitions. Keyspaces with policy.mode Off are left alone; with Propose, the Assignments
    carry the label that makes them wait for approval.
    """
    partitions: list[Partition] = []
    cut: list[str] = []
    assignments: list[Assignment] = []
    refused: dict[str, str] = {}
    stuck: dict[str, str] = {}
    stands = rollout(cluster)
    for view in views(cluster, now, stands):
        if view.policy.mode is Mode.OFF:
            continue
        if not is_cut(view.keyspace):
            try:
                missing = missing_partitions(view)
            except InvalidRequest as error:
                refused[view.keyspace.metadata.name] = f"spec.partitions.bounds: {error}"
                continue
            partitions.extend(missing)
            if not missing:
                cut.append(view.keyspace.metadata.name)
            continue
        draft = _operations(view)
        assignments.extend(draft.assignments)
        stuck.update(draft.stuck)
    return Plan(tuple(partitions), tuple(cut), tuple(assignments), stands.restarts, refused, stuck)


def _operations(view: View) -> Draft:
    """The most urgent first: each stage leaves alone what an earlier one has taken."""
    draft = Draft(view)
    for stage in (place, drain, split, merge, balance):
        stage(draft)
    return draft

"""What a plan is made from, as plain data: a picture of the whole cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dstk.api import Assignment, Keyspace, Partition

__all__ = ["Cluster", "Load", "RestartedBy", "Worker", "WorkerSet"]


class RestartedBy(StrEnum):
    """Who deletes the pods of an old revision, one after the other."""

    CONTROLLER = "Controller"
    """The StatefulSet controller, from the highest ordinal down (updateStrategy RollingUpdate)."""
    OPERATOR = "Operator"
    """We do, each once it is empty (OnDelete, and an annotation that asks for it)."""
    NOBODY = "Nobody"
    """A person may (OnDelete): what is of an old revision says nothing about what comes next."""


@dataclass(frozen=True, slots=True)
class WorkerSet:
    """A StatefulSet of workers. Ordinals from ``start`` on, ``replicas`` of them; those above are about to go.

    ``revision``: the one that pods are to have. ``partition``: lower ordinals stay at their revision. ``spare``: so
    many workers are kept empty, that restarts need not move anything twice.
    """

    name: str
    replicas: int
    start: int = 0
    revision: str = ""
    partition: int = 0
    restarted_by: RestartedBy = RestartedBy.CONTROLLER
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker pod. ``ready``: takes new partitions; ``leaving``: cordoned, draining or being deleted.

    ``silent_since``: when it was last heard, where that is some time ago. ``set``, ``ordinal`` and
    ``revision``: of the StatefulSet that it belongs to, if to any. ``room``: bytes of rows that are free and promised
    to nobody; None: there is no bound, or it is not known. ``copies``: partitions that have been promised room there.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    leaving: bool = False
    silent_since: float | None = None
    set: str = ""
    ordinal: int = 0
    revision: str = ""
    room: int | None = None
    copies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Load:
    """What a partition carries, as its worker last reported it.

    ``size``: what the rows take in memory, in bytes; 0: not known. ``median_key`` halves the rows. ``sample`` holds
    keys with the operations/s that each stands for, in any order.
    """

    rows: int = 0
    operations_per_second: float = 0.0
    bytes_per_second: float = 0.0
    median_key: bytes | None = None
    sample: Sequence[tuple[bytes, float]] = ()
    bytes: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that a plan may depend on. Times are seconds by one clock that never jumps, the planner's own.

    ``workers``: every worker pod that Kubernetes knows. ``assignments``: finished ones too, for cool-downs.
    ``loads``: by partition name. ``absent``: since when a pod has been gone, by name; the
    partitions of a pod that is neither here nor among the workers are left alone. ``sets``: the workers' StatefulSets.

    ``moments``: when, by that clock, Assignments ended and Partitions were created, by UID. What an object says is
    of another clock, and counts, no later than now, only where nothing is here.
    """

    keyspaces: Sequence[Keyspace] = ()
    partitions: Iterable[Partition] = ()
    workers: Sequence[Worker] = ()
    assignments: Sequence[Assignment] = ()
    loads: Mapping[str, Load] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)
    sets: Sequence[WorkerSet] = ()
    moments: Mapping[str, float] = field(default_factory=dict)

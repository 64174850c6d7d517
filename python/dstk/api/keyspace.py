"""Keyspace: the length of keys, who serves them, and how far the Assigner may go."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, field

from dstk.api.bound import BoundText
from dstk.api.conditions import Conditions
from dstk.api.meta import ObjectMeta
from dstk.api.model import COUNT_MAX, Model, Rule, immutable

__all__ = [
    "Durability",
    "Failover",
    "Keyspace",
    "KeyspaceSpec",
    "KeyspaceStatus",
    "Mode",
    "OnLoss",
    "PartitionCounts",
    "Policy",
    "WorkerSelector",
    "Workers",
]


class Durability(StrEnum):
    """Where acknowledged writes are kept."""

    MEMORY = "Memory"
    DISK = "Disk"


class Failover(StrEnum):
    """What it takes to give a partition of a silent worker to another one."""

    CONFIRMED = "Confirmed"
    LEASE = "Lease"


class OnLoss(StrEnum):
    """What becomes of a partition whose rows were lost with its worker."""

    RECREATE = "Recreate"
    HOLD = "Hold"


class Mode(StrEnum):
    """What the Assigner does with its plans."""

    AUTO = "Auto"
    PROPOSE = "Propose"
    OFF = "Off"


class WorkerSelector(Model, frozen=True, kw_only=True):
    """Which pods serve a keyspace."""

    match_labels: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=317)],
            Annotated[str, Meta(max_length=63)],
        ],
        Meta(
            max_length=16,
            description="Labels that a pod must carry, all of them. Empty: every worker pod of the namespace.",
        ),
    ] = field(default_factory=dict)


class Workers(Model, frozen=True, kw_only=True):
    """The pods that serve a keyspace."""

    selector: Annotated[WorkerSelector, Meta(description="Which pods.")] = field(default_factory=WorkerSelector)


class PartitionCounts(Model, frozen=True, kw_only=True):
    """How a keyspace is cut."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="!has(self.initial) || !has(self.bounds) || size(self.bounds) == 0",
            message="give initial, for an even cut, or bounds, not both",
            field=".bounds",
        ),
        # Where some are text and some are hex, or hex has capital letters, only the Assigner can tell. Rules for all of
        # them would cost more than an API server allows a definition.
        Rule(
            rule="!has(self.bounds) || self.bounds.exists(b, b.startsWith('0x')) || self.bounds.isSorted()",
            message="bounds must be sorted",
            field=".bounds",
        ),
        Rule(
            rule="!has(self.bounds) || self.bounds.exists(b, !b.matches('^0x[0-9a-f]+$')) || self.bounds.isSorted()",
            message="bounds must be sorted",
            field=".bounds",
        ),
    )

    INITIAL: ClassVar[int] = 16
    """Partitions of a keyspace that says nothing of them."""

    initial: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)] | None,
        Meta(
            description=(
                "Partitions that the Assigner cuts a new keyspace into, evenly over all keys; it merges none below "
                "this number. 0, Partitions that are there already, or policy.mode Off: it cuts none. Absent: 16, "
                "unless there are bounds."
            ),
        ),
    ] = None
    bounds: Annotated[
        tuple[Annotated[BoundText, Meta(min_length=1)], ...],
        Meta(
            max_length=1023,
            description=(
                "The first key of each Partition but the lowest, ascending: text, or hex as 0x…. A new keyspace is cut "
                "there instead of evenly; `dstk cuts` makes them of a sample of keys. What changes here after the cut "
                "changes no Partition."
            ),
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = ()

    @property
    def count(self) -> int:
        """How many Partitions a new keyspace is cut into."""
        if self.bounds:
            return len(self.bounds) + 1
        return self.INITIAL if self.initial is None else self.initial


class Policy(Model, frozen=True, kw_only=True):
    """How far the Assigner goes by itself, and the thresholds it goes by."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="2 * self.mergeBelowRows <= self.maxRows",
            message="mergeBelowRows must be at most half of maxRows, else a merge would be split again at once",
            field=".mergeBelowRows",
        ),
        Rule(
            rule="2 * self.mergeBelowOpsPerSecond <= self.maxOpsPerSecond",
            message="mergeBelowOpsPerSecond must be at most half of maxOpsPerSecond, else a merge would be split "
            "again at once",
            field=".mergeBelowOpsPerSecond",
        ),
    )

    mode: Annotated[
        Mode,
        Meta(
            description="Auto carries plans out, Propose leaves them as Assignments that wait for the annotation "
            "dstk.io/approved=true, Off plans nothing."
        ),
    ] = Mode.AUTO
    max_rows: Annotated[int, Meta(ge=2, le=COUNT_MAX, description="Rows above which a partition is split.")] = (
        10_000_000
    )
    max_bytes: Annotated[
        int,
        Meta(ge=1024, le=COUNT_MAX, description="Bytes of keys and values above which a partition is split."),
    ] = 1 << 30
    max_ops_per_second: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000, description="Operations per second above which a partition is split."),
    ] = 50_000
    merge_below_rows: Annotated[
        int,
        Meta(
            ge=0,
            le=COUNT_MAX,
            description="Neighbours with fewer rows than this each, on one worker, are merged. 0: never.",
        ),
    ] = 100_000
    merge_below_ops_per_second: Annotated[
        int,
        Meta(ge=0, le=1_000_000_000, description="Busier partitions than this are not merged, however small."),
    ] = 10
    max_concurrent_moves: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Moves that may copy at one time; one that only proxies does not count.",
        ),
    ] = 1
    max_concurrent_reshapes: Annotated[
        int, Meta(ge=0, le=1000, description="Splits and merges that may run at one time.")
    ] = 8
    cooldown_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="For so long a partition that was split, merged or moved is left alone, except for its size "
            "or because its worker leaves.",
        ),
    ] = 300
    balance_tolerance_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How far a worker's number of partitions may be from the even share before one is moved; "
            "what does not divide evenly is always allowed.",
        ),
    ] = 10
    replace_after_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="How long a partition waits for a pod that is gone to come back under its name, before it is "
            "given to another one. Only for durability Memory, whose rows went with the pod.",
        ),
    ] = 30


class KeyspaceSpec(Model, frozen=True, kw_only=True):
    """What a keyspace is and how it is served."""

    rules: ClassVar[tuple[Rule, ...]] = (
        immutable("keyLength"),
        immutable("durability"),
        immutable("failover"),
        # A worker keeps the lease that it was told last: an operator that counts a shorter one would give its
        # partitions away while it still serves them.
        Rule(
            rule="self.leaseSeconds >= oldSelf.leaseSeconds",
            message="leaseSeconds can only grow: workers may still hold the longer lease",
            field=".leaseSeconds",
        ),
        Rule(
            rule="self.failover != 'Lease' || self.durability == 'Memory'",
            message="failover Lease is for durability Memory: with Disk the rows are where the worker was",
            field=".failover",
        ),
        Rule(
            rule="self.keyLength > 2 || !has(self.partitions.initial) || "
            "self.partitions.initial <= (self.keyLength == 1 ? 256 : 65536)",
            message="there are not so many keys of keyLength bytes as partitions.initial asks for partitions",
            field=".partitions.initial",
        ),
        Rule(
            rule="!has(self.partitions.bounds) || self.partitions.bounds.all(b, "
            "size(b) <= (b.startsWith('0x') ? 2 + 2 * self.keyLength : self.keyLength))",
            message="a bound is longer than keyLength bytes",
            field=".partitions.bounds",
        ),
    )

    key_length: Annotated[int, Meta(ge=1, le=1024, description="Bytes of every key. Cannot change.")]
    workers: Annotated[Workers, Meta(description="The pods that serve it.")] = field(default_factory=Workers)
    durability: Annotated[
        Durability,
        Meta(
            description="Memory loses a dead worker's rows, as any cache does, and says so by condition DataLost. Disk "
            "acknowledges a write once it is on disk. Cannot change."
        ),
    ] = Durability.MEMORY
    partitions: Annotated[PartitionCounts, Meta(description="How it is cut.")] = field(default_factory=PartitionCounts)
    policy: Annotated[Policy, Meta(description="How far the Assigner goes by itself.")] = field(default_factory=Policy)
    proxy_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="For at least so long the source of a move passes on what stale clients still send it.",
        ),
    ] = 60
    failover: Annotated[
        Failover,
        Meta(
            description="Confirmed gives a silent worker's partitions away only when Kubernetes says that its pod is "
            "gone; Lease also when it must have stopped serving by itself, not having heard from the operator for "
            "leaseSeconds. Cannot change."
        ),
    ] = Failover.CONFIRMED

    lease_seconds: Annotated[
        int,
        Meta(
            ge=2,
            le=3600,
            description="With failover Lease: how long a worker that does not hear from the operator goes on serving. "
            "Can only grow.",
        ),
    ] = 15
    on_loss: Annotated[
        OnLoss,
        Meta(
            description="What becomes of a partition whose rows went with its worker: Recreate serves its range from "
            "empty, Hold leaves it unserved until this says Recreate, or somebody has accepted the loss by "
            "`dstk accept-loss`; both say so by condition DataLost. With durability Disk a partition whose rows are "
            "missing, or older than they were, always waits for its volume or for somebody's yes."
        ),
    ] = OnLoss.RECREATE

    @property
    def durable(self) -> bool:
        """Whether rows outlive the process that serves them."""
        return self.durability is Durability.DISK

    @property
    def worker_lease(self) -> float:
        """For how many seconds a worker serves after the operator was heard; 0: for ever."""
        return float(self.lease_seconds) if self.failover is Failover.LEASE else 0.0

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a worker pod with these labels serves the keyspace."""
        return all(labels.get(name) == value for name, value in self.workers.selector.match_labels.items())


class KeyspaceStatus(Model, frozen=True, kw_only=True):
    """What the operator last saw of a keyspace."""

    conditions: Conditions = ()
    partitions: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Partitions of the keyspace.")] = 0
    ready: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Partitions that a worker serves.")] = 0
    observed_generation: Annotated[
        int, Meta(ge=0, le=COUNT_MAX, description="The metadata.generation that this is about.")
    ] = 0


class Keyspace(Model, frozen=True, kw_only=True, tag_field="kind", tag="Keyspace"):
    """A space of keys of one length, cut into Partitions that worker pods serve."""

    CUT: ClassVar[str] = "Cut"
    """Condition: the initial Partitions were created, and are not created again."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="size(self.metadata.name) <= 63",
            message="a Keyspace's name is at most 63 characters: it is a label, and part of its Partitions' names",
            field=".metadata.name",
        ),
    )

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: Annotated[KeyspaceSpec, Meta(description="What it is and how it is served.")]
    status: Annotated[KeyspaceStatus, Meta(description="What the operator last saw.")] = field(
        default_factory=KeyspaceStatus
    )

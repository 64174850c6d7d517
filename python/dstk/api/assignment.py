"""Assignment: one operation on partitions, from its order to its end."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, field

from dstk.api.bound import BoundText
from dstk.api.conditions import Conditions
from dstk.api.group import ASSIGNER_LABEL
from dstk.api.meta import ObjectMeta, PartitionName, PodName
from dstk.api.model import COUNT_MAX, Model, Rule
from dstk.api.role import Role

__all__ = [
    "Assignment",
    "AssignmentPhase",
    "AssignmentSpec",
    "AssignmentStatus",
    "AssignmentType",
    "MergeParams",
    "MergeStatus",
    "MoveParams",
    "MoveStatus",
    "NewParams",
    "NewStatus",
    "Progress",
    "SplitParams",
    "SplitStatus",
    "Step",
]

_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
_LIST: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}


class AssignmentType(StrEnum):
    """The four operations."""

    NEW = "New"
    SPLIT = "InWorkerSplit"
    MERGE = "InWorkerMerge"
    MOVE = "InterWorkerMove"


class AssignmentPhase(StrEnum):
    """How far an Assignment is. Completed and Aborted are final."""

    PENDING = "Pending"
    RUNNING = "Running"
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    STALLED = "Stalled"

    @property
    def final(self) -> bool:
        """Whether nothing changes any more."""
        return self in (AssignmentPhase.COMPLETED, AssignmentPhase.ABORTED)


class Step(StrEnum):
    """The steps of an operation: follow, proxy, flip."""

    LOADING = "loading"
    FOLLOWING = "following"
    PROXYING = "proxying"
    COMPLETED = "completed"


class NewParams(Model, frozen=True, kw_only=True):
    """Which partitions, and who shall serve them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="has(self.partition) != has(self.partitions)",
            message="give either partition or partitions",
            reason="FieldValueRequired",
        ),
    )

    partition: Annotated[PartitionName | None, Meta(description="The partition.")] = None
    partitions: Annotated[
        Annotated[tuple[PartitionName, ...], Meta(min_length=1, max_length=1000, extra_json_schema=_SET)] | None,
        Meta(description="Several partitions for the same pod at once."),
    ] = None
    primary: Annotated[PodName, Meta(description="The pod that shall serve.")]

    @property
    def names(self) -> tuple[str, ...]:
        """The partitions, whichever field holds them."""
        return self.partitions if self.partitions is not None else (self.partition,) if self.partition else ()


class SplitParams(Model, frozen=True, kw_only=True):
    """Which partition, where to cut it, and what the pieces are called."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="has(self.splitKey) != has(self.splitKeys)",
            message="give either splitKey or splitKeys",
            reason="FieldValueRequired",
        ),
        Rule(
            rule="!has(self.names) || size(self.names) == (has(self.splitKeys) ? size(self.splitKeys) : 1) + 1",
            message="names needs one name more than there are split keys, in key order",
            field=".names",
        ),
        Rule(
            rule="!has(self.names) || !(self.partition in self.names)",
            message="a piece cannot have the name of the partition that is split",
            field=".names",
        ),
    )

    partition: Annotated[PartitionName, Meta(description="The partition to split.")]
    split_key: Annotated[
        Annotated[BoundText, Meta(min_length=1)] | None,
        Meta(description="The first key of the upper piece: text, or hex as 0x…."),
    ] = None
    split_keys: Annotated[
        Annotated[
            tuple[Annotated[BoundText, Meta(min_length=1)], ...],
            Meta(min_length=1, max_length=100, extra_json_schema=_SET),
        ]
        | None,
        Meta(description="The first keys of all pieces but the lowest, for a cut at several points at once."),
    ] = None
    names: Annotated[
        Annotated[tuple[PartitionName, ...], Meta(min_length=2, max_length=101, extra_json_schema=_SET)] | None,
        Meta(description="Names of the pieces in key order. Absent: a short hash of parent, range and epoch."),
    ] = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The split keys as given, whichever field holds them."""
        return self.split_keys if self.split_keys is not None else (self.split_key,) if self.split_key else ()


class MergeParams(Model, frozen=True, kw_only=True):
    """Which partitions become one, and what it is called."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="!has(self.name) || !(self.name in self.partitions)",
            message="the merged partition cannot have the name of a part",
            field=".name",
        ),
    )

    partitions: Annotated[
        tuple[PartitionName, ...],
        Meta(
            min_length=2,
            max_length=100,
            description="The parts, in any order; all on one pod, with nobody owning what is between them.",
            extra_json_schema=_SET,
        ),
    ]
    name: Annotated[
        PartitionName | None,
        Meta(description="Name of the merged partition. Absent: a short hash of parts, range and epoch."),
    ] = None


class MoveParams(Model, frozen=True, kw_only=True):
    """Which partition goes from which pod to which."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(rule="self.from != self.to", message="to must be another pod than from", field=".to"),
    )

    partition: Annotated[PartitionName, Meta(description="The partition to move.")]
    source: Annotated[PodName, Meta(description="The pod that serves it now.")] = field(name="from")
    to: Annotated[PodName, Meta(description="The pod that shall serve it.")]


def _belongs(params: str, type_: AssignmentType) -> Rule:
    return Rule(
        rule=f"has(self.{params}) == (self.type == '{type_.value}')",
        message=f"{params} is what type {type_.value} takes, and no other type",
        field=f".{params}",
        reason="FieldValueInvalid",
    )


class AssignmentSpec(Model, frozen=True, kw_only=True):
    """One operation: its type and exactly the parameters of that type. Cannot change."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="self == oldSelf",
            message="an Assignment's spec cannot change; delete it and create another",
            reason="FieldValueForbidden",
        ),
        _belongs("newParams", AssignmentType.NEW),
        _belongs("splitParams", AssignmentType.SPLIT),
        _belongs("mergeParams", AssignmentType.MERGE),
        _belongs("moveParams", AssignmentType.MOVE),
    )

    type: Annotated[
        AssignmentType,
        Meta(
            description="New serves partitions for the first time, InWorkerSplit cuts one, InWorkerMerge joins several "
            "of one pod, InterWorkerMove takes one to another pod."
        ),
    ]
    new_params: Annotated[NewParams | None, Meta(description="For type New.")] = None
    split_params: Annotated[SplitParams | None, Meta(description="For type InWorkerSplit.")] = None
    merge_params: Annotated[MergeParams | None, Meta(description="For type InWorkerMerge.")] = None
    move_params: Annotated[MoveParams | None, Meta(description="For type InterWorkerMove.")] = None
    reason: Annotated[str, Meta(max_length=1024, description="Why, as whoever created it says.")] = ""
    ttl_seconds_after_finished: Annotated[
        Annotated[int, Meta(ge=0, le=31_536_000)] | None,
        Meta(
            description="How long it is kept after its end. Absent: until somebody deletes it, or a thousand others "
            "without it have ended later."
        ),
    ] = None

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the existing Partitions that it works on, in the order given."""
        if self.new_params is not None:
            return self.new_params.names
        if self.split_params is not None:
            return (self.split_params.partition,)
        if self.merge_params is not None:
            return self.merge_params.partitions
        return (self.move_params.partition,) if self.move_params is not None else ()

    @property
    def creates(self) -> tuple[str, ...]:
        """Names of the Partitions that it will create, as far as it gives them."""
        if self.split_params is not None:
            return self.split_params.names or ()
        if self.merge_params is not None and self.merge_params.name is not None:
            return (self.merge_params.name,)
        return ()


class NewStatus(Model, frozen=True, kw_only=True):
    """How far a New is."""

    status: Annotated[Step, Meta(description="The step.")]


class SplitStatus(Model, frozen=True, kw_only=True):
    """How far a split is."""

    status: Annotated[Step, Meta(description="The step.")]
    from_part: Annotated[Role | None, Meta(description="Role of the partition that is split.")] = None
    splits: Annotated[dict[PartitionName, Role], Meta(max_length=101, description="Role of each piece, by name.")] = (
        field(default_factory=dict)
    )


class MergeStatus(Model, frozen=True, kw_only=True):
    """How far a merge is."""

    status: Annotated[Step, Meta(description="The step.")]
    merged_part: Annotated[Role | None, Meta(description="Role of the merged partition.")] = None
    sub_parts: Annotated[dict[PartitionName, Role], Meta(max_length=100, description="Role of each part, by name.")] = (
        field(default_factory=dict)
    )
    name: Annotated[
        PartitionName | None,
        Meta(description="Name of the merged partition where mergeParams gives none: it outlives the parts."),
    ] = None


class MoveStatus(Model, frozen=True, kw_only=True):
    """How far a move is."""

    status: Annotated[Step, Meta(description="The step.")]
    from_pod: Annotated[Role | None, Meta(description="Role of the pod that the partition leaves.")] = None
    to_pod: Annotated[Role | None, Meta(description="Role of the pod that the partition goes to.")] = None


class Progress(Model, frozen=True, kw_only=True):
    """How much is done of what takes long."""

    rows_copied: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Rows that have arrived.")] = 0
    bytes_copied: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Bytes that have arrived.")] = 0
    bytes_total: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Bytes that the snapshot has.")] = 0
    lag: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Writes that the follower is behind.")] = 0
    write_pause_ms: Annotated[
        Annotated[float, Meta(ge=0, le=86_400_000)] | None,
        Meta(description="Milliseconds for which writers waited at the flip."),
    ] = None


class AssignmentStatus(Model, frozen=True, kw_only=True):
    """How far an Assignment is. Exactly one of new, split, merge and move is there, as spec.type says."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="!has(oldSelf.phase) || !(oldSelf.phase in ['Completed', 'Aborted']) || "
            "(has(self.phase) && self.phase == oldSelf.phase)",
            message="an Assignment that has ended stays as it ended",
            field=".phase",
            reason="FieldValueForbidden",
        ),
    )

    phase: Annotated[
        AssignmentPhase | None,
        Meta(
            description="Pending waits (reason says for what), Running works, Stalled is past the point of no return "
            "and cannot go on by itself; Completed and Aborted are final, and Aborted has changed nothing."
        ),
    ] = None
    reason: Annotated[
        str,
        Meta(
            max_length=128,
            pattern="^([A-Z][A-Za-z0-9]*)?$",
            description="Why, in one CamelCase word for programs.",
        ),
    ] = ""
    message: Annotated[str, Meta(max_length=4096, description="Why, in a sentence for people.")] = ""
    new: Annotated[NewStatus | None, Meta(description="For type New.")] = None
    split: Annotated[SplitStatus | None, Meta(description="For type InWorkerSplit.")] = None
    merge: Annotated[MergeStatus | None, Meta(description="For type InWorkerMerge.")] = None
    move: Annotated[MoveStatus | None, Meta(description="For type InterWorkerMove.")] = None
    progress: Annotated[Progress | None, Meta(description="How much is done of what takes long.")] = None
    started_at: Annotated[datetime | None, Meta(description="When it left Pending.")] = None
    finished_at: Annotated[datetime | None, Meta(description="When it was Completed or Aborted.")] = None
    conditions: Conditions = ()
    observed_generation: Annotated[
        int, Meta(ge=0, le=COUNT_MAX, description="The metadata.generation that this is about.")
    ] = 0

    @property
    def step(self) -> Step | None:
        """The step of whichever operation it is."""
        detail = self.new or self.split or self.merge or self.move
        return detail.status if detail is not None else None


class Assignment(Model, frozen=True, kw_only=True, tag_field="kind", tag="Assignment"):
    """One operation on partitions: New, InWorkerSplit, InWorkerMerge or InterWorkerMove."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: Annotated[AssignmentSpec, Meta(description="The operation. Cannot change.")]
    status: Annotated[AssignmentStatus, Meta(description="How far it is.")] = field(default_factory=AssignmentStatus)

    @property
    def finished(self) -> bool:
        """Whether it is Completed or Aborted."""
        return self.status.phase is not None and self.status.phase.final

    @property
    def by_hand(self) -> bool:
        """Whether somebody else than the Assigner made it."""
        label, assigner = ASSIGNER_LABEL
        return self.metadata.labels.get(label) != assigner

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the Partitions that it works on or creates, as far as spec and status give them; each once."""
        split, merge = self.status.split, self.status.merge
        names = [*self.spec.partitions, *self.spec.creates, *(split.splits if split is not None else ())]
        if merge is not None and merge.name:
            names.append(merge.name)
        return tuple(dict.fromkeys(names))

"""The resources of the group dstk.io, typed, and their CustomResourceDefinitions."""

from __future__ import annotations

from dstk.api.assignment import (
    Assignment,
    AssignmentPhase,
    AssignmentSpec,
    AssignmentStatus,
    AssignmentType,
    MergeParams,
    MergeStatus,
    MoveParams,
    MoveStatus,
    NewParams,
    NewStatus,
    Progress,
    SplitParams,
    SplitStatus,
    Step,
)
from dstk.api.codec import KINDS, Resource, decode, encode, to_dict
from dstk.api.conditions import Condition, ConditionStatus
from dstk.api.crd import RESOURCES, crds
from dstk.api.group import (
    API_VERSION,
    APPROVED_ANNOTATION,
    CORDONED_ANNOTATION,
    GROUP,
    KEYSPACE_LABEL,
    PROPOSED_LABEL,
    RESTARTS_ANNOTATION,
    SPARE_WORKERS_ANNOTATION,
    VERSION,
)
from dstk.api.keyspace import Durability, Failover, Keyspace, KeyspaceSpec, KeyspaceStatus, Mode, OnLoss, Policy
from dstk.api.meta import ObjectMeta, OwnerReference
from dstk.api.names import assignment_name, child_name
from dstk.api.partition import KeyRange, Partition, PartitionPhase, PartitionSpec, PartitionStatus
from dstk.api.role import Role

__all__ = [
    "API_VERSION",
    "APPROVED_ANNOTATION",
    "CORDONED_ANNOTATION",
    "GROUP",
    "KEYSPACE_LABEL",
    "KINDS",
    "PROPOSED_LABEL",
    "RESOURCES",
    "RESTARTS_ANNOTATION",
    "SPARE_WORKERS_ANNOTATION",
    "VERSION",
    "Assignment",
    "AssignmentPhase",
    "AssignmentSpec",
    "AssignmentStatus",
    "AssignmentType",
    "Condition",
    "ConditionStatus",
    "Durability",
    "Failover",
    "KeyRange",
    "Keyspace",
    "KeyspaceSpec",
    "KeyspaceStatus",
    "MergeParams",
    "MergeStatus",
    "Mode",
    "MoveParams",
    "MoveStatus",
    "NewParams",
    "NewStatus",
    "ObjectMeta",
    "OnLoss",
    "OwnerReference",
    "Partition",
    "PartitionPhase",
    "PartitionSpec",
    "PartitionStatus",
    "Policy",
    "Progress",
    "Resource",
    "Role",
    "SplitParams",
    "SplitStatus",
    "Step",
    "assignment_name",
    "child_name",
    "crds",
    "decode",
    "encode",
    "to_dict",
]

"""Typed resources from and to JSON; names; conditions; approval of the spelling."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dstk.api import (
    Assignment,
    AssignmentPhase,
    AssignmentSpec,
    AssignmentType,
    Condition,
    ConditionStatus,
    Keyspace,
    MoveParams,
    Partition,
    assignment_name,
    child_name,
    decode,
    encode,
    to_dict,
)
from dstk.api.conditions import find, with_condition
from dstk.api.names import initial_name
from dstk.errors import InvalidRequest

MOVE = {
    "apiVersion": "dstk.io/v1alpha1",
    "kind": "Assignment",
    "metadata": {
        "name": "m",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "finalizers": ["dstk.io/assignment"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "w-0", "uid": "u"}],
    },
    "spec": {"type": "InterWorkerMove", "moveParams": {"partition": "p", "from": "w-0", "to": "w-1"}},
    "status": {
        "phase": "Running",
        "move": {"status": "following", "fromPod": "primary", "toPod": "following"},
        "progress": {"rowsCopied": 5, "writePauseMs": 1.5},
        "startedAt": "2026-01-02T03:04:06.123456Z",
    },
}


def test_a_round_trip_keeps_everything() -> None:
    typed = decode(Assignment, MOVE)
    assert typed.spec.move_params == MoveParams(partition="p", source="w-0", to="w-1")
    assert typed.status.phase is AssignmentPhase.RUNNING
    assert typed.status.started_at == datetime(2026, 1, 2, 3, 4, 6, 123456, UTC)
    assert to_dict(typed) == MOVE
    assert decode(Assignment, encode(typed)) == typed


def test_what_is_not_ours_is_left_out() -> None:
    object_ = {**MOVE, "metadata": {"name": "m", "managedFields": [{"manager": "kubectl"}]}}
    assert to_dict(decode(Assignment, object_))["metadata"] == {"name": "m"}


def test_the_seeds_partition_is_in_the_default_keyspace() -> None:
    partition = decode(Partition, {"metadata": {"name": "part1"}, "spec": {"range": {"start": "a", "end": "o"}}})
    assert partition.spec.keyspace == "default"
    assert (partition.spec.primary, partition.spec.epoch, partition.status.phase) == (None, 0, None)


@pytest.mark.parametrize(
    ("object_", "says"),
    [
        ({"metadata": {"name": "x"}, "spec": {}}, 'Partition "x": .*range'),
        ({"kind": "Keyspace", "spec": {"range": {}}}, "Keyspace"),
        ({"spec": {"range": {}, "epoch": -1}}, r"epoch"),
        ({"spec": {"range": {}, "primary": "No_Pod"}}, r"primary"),
    ],
)
def test_what_the_schema_refuses_does_not_decode(object_: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        decode(Partition, object_)


@pytest.mark.parametrize(
    ("spec", "partitions", "creates"),
    [
        ({"type": "New", "newParams": {"partition": "p", "primary": "w"}}, ("p",), ()),
        ({"type": "New", "newParams": {"partitions": ["p", "q"], "primary": "w"}}, ("p", "q"), ()),
        ({"type": "InWorkerSplit", "splitParams": {"partition": "p", "splitKey": "e"}}, ("p",), ()),
        (
            {"type": "InWorkerSplit", "splitParams": {"partition": "p", "splitKey": "e", "names": ["x", "y"]}},
            ("p",),
            ("x", "y"),
        ),
        ({"type": "InWorkerMerge", "mergeParams": {"partitions": ["p", "q"], "name": "r"}}, ("p", "q"), ("r",)),
        ({"type": "InterWorkerMove", "moveParams": {"partition": "p", "from": "v", "to": "w"}}, ("p",), ()),
    ],
)
def test_what_an_assignment_touches(spec: object, partitions: tuple[str, ...], creates: tuple[str, ...]) -> None:
    typed = decode(Assignment, {"spec": spec})
    assert (typed.spec.partitions, typed.spec.creates) == (partitions, creates)


def test_a_keyspace_selects_by_all_labels() -> None:
    labels = {"app": "kv", "tier": "hot"}
    every = decode(Keyspace, {"spec": {"keyLength": 1}})
    some = decode(Keyspace, {"spec": {"keyLength": 1, "workers": {"selector": {"matchLabels": labels}}}})
    assert every.spec.selects({})
    assert some.spec.selects({**labels, "more": "x"})
    assert not some.spec.selects({"app": "kv"})


def test_names_follow_from_what_they_name() -> None:
    name = child_name("ks", ["a", "b"], b"a", b"", 3)
    assert name == child_name("ks", ["b", "a"], b"a", b"", 3)
    others = {child_name("ks", ["a", "b"], b"a", b"", 4), child_name("ks", ["a", "b"], b"a", b"b", 3)}
    assert name not in others
    assert name.startswith("ks-")
    assert len(name) == len("ks-") + 10
    assert [initial_name("ks", index) for index in (0, 12345)] == ["ks-00000", "ks-12345"]


def test_a_proposal_has_the_same_name_for_another_reason_and_another_in_another_state() -> None:
    def move(reason: str, partition: str = "p" * 253) -> AssignmentSpec:
        params = MoveParams(partition=partition, source="v", to="w")
        return AssignmentSpec(type=AssignmentType.MOVE, move_params=params, reason=reason)

    name = assignment_name(move("3 here, 1 there"), ["u/1"])
    assert name == assignment_name(move("4 here, 1 there"), ["u/1"])
    assert name != assignment_name(move("3 here, 1 there"), ["u/2"])
    assert len(name) <= 253
    assert assignment_name(move("", "part1"), []).startswith("move-part1-")


def test_a_condition_keeps_its_moment_until_its_status_changes() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)

    def ready(status: ConditionStatus, moment: datetime, reason: str) -> Condition:
        return Condition(type="Ready", status=status, last_transition_time=moment, reason=reason)

    other = Condition(type="DataLost", status=ConditionStatus.TRUE, last_transition_time=early, reason="Killed")
    conditions = with_condition((other,), ready(ConditionStatus.TRUE, early, "Served"))
    conditions = with_condition(conditions, ready(ConditionStatus.TRUE, late, "StillServed"))
    assert find(conditions, "Ready") == ready(ConditionStatus.TRUE, early, "StillServed")
    conditions = with_condition(conditions, ready(ConditionStatus.FALSE, late, "Gone"))
    assert find(conditions, "Ready") == ready(ConditionStatus.FALSE, late, "Gone")
    assert find(conditions, "DataLost") == other
    assert len(conditions) == 2

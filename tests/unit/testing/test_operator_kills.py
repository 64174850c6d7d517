"""What an operation has to leave behind, whoever was killed meanwhile."""

from __future__ import annotations

from typing import Any

from dstk import api
from dstk.testing.operator_kills import faults_of


def partition(name: str, primary: str = "worker-0", epoch: int = 1, proxy: str | None = None) -> api.Partition:
    spec = api.PartitionSpec(range=api.KeyRange(start="a", end="b"), primary=primary, proxy=proxy, epoch=epoch)
    return api.Partition(metadata=api.ObjectMeta(name=name), spec=spec)


def ended(type_: str, phase: str, **params: Any) -> api.Assignment:
    return api.decode(
        api.Assignment,
        {
            "apiVersion": api.API_VERSION,
            "kind": "Assignment",
            "metadata": {"name": "a1"},
            "spec": {"type": type_, **params},
            "status": {"phase": phase, "reason": "Because"},
        },
    )


def move(phase: str = "Completed") -> api.Assignment:
    return ended("InterWorkerMove", phase, moveParams={"partition": "p", "from": "worker-0", "to": "worker-1"})


P = [partition("p")]


def test_a_move_leaves_the_partition_with_its_new_owner_alone() -> None:
    assert faults_of(move(), P, [partition("p", "worker-1", 2)]) == []
    assert "not with worker-1 alone" in faults_of(move(), P, [partition("p", "worker-0", 2)])[0]
    assert "not with worker-1 alone" in faults_of(move(), P, [partition("p", "worker-1", 2, proxy="worker-0")])[0]
    assert "not with worker-1 alone" in faults_of(move(), P, [])[0]
    assert "epoch" in faults_of(move(), P, [partition("p", "worker-1", 1)])[0]


def test_what_was_aborted_has_changed_nothing() -> None:
    assert faults_of(move("Aborted"), P, [partition("p", epoch=3)]) == []
    assert "has changed" in faults_of(move("Aborted"), P, [partition("p", "worker-1", 2)])[0]
    assert "has changed" in faults_of(move("Aborted"), P, [])[0]


def test_a_split_and_a_merge_replace_what_they_work_on() -> None:
    split = ended("InWorkerSplit", "Completed", splitParams={"partition": "p", "splitKey": "aa", "names": ["x", "y"]})
    assert faults_of(split, P, [partition("x", epoch=2), partition("y", epoch=2)]) == []
    assert faults_of(split, P, [partition("x", epoch=3), partition("y", epoch=2)]) == [
        "a1 was completed, but x went from epoch 1 to 3"
    ]
    assert faults_of(split, P, [*P, partition("x", epoch=2)]) == [
        "a1 was completed, but p is still there",
        "a1 was completed, but there is no y",
    ]
    merge = ended("InWorkerMerge", "Completed", mergeParams={"partitions": ["x", "y"]})
    both = [partition("x"), partition("y")]
    assert faults_of(merge, both, P) == []
    assert len(faults_of(merge, both, both)) == 2


def test_what_has_not_ended_is_wrong() -> None:
    assert "Running Because" in faults_of(move("Running"), P, P)[0]

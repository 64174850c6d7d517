"""What rolling restarts and scale-in move: docs/decisions/rolling-restarts.md has these sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout import StatefulSet
from scene import NOW, keyspace, moving, partition, row, said

from dstk.plan import Cluster, Restart, RestartedBy, Worker, WorkerSet, plan

BY_US, BY_CONTROLLER, BY_NOBODY = RestartedBy.OPERATOR, RestartedBy.CONTROLLER, RestartedBy.NOBODY
PARTITIONS = 72
"""Divides evenly over most of 1 to 10 workers."""


@pytest.mark.parametrize("serving", range(1, 10))
def test_with_a_spare_each_restart_moves_everything_once_time_after_time(serving: int) -> None:
    world = StatefulSet.of(serving + 1, PARTITIONS, BY_US, spare=1)
    for revision in ("r2", "r3", "r4"):
        assert world.roll(revision) == PARTITIONS
        world.settle()
        assert sorted(world.counts().values())[0] == 0
    assert world.moves == 3 * PARTITIONS, "and nothing is moved between them"


@pytest.mark.parametrize("pods", range(2, 11))
def test_without_a_spare_the_first_workers_share_is_moved_twice(pods: int) -> None:
    world = StatefulSet.of(pods, PARTITIONS, BY_US)
    share = min(world.counts().values())
    assert world.roll("r2") == PARTITIONS + share
    world.settle()
    refilled = world.moves - PARTITIONS - share
    assert refilled <= PARTITIONS // pods, "then the last one is filled again"
    assert world.moves <= PARTITIONS * (1 + 2 / pods)


@pytest.mark.parametrize("pods", range(2, 11))
def test_restarted_by_the_controller_with_a_spare(pods: int) -> None:
    world = StatefulSet.of(pods, PARTITIONS, BY_CONTROLLER, spare=1)
    assert world.roll("r2") == PARTITIONS, "the spare is where the controller begins"
    world.settle()
    first = world.counts()[f"w-{pods - 1}"]
    assert world.roll("r3") == PARTITIONS + first, "then it is where the controller ends"


@pytest.mark.parametrize("pods", range(2, 11))
def test_restarted_by_the_controller_without_a_spare(pods: int) -> None:
    world = StatefulSet.of(pods, PARTITIONS, BY_CONTROLLER)
    share = world.counts()[f"w-{pods - 1}"]
    assert world.roll("r2") == PARTITIONS + share


def test_the_controllers_order_and_ours() -> None:
    for restarted_by, order in ((BY_CONTROLLER, "w-3 w-2 w-1 w-0"), (BY_US, "w-3 w-2 w-1 w-0")):
        world = StatefulSet.of(4, 12, restarted_by, spare=1)
        world.roll("r2")
        assert " ".join(world.deleted) == order
    world.roll("r3")
    assert world.deleted[4] == "w-0", "ours begins with the worker that is empty"


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(0, 2),
    st.sampled_from([BY_US, BY_CONTROLLER]),
)
def test_no_worker_goes_with_partitions_and_nothing_is_moved_for_evenness_meanwhile(
    pods: int, partitions: int, at_once: int, spare: int, restarted_by: RestartedBy
) -> None:
    world = StatefulSet.of(pods, partitions, restarted_by, spare, at_once)
    for revision in ("r2", "r3"):
        before = world.counts()
        moved = world.roll(revision)
        first = world.deleted[-pods]
        assert moved == partitions + before[first]
        assert sorted(world.deleted[-pods:]) == sorted(before), "each once"
        world.settle()


@pytest.mark.parametrize("restarted_by", [BY_US, BY_CONTROLLER])
@pytest.mark.parametrize(("replicas", "fewer", "spare"), [(10, 5, 0), (4, 3, 1), (5, 2, 1), (3, 1, 0)])
def test_scale_in_moves_what_leaves_once(replicas: int, fewer: int, spare: int, restarted_by: RestartedBy) -> None:
    world = StatefulSet.of(replicas, PARTITIONS, restarted_by, spare=spare)
    leave = sum(count for name, count in world.counts().items() if int(name[2:]) >= fewer)
    before, world.set = world.moves, replace(world.set, replicas=fewer)
    world.settle()
    assert len(world.workers) == fewer
    assert (0 in world.counts().values()) == bool(spare)
    moved = world.moves - before
    if spare:
        assert moved <= leave + PARTITIONS // fewer, "another is emptied in place of the spare, which has gone"
    else:
        assert moved == leave


def test_a_revision_that_does_not_come_up_costs_the_empty_worker_alone() -> None:
    world = StatefulSet.of(4, 12, BY_US, spare=1)
    world.broken = frozenset({"bad"})
    world.set = replace(world.set, revision="bad")
    world.settle()
    assert world.deleted == ["w-3"]
    assert world.moves == 0
    world.set = replace(world.set, revision="r1")
    world.settle()
    assert world.deleted == ["w-3", "w-3"], "put right: the broken one is restarted, the others were never touched"
    assert all(worker.ready for worker in world.workers)


def members(*revisions: str) -> list[Worker]:
    return [Worker(f"w-{n}", set="w", ordinal=n, revision=revision) for n, revision in enumerate(revisions)]


def cluster(count: int, *owners: str, **more: Any) -> Cluster:
    """Workers w-0 (of the old revision), w-1 and w-2 (of the new), restarted by us unless ``more`` says otherwise."""
    found: dict[str, Any] = {
        "keyspaces": [keyspace(maxConcurrentMoves=9)],
        "partitions": row(count, *owners),
        "workers": members("r1", "r2", "r2"),
        "sets": [WorkerSet("w", 3, revision="r2", restarted_by=BY_US)],
    }
    return Cluster(**(found | more))


def restarts(given: Cluster) -> list[Restart]:
    return list(plan(given, NOW).restarts)


def test_a_worker_goes_once_it_neither_serves_nor_passes_on_nor_is_to_get_anything() -> None:
    waits, goes = [Restart("w-0", "w", empty=False)], [Restart("w-0", "w", empty=True)]
    assert restarts(cluster(2, "w-1", "w-2")) == goes
    assert restarts(cluster(2, "w-0", "w-2")) == waits
    assert restarts(cluster(1, partitions=[partition("p00", primary="w-1", proxy="w-0")])) == waits
    assert restarts(cluster(1, "w-1", assignments=[moving("p00", "w-1", "w-0")])) == waits
    assert restarts(cluster(1, "w-1", assignments=[moving("p00", "w-1", "w-0", "Aborted")])) == goes


def test_nobody_is_restarted_while_another_is_away_or_unwell() -> None:
    there = members("r1", "r2", "r2")
    assert restarts(cluster(1, "w-1", workers=there[:2])) == []
    assert restarts(cluster(1, "w-1", workers=[*there[:2], replace(there[2], ready=False)])) == []
    old_and_unwell = [replace(there[0], ready=False), *there[1:]]
    assert restarts(cluster(1, "w-0", workers=old_and_unwell)) == [], "it may only be slow, and has rows"
    assert restarts(cluster(1, "w-1", workers=old_and_unwell)) == [Restart("w-0", "w", empty=True)]


@pytest.mark.parametrize(
    ("revisions", "changes", "evened_out", "restarts_one"),
    [
        ("r1 r2 r2", {}, False, True),
        ("r2 r2 r2", {}, True, False),
        # The controller has not yet said what is new.
        ("r1 r2 r2", {"revision": ""}, True, False),
        ("r1 r2 r2", {"restarted_by": BY_NOBODY}, True, False),
        ("r1 r2 r2", {"restarted_by": BY_CONTROLLER}, False, False),
        # w-0 is to stay as it is.
        ("r1 r2 r2", {"restarted_by": BY_CONTROLLER, "partition": 1}, True, False),
    ],
)
def test_a_rolling_restart_goes_on(
    revisions: str, changes: dict[str, Any], evened_out: bool, restarts_one: bool
) -> None:
    asked = replace(WorkerSet("w", 3, revision="r2", restarted_by=BY_US), **changes)
    found = plan(cluster(9, "w-1", "w-2", "w-2", workers=members(*revisions.split()), sets=[asked]), NOW)
    assert (bool(found.assignments), bool(found.restarts)) == (evened_out, restarts_one)


def test_what_only_a_person_can_mend_is_said() -> None:
    alone = cluster(2, "w-0", workers=members("r1"), sets=[WorkerSet("w", 1, revision="r2", restarted_by=BY_US)])
    assert [each.stuck for each in restarts(alone)] == [
        "it holds 2 partitions and there is no other worker to take them"
    ]
    off = cluster(1, "w-0", keyspaces=[keyspace(mode="Off")])
    assert [each.stuck for each in restarts(off)] == [
        "it holds partitions of keyspace ks, whose policy.mode is not Auto; move them"
    ]
    assert [each.stuck for each in restarts(cluster(1, "w-0"))] == [""]


def test_a_keyspace_that_restarts_empty_counts_with_every_other() -> None:
    """w-1 holds nothing of the first keyspace, but w-2 holds least of both."""
    parts = [
        *row(2, "w-0", "w-2"),
        *[partition(f"q{n}", str(n), str(n + 1), "w-1", keyspace="other") for n in range(3)],
    ]
    given = cluster(0, keyspaces=[keyspace(), keyspace("other")], partitions=parts, workers=members("r1", "r1", "r1"))
    assert [each.worker for each in restarts(given)] == ["w-2"]


def test_the_spare_gets_nothing_unless_it_is_alone() -> None:
    sets = [WorkerSet("w", 2, revision="r1", spare=1)]
    given = cluster(3, workers=members("r1", "r1"), sets=sets)
    assert said(plan(given, NOW).assignments) == ["New p00,p01,p02 on w-0"]
    alone = replace(given, workers=members("r1"))
    assert said(plan(alone, NOW).assignments) == ["New p00,p01,p02 on w-0"]


def test_a_drain_says_where_it_goes_and_why() -> None:
    (move,) = plan(cluster(1, "w-0"), NOW).assignments
    assert move.spec.reason == "w-0 leaves: it is restarted next; w-1 is restarted already"

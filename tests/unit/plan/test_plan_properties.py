"""What holds of every plan, whatever the cluster."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import NOW, World, keyspace, moving, partition, row, workers

from dstk.api import Assignment, AssignmentType
from dstk.plan import Cluster, Load, Worker, plan
from dstk.plan.balance import bounds
from dstk.plan.coverage import Coverage
from dstk.plan.split import cuts_by_load
from dstk.span import Span

NAMES = ["w0", "w1", "w2", "w3", "w4"]


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Up to 60 neighbours owned, owned by the gone, or not owned; any loads; moves under way and past."""
    count = draw(st.integers(1, 60))
    owners = st.sampled_from([None, "gone", *NAMES])
    parts = [
        partition(
            one.metadata.name,
            one.spec.range.start,
            one.spec.range.end,
            draw(owners),
            age=draw(st.sampled_from([1.0, 1e5])),
        )
        for one in row(count)
    ]
    loads = {
        one.metadata.name: Load(
            rows=draw(st.sampled_from([0, 10, 10**6, 10**8])),
            bytes=draw(st.integers(0, 1 << 31)),
            operations_per_second=draw(st.sampled_from([0.0, 100.0, 1e5])),
            median_key=f"{index:02d}mm".encode(),
        )
        for index, one in enumerate(parts)
        if draw(st.booleans())
    }
    some = [
        Worker(name, ready=draw(st.booleans()), leaving=draw(st.booleans()))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    history = [
        moving(f"p{index:02d}", "w0", "w1", phase, ago=draw(st.sampled_from([1.0, 1e4])))
        for index, phase in draw(
            st.lists(st.tuples(st.integers(0, 59), st.sampled_from([None, "Running", "Completed", "Aborted"])))
        )
    ]
    policy: dict[str, Any] = {
        "maxConcurrentMoves": draw(st.integers(0, 5)),
        "maxConcurrentReshapes": draw(st.integers(0, 5)),
        "balanceTolerancePercent": draw(st.integers(0, 100)),
    }
    return Cluster(
        keyspaces=[keyspace(initial=draw(st.integers(0, 5)), **policy)],
        partitions=parts,
        workers=some,
        assignments=history,
        loads=loads,
        absent={"gone": NOW - draw(st.sampled_from([1.0, 1e4]))},
    )


@settings(max_examples=300, deadline=None)
@given(clusters(), st.randoms(use_true_random=False))
def test_a_plan_is_sound_and_the_same_for_any_order_of_the_input(cluster: Cluster, random: Random) -> None:
    result = plan(cluster, NOW).assignments
    policy = cluster.keyspaces[0].spec.policy
    takers = {worker.name for worker in cluster.workers if worker.ready and not worker.leaving}
    owner = {one.metadata.name: one.spec.primary for one in cluster.partitions}
    unfinished = [one for one in cluster.assignments if not one.finished]

    touched = Counter(name for one in [*result, *unfinished] for name in one.spec.partitions)
    planned = {name for one in result for name in one.spec.partitions}
    assert all(touched[name] == 1 for name in planned), "never two operations on one partition"

    by_type = Counter(one.spec.type for one in result)
    under_way = len({name for one in unfinished for name in one.spec.partitions} & owner.keys())
    assert by_type[AssignmentType.MOVE] <= max(0, policy.max_concurrent_moves - under_way)
    assert by_type[AssignmentType.SPLIT] + by_type[AssignmentType.MERGE] <= policy.max_concurrent_reshapes

    for one in result:
        check_sound(one, owner, takers)
        assert one.spec.reason
    assert len({one.metadata.name for one in result}) == len(result)

    shuffled = Cluster(
        keyspaces=cluster.keyspaces,
        partitions=random.sample(list(cluster.partitions), len(list(cluster.partitions))),
        workers=random.sample(list(cluster.workers), len(cluster.workers)),
        assignments=random.sample(list(cluster.assignments), len(cluster.assignments)),
        loads=cluster.loads,
        absent=cluster.absent,
    )
    assert plan(shuffled, NOW).assignments == result


def check_sound(one: Assignment, owner: dict[str, str | None], takers: set[str]) -> None:
    spec = one.spec
    if spec.new_params:
        assert spec.new_params.primary in takers
        assert {owner[name] for name in spec.partitions} <= {None, "gone", *set(NAMES) - takers}
    if spec.move_params:
        assert spec.move_params.to in takers
        assert owner[spec.move_params.partition] == spec.move_params.source != spec.move_params.to
    if spec.merge_params:
        assert len({owner[name] for name in spec.partitions}) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=60), st.integers(2, 5), st.integers(0, 50))
def test_balance_is_reached_by_the_fewest_moves_and_then_kept(owners: list[str], count: int, tolerance: int) -> None:
    names = NAMES[:count]
    parts = row(len(owners), *(name if name in names else names[0] for name in owners))
    world = World(
        keyspace(balanceTolerancePercent=tolerance, mergeBelowRows=0),
        workers(*names),
        {one.metadata.name: one for one in parts},
    )
    low, high = bounds(len(parts), count, tolerance)
    before = world.counts().values()
    fewest = max(sum(max(0, held - high) for held in before), sum(max(0, low - held) for held in before))
    assert world.run(rounds=fewest + 1), "plans nothing once balanced"
    assert all(low <= held <= high for held in world.counts().values())
    assert world.steps.get(AssignmentType.MOVE, 0) == fewest


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.sets(st.sampled_from(NAMES)))
def test_from_nothing_to_everything_placed_and_what_leaves_emptied(count: int, some: int, leaving: set[str]) -> None:
    names = NAMES[:some]
    world = World(
        keyspace(mergeBelowRows=0), workers(*names), {one.metadata.name: one for one in row(count)} if count else {}
    )
    assert world.run(rounds=2)
    held = world.counts().values()
    assert max(held) - min(held) <= 1
    assert world.steps.get(AssignmentType.MOVE, 0) == 0

    world.workers = [Worker(name, leaving=name in leaving) for name in names]
    gone = leaving & set(names)
    if len(gone) < len(names):
        on_them = sum(world.counts()[name] for name in gone)
        assert world.run(rounds=on_them + 1)
        assert all(world.counts()[name] == 0 for name in gone)
        assert world.steps.get(AssignmentType.MOVE, 0) == on_them, "nothing moves twice"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.binary(min_size=4, max_size=4), st.floats(1.0, 1000.0), min_size=1, max_size=40))
def test_splitting_and_merging_come_to_rest(weights: dict[bytes, float]) -> None:
    total = sum(weights.values())
    world = World(
        keyspace(maxOpsPerSecond=1000, mergeBelowOpsPerSecond=500, maxConcurrentMoves=0),
        workers("w0"),
        {"p00": row(1, "w0")[0]},
        {"p00": Load(rows=100, operations_per_second=total, sample=list(weights.items()))},
    )
    assert world.run(rounds=60)
    rates = [load.operations_per_second for load in world.loads.values()]
    assert sum(rates) == pytest.approx(total)
    for load in world.loads.values():
        if load.operations_per_second > 1000:
            assert max(weight for _, weight in load.sample) > 0.8 * load.operations_per_second, "one key carries it"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.floats(0.01, 100.0)), max_size=30),
    st.binary(max_size=1),
    st.binary(max_size=1),
    st.integers(2, 16),
)
def test_cuts_are_inside_ascending_and_worth_it(
    sample: list[tuple[bytes, float]], start: bytes, end: bytes, pieces: int
) -> None:
    span = Span(start, end)
    cuts = cuts_by_load(sample, span, pieces)
    assert cuts == sorted(set(cuts))
    assert len(cuts) < pieces
    assert all(span.holds(cut) and cut != start for cut in cuts)
    if cuts:
        inside = [(key, weight) for key, weight in sample if span.holds(key)]
        edges = [start, *cuts]
        shares = [0.0] * len(edges)
        for key, weight in inside:
            shares[sum(cut <= key for cut in cuts)] += weight
        assert max(shares) <= 0.9 * sum(shares) * (1 + 1e-9)


edges = st.just(b"") | st.binary(min_size=2, max_size=2)
spans = st.tuples(edges, edges).filter(lambda pair: not pair[1] or pair[0] < pair[1])


@settings(deadline=None)
@given(st.lists(spans), spans, st.lists(spans))
def test_coverage_meets_what_any_of_its_spans_meets(covered: list[Any], asked: Any, later: list[Any]) -> None:
    known = [Span(*pair) for pair in covered]
    coverage = Coverage(known)
    for pair in later:
        if not coverage.overlaps(Span(*pair)):
            coverage.add(Span(*pair))
            known.append(Span(*pair))
    assert coverage.overlaps(Span(*asked)) == any(span.overlaps(Span(*asked)) for span in known)


def calls(partitions: int) -> int:
    """Python function calls that one plan takes: work, counted without a clock."""
    width = (partitions.bit_length() + 7) // 8
    parts = [
        partition(f"p{i:05d}", f"0x{i:0{2 * width}x}" if i else "", f"0x{i + 1:0{2 * width}x}", None if i % 3 else "w0")
        for i in range(partitions)
    ]
    loads = {one.metadata.name: Load(rows=5, bytes=i % 7) for i, one in enumerate(parts)}
    names = [*workers(*(f"w{i}" for i in range(20))), Worker("old", leaving=True)]
    cluster = Cluster(keyspaces=[keyspace(maxConcurrentMoves=100)], partitions=parts, workers=names, loads=loads)
    counted = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        plan(cluster, NOW)
    finally:
        sys.setprofile(before)
    return counted


def test_the_work_grows_with_the_number_of_partitions_not_its_square() -> None:
    small, large = calls(1000), calls(8000)
    assert large < 8 * 1.5 * small

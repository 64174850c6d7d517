"""What the Assigner plans, case by case: the cluster on the left, the Assignments on the right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as with_
from scene import NOW, assignment, keyspace, moving, partition, planned, row, said, workers

from clocks import HandClock
from dstk.api import CUT_ANNOTATION, PLACED_ANNOTATION, PROPOSED_LABEL, Partition, decode
from dstk.api.keyspace import Keyspace
from dstk.operator.moments import Moments
from dstk.plan import Cluster, Load, Worker, plan

STILL: dict[str, Any] = {"maxConcurrentMoves": 0}
"""Policy for cases that are not about moves."""


def cluster(partitions: list[Any], names: list[Worker], policy: dict[str, Any] | None = None, **more: Any) -> Cluster:
    initial = more.pop("initial", 0)
    return Cluster(
        keyspaces=[keyspace(initial=initial, **(policy or {}))], partitions=partitions, workers=names, **more
    )


W2, W3 = workers("w0", "w1"), workers("w0", "w1", "w2")
LEAVING = [Worker("w0", leaving=True), *workers("w1", "w2")]

PLACE = {
    "what nobody serves goes round": (
        cluster(row(5), W2, STILL),
        ["New p00,p02,p04 on w0", "New p01,p03 on w1"],
    ),
    "who holds less gets more": (
        cluster([*row(4, "w0", "w0", None, None)], W2, STILL),
        ["New p02,p03 on w1"],
    ),
    "a single one uses the field for one": (cluster([partition("p")], W2), ["New p on w0"]),
    "nobody is there": (cluster(row(3), []), []),
    "nobody is ready": (cluster(row(3), workers("w0", ready=False)), []),
    "nobody but one who leaves": (cluster(row(3), [Worker("w0", leaving=True)]), []),
    "New is under way": (
        cluster(row(2), W2, assignments=[assignment("New", newParams={"partition": "p00", "primary": "w0"})]),
        ["New p01 on w1"],
    ),
    "a part that was merged away": (cluster([partition("p", proxy="w0")], W2), []),
    "a child of a split under way overlaps its parent": (
        cluster([partition("p", "a", "c", "w0"), partition("child", "a", "b", epoch=2)], W2, STILL),
        [],
    ),
    "two that overlap: the older": (
        cluster([partition("young", "a", "c", age=5), partition("old", "b", "d", age=50)], W2, STILL),
        ["New old on w0"],
    ),
    "a bound that is too long is nobody's": (cluster([partition("p", "abcdefgh", "b")], W2), []),
    "the pod is gone for long": (
        cluster(row(2, "w0", "w9"), W2, absent={"w9": NOW - 30}), ["New p01 on w1"],
    ),
    "the pod is gone for a moment": (cluster(row(2, "w0", "w9"), W2, absent={"w9": NOW - 29}), []),
    "the pod may be gone": (cluster(row(2, "w0", "w9"), W2), []),
}  # fmt: skip

DRAIN = {
    "one at a time, the cheapest first": (
        cluster(row(6, "w0", "w1", "w2"), LEAVING, loads={"p00": Load(bytes=9), "p03": Load(bytes=1)}),
        ["Move p03 w0>w1"],
    ),
    "as many as the policy says": (
        cluster(row(6, "w0", "w1", "w2"), LEAVING, {"maxConcurrentMoves": 5}),
        ["Move p00 w0>w1", "Move p03 w0>w2"],
    ),
    "one copies already": (
        cluster(row(6, "w0", "w1", "w2"), LEAVING, assignments=[moving("p00", "w0", "w1")]),
        [],
    ),
    "one that only proxies does not count": (
        cluster(row(6, "w0", "w1", "w2"), LEAVING, assignments=[moving("p00", "w0", "w1", step="proxying")]),
        ["Move p03 w0>w2"],
    ),
    "a cool-down does not hold up a worker that leaves": (
        cluster(row(3, "w0", "w1", "w2"), LEAVING, assignments=[moving("p00", "w1", "w0", "Completed", ago=1)]),
        ["Move p00 w0>w1"],
    ),
    "nowhere to go": (cluster(row(3, "w0"), LEAVING[:1]), []),
}


def loaded(cut: dict[str, Any], count: int = 1, age: float = 1e5, **policy: Any) -> Cluster:
    parts = row(count, "w0", age=age)
    return cluster(parts, workers("w0"), STILL | policy, loads={"p00": Load(**cut)})


SAMPLE = [(bytes([letter]) * 4, 10_000.0) for letter in b"abcdefgh"]

SPLIT = {
    "too many rows: at the median": (loaded({"rows": 11, "median_key": b"mmmm"}, maxRows=10, mergeBelowRows=0),
        ["Split p00 at mmmm"]),
    "too many bytes": (loaded({"bytes": 2 << 30, "median_key": b"mmmm"}), ["Split p00 at mmmm"]),
    "as many as allowed": (loaded({"rows": 10, "median_key": b"mmmm"}, maxRows=10, mergeBelowRows=0), []),
    "no median known": (loaded({"bytes": 2 << 30}), []),
    "a median on the bound": (loaded({"bytes": 2 << 30, "median_key": b"\0\0\0\0"}), []),
    "too busy: where the load halves": (
        loaded({"operations_per_second": 51_000.0, "sample": [*SAMPLE[:2], (b"hhhh", 25_000.0)]}),
        ["Split p00 at hhhh"],
    ),
    "much too busy: in several pieces": (
        loaded({"operations_per_second": 80_000.0, "sample": SAMPLE}, maxOpsPerSecond=40_000),
        ["Split p00 at dddd,ffff"],
    ),
    "too busy, without a sample: at the median": (
        loaded({"operations_per_second": 51_000.0, "median_key": b"mmmm"}), ["Split p00 at mmmm"],
    ),
    "one key carries the load": (
        loaded({"operations_per_second": 90_000.0, "sample": [(b"hhhh", 89_000.0), (b"iiii", 1_000.0)]}), [],
    ),
    "busy but new: averages are still finding their level": (
        loaded({"operations_per_second": 51_000.0, "median_key": b"mmmm"}, age=299), [],
    ),
    "big and new": (loaded({"bytes": 2 << 30, "median_key": b"mmmm"}, age=1), ["Split p00 at mmmm"]),
    "no more at one time than the policy says": (
        cluster(
            row(3, "w0"), workers("w0"), STILL | {"maxConcurrentReshapes": 2},
            loads={f"p0{i}": Load(bytes=(2 + i) << 30, median_key=f"0{i}mm".encode()) for i in range(3)},
        ),
        ["Split p02 at 02mm", "Split p01 at 01mm"],
    ),
    "not while its worker leaves": (
        cluster(row(1, "w0"), [Worker("w0", leaving=True)],
            loads={"p00": Load(bytes=2 << 30, median_key=b"mmmm")}),
        [],
    ),
}  # fmt: skip


def cold(count: int, *owners: str, age: float = 1e5, initial: int = 0, rows: int = 10, **policy: Any) -> Cluster:
    parts = row(count, *owners, age=age)
    names = workers(*sorted(set(owners)))
    loads = {part.metadata.name: Load(rows=rows) for part in parts}
    return cluster(parts, names, STILL | policy, initial=initial, loads=loads)


MERGE = {
    "neighbours of one worker, all at once": (cold(4, "w0"), ["Merge p00,p01,p02,p03"]),
    "neighbours of different workers": (cold(4, "w0", "w1"), []),
    "not below what it was cut into": (cold(4, "w0", initial=3), ["Merge p00,p01"]),
    "not below one a worker": (cold(4, "w0", "w0", "w1", "w1"), ["Merge p00,p01", "Merge p02,p03"]),
    "too young": (cold(4, "w0", age=299), []),
    "too many rows each": (cold(4, "w0", rows=100_000), []),
    "too many rows together": (
        cold(4, "w0", rows=9, maxRows=40, mergeBelowRows=10), ["Merge p00,p01", "Merge p02,p03"],
    ),
    "never": (cold(4, "w0", rows=0, mergeBelowRows=0), []),
    "load unknown": (replace(cold(4, "w0"), loads={}), []),
    "one of them is busy": (
        replace(cold(4, "w0"), loads=cold(4, "w0").loads | {"p01": Load(rows=1, operations_per_second=11.0)}),
        ["Merge p02,p03"],
    ),
    "one of them moves": (replace(cold(4, "w0"), assignments=[moving("p02", "w0", "w1")]), ["Merge p00,p01"]),
    "one of them has moved": (
        replace(cold(4, "w0"), assignments=[moving("p02", "w1", "w0", "Completed", ago=299)]), ["Merge p00,p01"],
    ),
    "not over a gap": (
        cluster(
            [partition("a", "a", "b", "w0"), partition("c", "c", "d", "w0")], workers("w0"), STILL,
            loads={"a": Load(), "c": Load()},
        ),
        [],
    ),
}  # fmt: skip

BALANCE = {
    "even": (cluster(row(9, "w0", "w1", "w2"), W3), []),
    "as even as can be": (cluster(row(4, "w0", "w1", "w2"), W3), []),
    "from most to least": (cluster(row(4, "w0", "w0", "w1", "w0"), W2), ["Move p00 w0>w1"]),
    "the cheapest to copy": (
        cluster(
            row(4, "w0", "w0", "w1", "w0"),
            W2,
            loads={"p00": Load(rows=10**6, bytes=7), "p01": Load(rows=10**6, bytes=7)},
        ),
        ["Move p03 w0>w1"],
    ),
    "within tolerance": (cluster(row(40, *["w0"] * 21, *["w1"] * 19), W2), []),
    "no tolerance": (
        cluster(row(40, *["w0"] * 21, *["w1"] * 19), W2, {"balanceTolerancePercent": 0}),
        ["Move p00 w0>w1"],
    ),
    "a new worker": (cluster(row(6, "w0", "w1"), W3), ["Move p01 w1>w2"]),
    "what is on its way counts where it goes": (
        cluster(row(6, "w0", "w1"), W3, {"maxConcurrentMoves": 9}, assignments=[moving("p00", "w0", "w2")]),
        ["Move p01 w1>w2"],
    ),
    "what has moved stays": (
        cluster(row(4, "w0", "w0", "w1", "w0"), W2, assignments=[moving("p00", "w1", "w0", "Completed", ago=299)]),
        ["Move p01 w0>w1"],
    ),
    "what has moved long ago": (
        cluster(row(4, "w0", "w0", "w1", "w0"), W2, assignments=[moving("p00", "w1", "w0", "Completed", ago=300)]),
        ["Move p00 w0>w1"],
    ),
    "not to one who is not ready": (cluster(row(4, "w0"), [*workers("w0"), Worker("w1", ready=False)]), []),
    "what failed just now waits": (
        cluster(row(2, "w0"), W2, assignments=[moving("p00", "w0", "w1", "Aborted", ago=4)]),
        ["Move p01 w0>w1"],
    ),
    "what failed a while ago is tried again": (
        cluster(row(2, "w0"), W2, assignments=[moving("p00", "w0", "w1", "Aborted", ago=5)]),
        ["Move p00 w0>w1"],
    ),
    "what failed twice waits longer": (
        cluster(row(2, "w0"), W2, assignments=[moving("p00", "w0", "w1", "Aborted", ago=ago) for ago in (9, 20)]),
        ["Move p01 w0>w1"],
    ),
}

CASES = {
    f"{about}: {case}": given
    for about, cases in (("place", PLACE), ("drain", DRAIN), ("split", SPLIT), ("merge", MERGE), ("balance", BALANCE))
    for case, given in cases.items()
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_planned(given: Cluster, expected: list[str]) -> None:
    assert planned(given) == expected


def test_most_urgent_first_and_each_partition_once() -> None:
    parts = [*row(4, "w0"), partition("q", "x", "y", keyspace="other"), partition("z", "z", "", None, keyspace="other")]
    loads = {"p00": Load(bytes=2 << 30, median_key=b"00mm"), "p01": Load(), "p02": Load(), "p03": Load()}
    given = Cluster(
        keyspaces=[keyspace(), keyspace("other")], partitions=parts, workers=W2, loads=loads, assignments=[]
    )
    # The other keyspace begins with who has nothing of this one.
    assert planned(given) == ["Split p00 at 00mm", "Merge p01,p02,p03", "New z on w0", "New q on w1"]


def test_ten_thousand_are_placed_by_ten_assignments() -> None:
    parts = [partition(f"p{index:05d}", f"0x{index:04x}", f"0x{index + 1:04x}") for index in range(10_000)]
    result = plan(cluster(parts, W2), NOW).assignments
    assert [len(one.spec.partitions) for one in result] == [1000] * 10
    assert len({one.metadata.name for one in result}) == 10


def test_off_plans_nothing_and_propose_waits_for_approval() -> None:
    assert planned(cluster(row(4), W2, {"mode": "Off"})) == []
    proposed = plan(cluster(row(4), W2, {"mode": "Propose"}), NOW).assignments
    assert said(proposed) == planned(cluster(row(4), W2))
    assert all(one.metadata.labels[PROPOSED_LABEL] == "true" for one in proposed)


def test_every_assignment_says_why_and_when_it_may_be_forgotten() -> None:
    (move,) = plan(cluster(row(4, "w0", "w0", "w1", "w0"), W2), NOW).assignments
    assert move.spec.reason == "w0 holds 3, w1 1; 2 to 2 is even"
    assert move.spec.ttl_seconds_after_finished == 3600
    assert move.metadata.namespace == "ns"
    assert move.metadata.labels["dstk.io/keyspace"] == "ks"


def test_the_same_state_gives_the_same_names_and_a_failed_try_another() -> None:
    def name(**more: Any) -> str:
        (move,) = plan(cluster(row(4, "w0", "w0", "w1", "w0"), W2, **more), NOW).assignments
        return move.metadata.name

    assert name() == name(loads={"p00": Load(rows=3)})
    assert name() != name(assignments=[moving("p00", "w0", "w1", "Aborted", ago=60)])


def test_a_partition_created_again_is_placed_again() -> None:
    again = decode(
        type(partition("p")), {"metadata": {"name": "p", "uid": "other"}, "spec": {"keyspace": "ks", "range": {}}}
    )
    first, second = (plan(cluster([one], W2), NOW).assignments[0] for one in (partition("p", epoch=0), again))
    assert said([first]) == said([second])
    assert first.metadata.name != second.metadata.name


def uncut(initial: int, partitions: list[Any], **policy: Any) -> Cluster:
    return Cluster(keyspaces=[keyspace(cut=False, initial=initial, **policy)], partitions=partitions, workers=W2)


def ranges(given: Cluster) -> list[str]:
    return [f"{one.metadata.name} {one.spec.range.start}..{one.spec.range.end}" for one in plan(given, NOW).partitions]


ALL = ["ks-00000 ..0x40", "ks-00001 0x40..0x80", "ks-00002 0x80..0xc0", "ks-00003 0xc0.."]


def test_a_new_keyspace_is_cut_evenly() -> None:
    assert ranges(uncut(4, [])) == ALL
    assert ranges(uncut(1, [])) == ["ks-00000 .."]


def bounded(*bounds: str, parts: list[Any] | None = None) -> Cluster:
    spec = {"keyLength": 4, "partitions": {"bounds": bounds}}
    return replace(uncut(0, parts or []), keyspaces=[decode(Keyspace, {"metadata": {"name": "ks"}, "spec": spec})])


def test_a_new_keyspace_is_cut_at_its_bounds() -> None:
    assert ranges(bounded("cart", "0x7f", "0x80ff")) == [
        "ks-00000 ..cart",
        "ks-00001 cart..0x7f",
        "ks-00002 0x7f..0x80ff",
        "ks-00003 0x80ff..",
    ]
    there = partition("ks-00001", "0x63617274", "0x7f")
    assert ranges(bounded("cart", "0x7f", parts=[there])) == ["ks-00000 ..cart", "ks-00002 0x7f.."]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (["b", "a"], "bound a is below b before it: sort the bounds"),
        (["b", "0x61"], "bound a is below b before it: sort the bounds"),
        (["a", "0x6100"], "bound a is there twice"),
        (["0x00", "a"], "bound 0x00 is the lowest key there is"),
        (["ü", "üüü"], "is 6 bytes; at most 4 fit"),
    ],
)
def test_bounds_that_cut_nothing_are_refused_by_value_and_hold_nobody_else_up(bounds: list[str], message: str) -> None:
    other = keyspace("other", cut=False, initial=1)
    given = bounded(*bounds)
    result = plan(replace(given, keyspaces=[*given.keyspaces, other]), NOW)
    assert message in result.refused["ks"]
    assert (result.cut, [each.metadata.name for each in result.partitions]) == ((), ["other-00000"])


def test_merges_leave_as_many_partitions_as_there_were_bounds() -> None:
    assert decode(Keyspace, {"spec": {"keyLength": 4, "partitions": {"bounds": ["a", "b"]}}}).spec.partitions.count == 3
    assert decode(Keyspace, {"spec": {"keyLength": 4}}).spec.partitions.count == 16
    assert decode(Keyspace, {"spec": {"keyLength": 4, "partitions": {"initial": 0}}}).spec.partitions.count == 0


def test_an_interrupted_cut_goes_on_around_what_is_there() -> None:
    there = [partition("ks-00001", "0x40", "0x80"), partition("mine", "0xd0", "0xe0")]
    assert ranges(uncut(4, there)) == [ALL[0], ALL[2]]


def test_a_keyspace_is_cut_once_and_nothing_else_is_planned_before() -> None:
    whole = [partition(f"ks-0000{i}", start, end) for i, (start, end) in enumerate([("", "0x80"), ("0x80", "")])]
    assert plan(uncut(2, whole[:1]), NOW).cut == ()
    done = plan(uncut(2, whole), NOW)
    assert (done.partitions, done.cut, done.assignments) == ((), ("ks",), ())


@pytest.mark.parametrize(
    ("given", "cut"),
    [
        (uncut(4, [partition("mine", "a", "b")]), ("ks",)),
        (uncut(0, []), ("ks",)),
        (uncut(4, [], mode="Off"), ()),
    ],
    ids=["Partitions that somebody else cut", "none wanted", "Off"],
)
def test_not_cut(given: Cluster, cut: tuple[str, ...]) -> None:
    result = plan(given, NOW)
    assert (result.partitions, result.cut) == ((), cut)


def test_a_keyspace_with_rows_on_disk_waits_for_its_pod() -> None:
    disk = decode(
        Keyspace,
        {
            "metadata": {"name": "ks"},
            "spec": {"keyLength": 4, "durability": "Disk", "partitions": {"initial": 0}},
            "status": {
                "conditions": [
                    {"type": "Cut", "status": "True", "reason": "Done", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                ]
            },
        },
    )
    given = Cluster(keyspaces=[disk], partitions=row(2, "w0", "w9"), workers=W2, absent={"w9": 0.0})
    assert planned(given) == []


def test_where_somebody_cut_by_hand_nothing_is_merged() -> None:
    parts = row(4, "w1")
    cut = [with_annotation(each, CUT_ANNOTATION) if each.metadata.name == "p02" else each for each in parts]
    loads = {part.metadata.name: Load(rows=1) for part in parts}
    seen = cluster(parts, workers("w1"), loads=loads)
    assert planned(seen) == ["Merge p00,p01,p02,p03"]
    assert planned(replace(seen, partitions=cut)) == ["Merge p00,p01", "Merge p02,p03"]


def test_what_somebody_moved_by_hand_is_not_moved_back_unless_its_worker_leaves() -> None:
    parts = row(4, "w1")
    placed = [with_annotation(each, PLACED_ANNOTATION) for each in parts]
    seen = cluster(parts, workers("w1", "w2"), {"maxConcurrentMoves": 4})
    assert len(planned(seen)) == 2
    assert planned(replace(seen, partitions=placed)) == []
    leaving = [*workers("w1", leaving=True), *workers("w2")]
    assert len(planned(replace(seen, partitions=placed, workers=leaving))) == 4


def with_annotation(partition: Partition, annotation: str) -> Partition:
    metadata = msgspec.structs.replace(partition.metadata, annotations={annotation: "a1"})
    return msgspec.structs.replace(partition, metadata=metadata)


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0])
def test_a_clock_that_is_set_holds_up_no_drain(set_by: float) -> None:
    """The last operation on the partition was aborted, a minute ago, before the clock was set."""
    clock = HandClock(7.0, NOW)
    moments = Moments(clock)
    aborted = moving("p", "w0", "w1", "Aborted", ago=0.0)
    uid, ended = aborted.metadata.uid, aborted.status.finished_at
    for seconds, expected in ((0.0, []), (60.0, ["Move p w0>w1"])):
        clock.steady += seconds
        seen = {uid: moments.of(uid, ended)}
        parts, names = [partition("p", primary="w0")], [Worker("w0", leaving=True), *workers("w1")]
        assert planned(cluster(parts, names, assignments=[aborted], moments=seen), moments.now()) == expected
        clock.wall += set_by


GB = 1 << 30


def worker(name: str, room: int | None, **more: Any) -> Worker:
    return Worker(name, room=room, **more)


def refused(name: str, to: str, reason: str, ago: float) -> Any:
    return replace_status(moving(name, "w0", to, "Aborted", ago=ago), reason=reason)


def replace_status(item: Any, **fields: Any) -> Any:
    return with_(item, status=with_(item.status, **fields))


def leaving(*others: Worker, size: int = GB, **more: Any) -> Cluster:
    """w0, which leaves with one partition."""
    return cluster(row(1, "w0"), [Worker("w0", leaving=True), *others], loads={"p00": Load(size=size)}, **more)


ROOM = {
    "to the one that has room, though it holds no less": (
        leaving(worker("w1", GB // 2), worker("w2", 2 * GB)), ["Move p00 w0>w2"],
    ),
    "just its size is not enough: it may grow while it is copied": (leaving(worker("w1", GB)), []),
    "no bound is room for all": (leaving(worker("w1", None)), ["Move p00 w0>w1"]),
    "nobody knows its size": (leaving(worker("w1", 5), size=0), ["Move p00 w0>w1"]),
    "a smaller one goes where the biggest does not fit": (
        cluster(
            row(2, "w0"), [Worker("w0", leaving=True), worker("w1", GB)], {"maxConcurrentMoves": 5},
            loads={"p00": Load(size=5 * GB, bytes=5 * GB), "p01": Load(size=1000, bytes=1000)},
        ),
        ["Move p01 w0>w1"],
    ),
    "what one move takes is not there for another": (
        cluster(
            row(2, "w0"), [Worker("w0", leaving=True), worker("w1", GB * 3 // 2)], {"maxConcurrentMoves": 5},
            loads={"p00": Load(size=GB), "p01": Load(size=GB)},
        ),
        ["Move p00 w0>w1"],
    ),
    "nor what is on its way": (
        cluster(
            row(2, "w0"), [Worker("w0", leaving=True), worker("w1", GB * 3 // 2)], {"maxConcurrentMoves": 5},
            loads={"p00": Load(size=GB), "p01": Load(size=GB)}, assignments=[moving("p00", "w0", "w1")],
        ),
        [],
    ),
    "what is on its way and promised is counted by the worker": (
        cluster(
            row(2, "w0"), [Worker("w0", leaving=True), worker("w1", GB * 3 // 2, copies=frozenset({"p00"}))],
            {"maxConcurrentMoves": 5},
            loads={"p00": Load(size=GB), "p01": Load(size=GB)}, assignments=[moving("p00", "w0", "w1")],
        ),
        ["Move p01 w0>w1"],
    ),
    "who has just refused is not asked again": (
        leaving(worker("w1", None), worker("w2", None), assignments=[refused("p00", "w1", "NoRoom", 1)]),
        ["Move p00 w0>w2"],
    ),
    "after a while it is": (
        leaving(worker("w1", None), assignments=[refused("p00", "w1", "NoRoom", 61)]), ["Move p00 w0>w1"],
    ),
    "what is smaller may fit": (
        cluster(
            row(2, "w0"), [Worker("w0", leaving=True), worker("w1", None)], {"maxConcurrentMoves": 5},
            loads={"p00": Load(size=GB), "p01": Load(size=GB // 2)},
            assignments=[refused("p00", "w1", "NoRoom", 1)],
        ),
        ["Move p01 w0>w1"],
    ),
    "who did not answer is given nothing for a moment": (
        leaving(worker("w1", None), worker("w2", None), assignments=[refused("p09", "w1", "DestinationSilent", 1)]),
        ["Move p00 w0>w2"],
    ),
    "an abort for another reason has the partition wait": (
        leaving(worker("w1", None), assignments=[refused("p00", "w1", "FollowFailed", 1)]), [],
    ),
    "balance gives to who has room": (
        cluster(
            row(6, "w0"), [Worker("w0"), worker("w1", 5), worker("w2", None)], {"mergeBelowRows": 0},
            loads={f"p0{i}": Load(size=1000) for i in range(6)},
        ),
        ["Move p00 w0>w2"],
    ),
    "balance leaves alone what fits nowhere": (
        cluster(
            row(6, "w0"), [Worker("w0"), worker("w1", 5)], {"mergeBelowRows": 0},
            loads={f"p0{i}": Load(size=1000) for i in range(6)},
        ),
        [],
    ),
    "balance does not stir up those that are even because of one that is full": (
        cluster(
            row(5, "w0", "w1", "w0", "w1", "w0"), [Worker("w0"), Worker("w1"), worker("w2", 0)],
            loads={f"p0{i}": Load(size=1000) for i in range(5)},
        ),
        [],
    ),
    "what has no rows goes to who is not full": (
        cluster(row(2), [worker("w0", 0), worker("w1", 100)], STILL), ["New p00,p01 on w1"],
    ),
    "if all are full, somebody has to serve": (
        cluster(row(2), [worker("w0", 0), worker("w1", 0)], STILL), ["New p00 on w0", "New p01 on w1"],
    ),
}  # fmt: skip

SILENT = {
    "nothing is had of one that does not answer": (
        cluster(row(2, "w0"), [Worker("w0", leaving=True, ready=False), *workers("w1")]), [],
    ),
    "nor evened out": (cluster(row(6, "w0"), [Worker("w0", ready=False), *workers("w1")]), []),
    "nor split": (
        cluster(
            row(1, "w0"), [Worker("w0", ready=False)], STILL, loads={"p00": Load(bytes=2 << 30, median_key=b"mmmm")}
        ),
        [],
    ),
    "what waits for one holds up nobody else": (
        cluster(row(6, "w0", "w1", "w2"), LEAVING, assignments=[moving("p00", "w0", "w1", "Stalled")]),
        ["Move p03 w0>w2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), [*ROOM.values(), *SILENT.values()], ids=[*ROOM, *SILENT])
def test_plans_go_by_room_and_by_who_answers(seen: Cluster, expected: list[str]) -> None:
    assert planned(seen) == expected


def test_a_worker_that_cannot_be_emptied_for_want_of_room_says_so() -> None:
    made = plan(leaving(worker("w1", 7), worker("w2", None), assignments=[refused("p00", "w2", "NoRoom", 1)]), NOW)
    assert made.stuck == {
        "w0": f"p00 fits nowhere: no worker has room for {GB + GB // 10} bytes: w1 has room for 7, "
        "w2 has refused one as big"
    }
    assert plan(leaving(worker("w1", None)), NOW).stuck == {}

"""InWorkerMerge, row by row: what is seen, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace as with_
from scenes import KEYSPACE, NOW, TERM, assignment, gone, lines, observed, partition, silent, since, statuses, worker

from dstk.api import AssignmentPhase, Partition, Step, child_name
from dstk.api.validation import Refusal
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import actions, decide, touched
from dstk.lifecycle.observed import Limits, Observed
from dstk.span import Span
from simulation.specs import merge

LOADING, FOLLOWING, PROXYING = Step.LOADING, Step.FOLLOWING, Step.PROXYING

# The seed's example: [a,e) and [j,o) become [a,o); nobody owns what is between.
LOW, HIGH = partition("low", "a", "e", "pod1", 7), partition("high", "j", "o", "pod1", 7)
WHOLE = partition("whole", "a", "o", "pod1", 8)
LOW_PROXY = partition("low", "a", "e", None, 7, proxy="pod1")
HIGH_PROXY = partition("high", "j", "o", None, 7, proxy="pod1")
SEVEN = PartitionView("primary", 7)
SERVES = worker("pod1", low=SEVEN, high=SEVEN)
JOINED = worker("pod1", whole=PartitionView("primary", 8, rows=8, bytes=80, last_pause_seconds=0.0002))
HAS_JOINED = worker("pod1", whole=PartitionView("primary", 8, span=Span(b"a\0\0\0", b"o\0\0\0")))
EMPTY = worker("pod1")
LATE = Limits(deadline_seconds=5)


def at(
    step: Step | None,
    host: WorkerView,
    objects: Sequence[Partition] = (LOW, HIGH),
    phase: AssignmentPhase | None = None,
    **also: object,
) -> Observed:
    return observed(assignment(merge("high", "low", name="whole"), step, phase), objects, [host], **also)


PARTS_PROXY = [
    "commit low: primary nobody, proxy pod1, epoch 7",
    "low is proxying",
    "commit high: primary nobody, proxy pod1, epoch 7",
    "high is proxying",
]
FORWARD = ["create whole [a,o) on pod1, epoch 8", *PARTS_PROXY, "status Running proxying"]

MATRIX = {
    # not begun
    "begins": (at(None, SERVES), ["status Running loading"]),
    "refused": (at(None, SERVES, refusal=Refusal("GapOwned", "…")), ["status Aborted - GapOwned"]),
    "refused for good, behind others": (
        at(None, SERVES, refusal=Refusal("InvalidSpec", "…"), ahead=("a0",)),
        ["status Aborted - InvalidSpec"],
    ),
    "refused for now, behind others": (
        at(None, SERVES, refusal=Refusal("NotAssigned", "…"), ahead=("a0",)),
        ["status Pending - Waiting", "wait for Waiting"],
    ),
    "waits for older": (at(None, SERVES, ahead=("a0",)), ["status Pending - Waiting", "wait for Waiting"]),
    "deleted before it began": (at(None, SERVES, cancelled=True), ["status Aborted - Cancelled"]),
    # up to the flip
    "loads": (at(LOADING, SERVES), ["status Running following"]),
    "flips": (at(FOLLOWING, SERVES), ["pod1: merge low epoch 7, high epoch 7 into whole epoch 8"]),
    "of different epochs": (
        at(
            LOADING,
            worker("pod1", low=SEVEN, high=PartitionView("primary", 4)),
            [LOW, partition("high", "j", "o", "pod1", 4)],
        ),
        ["commit high: primary pod1, epoch 7"],
    ),
    "epoch not confirmed": (
        at(FOLLOWING, worker("pod1", low=SEVEN, high=PartitionView("primary", 4))),
        ["pod1: serve high epoch 7"],
    ),
    "fenced from before": (
        at(FOLLOWING, worker("pod1", low=PartitionView("primary", 7, fenced=True), high=SEVEN)),
        ["pod1: fence low epoch 7 token 1", "touch low", "pod1: unfence low epoch 7 token 1"],
    ),
    "worker silent": (at(FOLLOWING, silent("pod1")), ["status Running following", "wait for the worker"]),
    "worker silent for long": (
        at(FOLLOWING, silent("pod1"), memory=since(pod1=31)),
        ["status Stalled following WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "worker is gone": (at(FOLLOWING, gone("pod1")), ["status Aborted following WorkerLost"]),
    "worker restarted": (at(FOLLOWING, EMPTY), ["status Aborted following WorkerLost"]),
    "a part is not held": (at(FOLLOWING, worker("pod1", low=SEVEN)), ["status Aborted following WorkerLost"]),
    "a part has no object": (at(FOLLOWING, SERVES, [LOW]), ["status Aborted following PartitionChanged"]),
    "a part went to another pod": (
        at(FOLLOWING, SERVES, [LOW, partition("high", "j", "o", "pod2", 5)]),
        ["status Aborted following PartitionChanged"],
    ),
    "cancelled": (at(FOLLOWING, SERVES, cancelled=True), ["status Aborted following Cancelled"]),
    "cancelled, an older operator may still join": (
        at(FOLLOWING, worker("pod1", term=TERM - 1, low=SEVEN, high=SEVEN), cancelled=True),
        ["pod1: unfence low epoch 7 token 0", "pod1: unfence high epoch 7 token 0"],
    ),
    "late": (at(FOLLOWING, SERVES, limits=LATE), ["status Aborted following DeadlineExceeded"]),
    "name taken": (
        at(FOLLOWING, SERVES, [LOW, HIGH, partition("whole", "x", "z", "pod1", 1)]),
        ["status Aborted following NameTaken"],
    ),
    # after the flip: only forward
    "flipped": (at(FOLLOWING, JOINED), FORWARD),
    "flipped, status not yet written": (at(LOADING, JOINED), FORWARD),
    "flipped, cancelled": (at(FOLLOWING, JOINED, cancelled=True), FORWARD),
    "flipped, late": (at(FOLLOWING, JOINED, limits=LATE), FORWARD),
    "created": (at(FOLLOWING, JOINED, [LOW, HIGH, WHOLE]), [*PARTS_PROXY, "status Running proxying"]),
    "created, of which nothing was said yet": (
        at(FOLLOWING, JOINED, [LOW, HIGH, partition("whole", "a", "o", "pod1", 8, phase=None)]),
        ["whole is ready", *PARTS_PROXY, "status Running proxying"],
    ),
    "an earlier one of its name is still seen": (
        at(FOLLOWING, JOINED, [LOW, HIGH, partition("whole", "a", "o", "pod1", 6)]),
        ["delete whole", *FORWARD],
    ),
    "created, worker is gone": (
        at(FOLLOWING, gone("pod1"), [LOW, HIGH, WHOLE]),
        [*PARTS_PROXY, "status Running proxying"],
    ),
    "one part proxies": (
        at(FOLLOWING, JOINED, [LOW_PROXY, HIGH, WHOLE]),
        [*PARTS_PROXY[2:], "status Running proxying"],
    ),
    "patch unknown": (
        at(FOLLOWING, JOINED, [LOW, HIGH, WHOLE], uncertain=True),
        ["status Running following", "wait for the outcome of a patch"],
    ),
    "flipped, name taken meanwhile": (
        at(FOLLOWING, JOINED, [LOW, HIGH, partition("whole", "x", "z", "pod3", 1)]),
        ["status Stalled following NameTaken", "wait for NameTaken"],
    ),
    "flipped, a part is gone since": (
        at(FOLLOWING, HAS_JOINED, [HIGH]),
        ["create whole [a,o) on pod1, epoch 8", *PARTS_PROXY[2:], "status Running proxying"],
    ),
    "flipped, the parts are gone since": (
        at(FOLLOWING, HAS_JOINED, []),
        ["create whole [a,o) on pod1, epoch 8", "status Running proxying"],
    ),
    "flipped, created, the parts are gone since": (at(FOLLOWING, JOINED, [WHOLE]), ["status Running proxying"]),
    # proxying
    "parts proxy": (
        at(PROXYING, JOINED, [LOW_PROXY, HIGH_PROXY, WHOLE]),
        ["delete low", "delete high", "status Completed completed"],
    ),
    "one part has come anew": (
        at(PROXYING, JOINED, [partition("low", "a", "e", "pod1", 9), HIGH_PROXY, WHOLE]),
        ["delete high", "status Completed completed"],
    ),
    "one part is seen as it was": (
        at(PROXYING, JOINED, [LOW, HIGH_PROXY, WHOLE]),
        ["delete low", "delete high", "status Completed completed"],
    ),
    "one part deleted": (
        at(PROXYING, JOINED, [HIGH_PROXY, WHOLE]),
        ["delete high", "status Completed completed"],
    ),
    "parts deleted": (at(PROXYING, JOINED, [WHOLE]), ["status Completed completed"]),
    "parts deleted, worker is gone": (at(PROXYING, gone("pod1"), [WHOLE]), ["status Completed completed"]),
}


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_seen_decides(case: str) -> None:
    seen, expected = MATRIX[case]
    assert lines(decide(seen, NOW)) == expected


@pytest.mark.parametrize(
    ("seen", "status", "merged", "part"),
    [
        (at(None, SERVES), "loading", "loading", "primary"),
        (at(LOADING, SERVES), "following", "following", "primary"),
        (at(FOLLOWING, JOINED), "proxying", "primary", "proxy"),
        (at(PROXYING, JOINED, [LOW_PROXY, HIGH_PROXY, WHOLE]), "completed", "primary", "disconnected"),
    ],
    ids=["loading", "following", "proxying", "completed"],
)
def test_status_has_the_seeds_fields(seen: Observed, status: str, merged: str, part: str) -> None:
    assert statuses(decide(seen, NOW))["merge"] == {
        "status": status,
        "mergedPart": merged,
        "subParts": {"low": part, "high": part},
    }


def test_name_follows_from_parts_range_and_epoch() -> None:
    name = child_name("default", ["low", "high"], b"a\0\0\0", b"o\0\0\0", 8)
    subject = assignment(merge("high", "low"), FOLLOWING)
    assert touched(subject, {"low": LOW, "high": HIGH}, KEYSPACE).partitions == tuple(sorted(["low", "high", name]))
    said = lines(decide(observed(subject, [LOW, HIGH], [SERVES]), NOW))
    assert said == [f"pod1: merge low epoch 7, high epoch 7 into {name} epoch 8"]


@pytest.mark.parametrize("left", [[LOW, HIGH], [HIGH], [LOW_PROXY], []], ids=["both", "one", "a proxy", "none"])
@pytest.mark.parametrize("created", [True, False], ids=["with its object", "without an object"])
def test_of_a_merge_that_has_flipped_nothing_that_is_cleared_up_makes_an_aborted_one(
    left: list[Partition], created: bool
) -> None:
    """Its name, which nobody gave, is a hash of the parts: it has to outlive them."""
    subject = assignment(merge("high", "low"), LOADING)
    for seen in (SERVES, SERVES):
        decided = decide(observed(subject, [LOW, HIGH], [seen]), NOW)
        said = [each.status for each in decided if isinstance(each, actions.SetStatus)]
        subject = with_(subject, status=said[-1]) if said else subject
    (tell,) = (each for each in decided if isinstance(each, actions.Tell))
    joined = worker("pod1", **{tell.partition: PartitionView("primary", 8, span=Span(b"a\0\0\0", b"o\0\0\0"))})
    whole = [partition(tell.partition, "a", "o", "pod1", 8)] if created else []
    decided = decide(observed(subject, [*left, *whole], [joined]), NOW)
    assert lines(decided)[-1] == "status Running proxying"
    assert [each.partition for each in decided if isinstance(each, actions.CreatePartition)] == (
        [] if created else [tell.partition]
    )


def test_ends_when_the_parts_are_gone_and_nobody_knows_the_name_any_more() -> None:
    subject = assignment(merge("high", "low"), PROXYING)
    assert lines(decide(observed(subject, [], []), NOW)) == ["status Completed completed"]

"""InWorkerSplit, row by row: what is seen, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scenes import KEYSPACE, NOW, TERM, assignment, gone, lines, observed, partition, silent, since, statuses, worker

from dstk.api import AssignmentPhase, Partition, Step, child_name
from dstk.api.validation import Refusal
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import decide, touched
from dstk.lifecycle.observed import Limits, Observed
from dstk.span import Span
from simulation.specs import split

LOADING, FOLLOWING = Step.LOADING, Step.FOLLOWING

PARENT = partition("p", "a", "o", "pod1", 7)
LOW, HIGH = partition("low", "a", "e", "pod1", 8), partition("high", "e", "o", "pod1", 8)
SERVES = worker("pod1", p=PartitionView("primary", 7, rows=9))
BEHIND = worker("pod1", p=PartitionView("primary", 6))
FENCED = worker("pod1", p=PartitionView("primary", 7, fenced=True))
UNSEALED = worker("pod1", term=TERM - 1, p=PartitionView("primary", 7))
PIECE = PartitionView("primary", 8, rows=4, bytes=40, last_pause_seconds=0.0004)
CUT = worker("pod1", low=PIECE, high=PIECE)
HAS_CUT = worker(
    "pod1",
    low=PartitionView("primary", 8, span=Span(b"a\0\0\0", b"e\0\0\0")),
    high=PartitionView("primary", 8, span=Span(b"e\0\0\0", b"o\0\0\0")),
)
EMPTY = worker("pod1")
LATE = Limits(deadline_seconds=5)


def at(
    step: Step | None,
    host: WorkerView,
    objects: Sequence[Partition] = (PARENT,),
    phase: AssignmentPhase | None = None,
    **also: object,
) -> Observed:
    return observed(assignment(split("p", "e", names=("low", "high")), step, phase), objects, [host], **also)


CREATE = ["create low [a,e) on pod1, epoch 8", "create high [e,o) on pod1, epoch 8"]

MATRIX = {
    # not begun
    "begins": (at(None, SERVES), ["status Running loading"]),
    "refused": (at(None, SERVES, refusal=Refusal("SplitKeyOutside", "…")), ["status Aborted - SplitKeyOutside"]),
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
    "flips": (at(FOLLOWING, SERVES), ["pod1: split p epoch 7 at e into low, high epoch 8"]),
    "epoch not confirmed": (at(FOLLOWING, BEHIND), ["pod1: serve p epoch 7"]),
    "fenced from before": (
        at(FOLLOWING, FENCED),
        ["pod1: fence p epoch 7 token 1", "touch p", "pod1: unfence p epoch 7 token 1"],
    ),
    "worker silent": (at(FOLLOWING, silent("pod1")), ["status Running following", "wait for the worker"]),
    "worker silent for long": (
        at(FOLLOWING, silent("pod1"), memory=since(pod1=31)),
        ["status Stalled following WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "worker is gone": (at(FOLLOWING, gone("pod1")), ["status Aborted following WorkerLost"]),
    "worker restarted": (at(FOLLOWING, EMPTY), ["status Aborted following WorkerLost"]),
    "parent has no object": (at(FOLLOWING, SERVES, ()), ["status Aborted following PartitionChanged"]),
    "cancelled": (at(FOLLOWING, SERVES, cancelled=True), ["status Aborted following Cancelled"]),
    "cancelled, an older operator may still cut": (
        at(FOLLOWING, UNSEALED, cancelled=True),
        ["pod1: unfence p epoch 7 token 0"],
    ),
    "late": (at(FOLLOWING, SERVES, limits=LATE), ["status Aborted following DeadlineExceeded"]),
    "name taken": (
        at(FOLLOWING, SERVES, [PARENT, partition("low", "x", "z", "pod1", 1)]),
        ["status Aborted following NameTaken"],
    ),
    # after the flip: only forward
    "flipped": (at(FOLLOWING, CUT), [*CREATE, "delete p", "status Completed completed"]),
    "flipped, status not yet written": (at(LOADING, CUT), [*CREATE, "delete p", "status Completed completed"]),
    "flipped, cancelled": (
        at(FOLLOWING, CUT, cancelled=True),
        [*CREATE, "delete p", "status Completed completed"],
    ),
    "flipped, late": (at(FOLLOWING, CUT, limits=LATE), [*CREATE, "delete p", "status Completed completed"]),
    "one child created": (
        at(FOLLOWING, CUT, [PARENT, LOW]),
        ["create high [e,o) on pod1, epoch 8", "delete p", "status Completed completed"],
    ),
    "one child created, of which nothing was said yet": (
        at(FOLLOWING, CUT, [PARENT, partition("low", "a", "e", "pod1", 8, phase=None)]),
        ["low is ready", CREATE[1], "delete p", "status Completed completed"],
    ),
    "an earlier child of the name is still seen": (
        at(FOLLOWING, CUT, [PARENT, partition("low", "a", "e", "pod1", 6), HIGH]),
        ["delete low", CREATE[0], "delete p", "status Completed completed"],
    ),
    "the worker holds earlier children": (
        at(FOLLOWING, worker("pod1", p=PartitionView("primary", 7), low=PartitionView("primary", 6))),
        ["pod1: split p epoch 7 at e into low, high epoch 8"],
    ),
    "children created": (at(FOLLOWING, CUT, [PARENT, LOW, HIGH]), ["delete p", "status Completed completed"]),
    "parent deleted": (at(FOLLOWING, CUT, [LOW, HIGH]), ["status Completed completed"]),
    "one child created, worker is gone": (
        at(FOLLOWING, gone("pod1"), [PARENT, LOW]),
        ["create high [e,o) on pod1, epoch 8", "delete p", "status Completed completed"],
    ),
    "one child created, worker restarted": (
        at(FOLLOWING, EMPTY, [PARENT, LOW]),
        ["create high [e,o) on pod1, epoch 8", "delete p", "status Completed completed"],
    ),
    "flipped, the parent is gone since": (at(FOLLOWING, HAS_CUT, []), [*CREATE, "status Completed completed"]),
    "flipped, the parent and a child are gone since": (
        at(FOLLOWING, HAS_CUT, [LOW]),
        [CREATE[1], "status Completed completed"],
    ),
    "flipped, name taken meanwhile": (
        at(FOLLOWING, CUT, [PARENT, partition("low", "x", "z", "pod3", 1)]),
        ["status Stalled following NameTaken", "wait for NameTaken"],
    ),
}


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_seen_decides(case: str) -> None:
    seen, expected = MATRIX[case]
    assert lines(decide(seen, NOW)) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (
            at(None, SERVES),
            {"status": "loading", "fromPart": "primary", "splits": {"low": "loading", "high": "following"}},
        ),
        (
            at(LOADING, SERVES),
            {"status": "following", "fromPart": "primary", "splits": {"low": "following", "high": "following"}},
        ),
        (
            at(FOLLOWING, CUT),
            {"status": "completed", "fromPart": "disconnected", "splits": {"low": "primary", "high": "primary"}},
        ),
    ],
    ids=["loading", "following", "completed"],
)
def test_status_has_the_seeds_fields(seen: Observed, expected: object) -> None:
    assert statuses(decide(seen, NOW))["split"] == expected


def test_pause_of_writers_is_what_the_worker_measured() -> None:
    status = statuses(decide(at(FOLLOWING, CUT), NOW))
    assert status["progress"] == {"rowsCopied": 8, "bytesCopied": 80, "bytesTotal": 80, "writePauseMs": 0.4}


def test_names_follow_from_parent_range_and_epoch() -> None:
    subject = assignment(split("p", "j", "e"), FOLLOWING)
    names = [
        child_name("default", ["p"], start, end, 8)
        for start, end in [(b"a\0\0\0", b"e\0\0\0"), (b"e\0\0\0", b"j\0\0\0"), (b"j\0\0\0", b"o\0\0\0")]
    ]
    assert touched(subject, {"p": PARENT}, KEYSPACE).partitions == tuple(sorted(["p", *names]))
    said = lines(decide(observed(subject, [PARENT], [SERVES]), NOW))
    assert said == [f"pod1: split p epoch 7 at e, j into {', '.join(names)} epoch 8"]


def test_names_are_found_again_when_the_parent_is_gone() -> None:
    began = decide(observed(assignment(split("p", "e"), None), [PARENT], [SERVES]), NOW)
    subject = assignment(split("p", "e"), None)
    status = next(each.status for each in began if hasattr(each, "status"))
    subject = type(subject)(metadata=subject.metadata, spec=subject.spec, status=status)
    before = touched(subject, {"p": PARENT}, KEYSPACE).partitions
    assert touched(subject, {}, KEYSPACE).partitions == before

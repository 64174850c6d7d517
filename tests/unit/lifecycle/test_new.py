"""New, row by row: what is seen, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace as with_
from scenes import KEYSPACE, NOW, assignment, gone, lines, observed, partition, silent, since, statuses, worker

from dstk.api import AssignmentPhase, Durability, Partition, PartitionPhase, Step
from dstk.api.validation import Refusal
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import actions, decide
from dstk.lifecycle.observed import Limits, Observed
from simulation.specs import new

LOADING = Step.LOADING

FREE = partition("p", "a", "o", None, 0, phase=None)
OURS = partition("p", "a", "o", "pod1", 1, phase=None)
READY = partition("p", "a", "o", "pod1", 1)
THEIRS = partition("p", "a", "o", "pod2", 3)
EMPTY = worker("pod1")
SERVES = worker("pod1", p=PartitionView("primary", 1))
LATE = Limits(deadline_seconds=5)


def at(
    step: Step | None,
    host: WorkerView,
    objects: Sequence[Partition] = (FREE,),
    phase: AssignmentPhase | None = None,
    others: Sequence[WorkerView] = (),
    names: Sequence[str] = ("p",),
    **also: object,
) -> Observed:
    return observed(assignment(new(*names, primary="pod1"), step, phase), objects, [host, *others], **also)


MATRIX = {
    # not begun
    "begins": (at(None, EMPTY), ["status Running loading"]),
    "refused": (at(None, EMPTY, refusal=Refusal("Overlap", "…")), ["status Aborted - Overlap"]),
    "refused for good, behind others": (
        at(None, EMPTY, refusal=Refusal("InvalidSpec", "…"), ahead=("a0",)),
        ["status Aborted - InvalidSpec"],
    ),
    "refused for now, behind others": (
        at(None, EMPTY, refusal=Refusal("NotAssigned", "…"), ahead=("a0",)),
        ["status Pending - Waiting", "wait for Waiting"],
    ),
    "waits for older": (at(None, EMPTY, ahead=("a0",)), ["status Pending - Waiting", "wait for Waiting"]),
    "deleted before it began": (at(None, EMPTY, cancelled=True), ["status Aborted - Cancelled"]),
    # loading
    "nobody serves it": (
        at(LOADING, EMPTY),
        ["commit p: primary pod1, epoch 1", "pod1: serve p epoch 1", "p is ready"],
    ),
    "commit unknown": (
        at(LOADING, EMPTY, uncertain=True),
        ["status Running loading", "wait for the outcome of a commit"],
    ),
    "committed": (
        at(LOADING, EMPTY, [OURS]),
        ["commit p: primary pod1, epoch 2", "pod1: serve p epoch 2", "p is ready"],
    ),
    "committed, cancelled": (
        at(LOADING, EMPTY, [OURS], cancelled=True),
        ["commit p: primary pod1, epoch 2", "pod1: serve p epoch 2", "p is ready"],
    ),
    "served": (at(LOADING, SERVES, [OURS]), ["p is ready"]),
    "ready": (at(LOADING, SERVES, [READY]), ["status Completed completed"]),
    "ready, worker restarted": (at(LOADING, EMPTY, [READY]), ["status Completed completed"]),
    "cancelled": (at(LOADING, EMPTY, cancelled=True), ["status Aborted loading Cancelled"]),
    "late": (at(LOADING, EMPTY, limits=LATE), ["status Aborted loading DeadlineExceeded"]),
    "committed, late": (
        at(LOADING, EMPTY, [OURS], limits=LATE),
        ["commit p: primary nobody, epoch 2", "p is unassigned", "status Aborted loading DeadlineExceeded"],
    ),
    "worker is gone": (at(LOADING, gone("pod1")), ["status Aborted loading WorkerLost"]),
    "committed, worker is gone": (
        at(LOADING, gone("pod1"), [OURS]),
        ["commit p: primary nobody, epoch 2", "p is unassigned", "status Aborted loading WorkerLost"],
    ),
    "worker silent": (at(LOADING, silent("pod1")), ["status Running loading", "wait for the worker"]),
    "worker silent, nothing is its own yet": (
        at(LOADING, silent("pod1"), memory=since(pod1=6)),
        ["status Aborted loading WorkerSilent"],
    ),
    "committed, worker silent for long": (
        at(LOADING, silent("pod1"), [OURS], memory=since(pod1=31)),
        ["status Stalled loading WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "object deleted": (at(LOADING, EMPTY, []), ["status Aborted loading PartitionChanged"]),
    "somebody else's": (
        at(LOADING, EMPTY, [THEIRS], others=[worker("pod2", p=PartitionView("primary", 3))]),
        ["status Aborted loading PartitionChanged"],
    ),
    "owner is silent": (
        at(LOADING, EMPTY, [THEIRS], others=[silent("pod2")]),
        ["status Aborted loading PartitionChanged"],
    ),
    "owner is gone with its rows": (
        at(LOADING, EMPTY, [THEIRS], others=[gone("pod2")]),
        [
            "p is loading, DataLost",
            "commit p: primary pod1, epoch 5",
            "pod1: serve p epoch 5",
            "p is ready",
        ],
    ),
}


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_seen_decides(case: str) -> None:
    seen, expected = MATRIX[case]
    assert lines(decide(seen, NOW)) == expected


def test_an_owner_that_is_gone_keeps_what_is_on_its_disk() -> None:
    durable = with_(KEYSPACE, spec=with_(KEYSPACE.spec, durability=Durability.DISK))
    seen = at(LOADING, EMPTY, [THEIRS], others=[gone("pod2")], keyspace=durable)
    assert lines(decide(seen, NOW)) == ["status Aborted loading PartitionChanged"]


def test_lost_rows_are_said_to_be_lost() -> None:
    decided = decide(at(LOADING, EMPTY, [THEIRS], others=[gone("pod2")]), NOW)
    events = [each for each in actions.flatten(decided) if isinstance(each, actions.Record)]
    assert [(event.type, event.reason, event.partition) for event in events] == [("Warning", "DataLost", "p")]


@pytest.mark.parametrize(("step", "seen"), [("loading", at(None, EMPTY)), ("completed", at(LOADING, SERVES, [READY]))])
def test_status_has_the_seeds_fields(step: str, seen: Observed) -> None:
    assert statuses(decide(seen, NOW))["new"] == {"status": step}


NAMES = [f"p{number}" for number in range(5)]
MANY = [partition(name, chr(97 + i), chr(98 + i), None, 0, phase=None) for i, name in enumerate(NAMES)]


def test_many_are_served_in_chunks() -> None:
    seen = at(LOADING, EMPTY, MANY, names=NAMES, limits=Limits(chunk=2))
    said = lines(decide(seen, NOW))
    assert [line for line in said if line.startswith("commit")] == [
        "commit p0: primary pod1, epoch 1",
        "commit p1: primary pod1, epoch 1",
    ]


def test_one_partition_that_fails_does_not_stop_the_others() -> None:
    (lanes,) = [
        each for each in decide(at(LOADING, EMPTY, MANY, names=NAMES), NOW) if isinstance(each, actions.Parallel)
    ]
    assert [len(lane) for lane in lanes.lanes] == [3] * 5


def test_progress_of_many_is_told() -> None:
    done = [with_(MANY[0], spec=with_(MANY[0].spec, primary="pod1", epoch=1))]
    done = [with_(each, status=with_(each.status, phase=PartitionPhase.READY)) for each in done]
    status = statuses(decide(at(LOADING, EMPTY, [*done, *MANY[1:]], names=NAMES), NOW))
    assert status["message"] == "1 of 5 partitions served"


def test_deleted_ones_are_left_out() -> None:
    done = [with_(each, spec=with_(each.spec, primary="pod1", epoch=1)) for each in MANY[:3]]
    done = [with_(each, status=with_(each.status, phase=PartitionPhase.READY)) for each in done]
    assert lines(decide(at(LOADING, EMPTY, done, names=NAMES), NOW)) == ["status Completed completed"]

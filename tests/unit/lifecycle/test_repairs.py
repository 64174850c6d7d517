"""repair, case by case: what somebody has made of an object, who has the rows, and what is done about it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace as with_
from scenes import KEYSPACE, lines, partition, worker

from dstk.api import Condition, ConditionStatus, Partition, PartitionPhase
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import Surroundings, actions, is_suspect, repair, settle
from dstk.span import Span

OURS = partition("p", "a", "o", "pod1", 7)
THEIRS = partition("p", "a", "o", "pod2", 8)
NOWHERE = partition("p", "a", "o", "nowhere", 8)
NOBODYS = partition("p", "a", "o", None, 8)
ANEW = partition("p", "a", "o", None, 0, phase=None)
OTHER_KEYS = partition("p", "a", "z", None, 0, phase=None)
PROXIED = partition("p", "a", "o", "pod1", 7, proxy="pod2")
PROXIED_NOWHERE = partition("p", "a", "o", "pod1", 7, proxy="nowhere")
MERGED = partition("p", "a", "o", None, 7, proxy="pod1")
CONFIRMED_THERE = with_(THEIRS, status=with_(THEIRS.status, incarnation="uid1/1"))

HELD = PartitionView("primary", 7, span=Span(b"a\0\0\0", b"o\0\0\0"))
FENCED = PartitionView("primary", 7, span=Span(b"a\0\0\0", b"o\0\0\0"), fenced=True, fence_token=2)
SERVED = PartitionView("primary", 8, span=Span(b"a\0\0\0", b"o\0\0\0"))
LATER = PartitionView("primary", 9, span=Span(b"a\0\0\0", b"o\0\0\0"))
FIRST = PartitionView("primary", 7, span=Span(bytes(4), b"o\0\0\0"))
COPY = PartitionView("following", 7, sequence=9, digest=3, caught_up=True)
LONGER = PartitionView("primary", 7, span=Span(b"a\0\0\0\0", b"o\0\0\0\0"))

BACK = ["commit p: primary pod1, epoch 9", "pod1: serve p epoch 9", "p is ready, Repaired"]

CASES: dict[str, tuple[Partition | None, list[WorkerView], list[str] | None]] = {
    # who is primary
    "all is well": (OURS, [worker("pod1", p=HELD), worker("pod2")], None),
    "given to a worker that has not got it": (THEIRS, [worker("pod1", p=HELD), worker("pod2")], BACK),
    "given to what is no worker": (NOWHERE, [worker("pod1", p=HELD), worker("pod2")], BACK),
    "given to nobody": (NOBODYS, [worker("pod1", p=HELD), worker("pod2")], BACK),
    "given to a worker that does not answer": (THEIRS, [worker("pod1", p=HELD)], BACK),
    "given to a worker that has an unfinished copy": (THEIRS, [worker("pod1", p=HELD), worker("pod2", p=COPY)], BACK),
    "created anew": (
        ANEW,
        [worker("pod1", p=HELD)],
        ["commit p: primary pod1, epoch 8", "pod1: serve p epoch 8", "p is ready, Repaired"],
    ),
    "created anew for other keys": (OTHER_KEYS, [worker("pod1", p=HELD)], []),
    "set back to an owner of long ago": (
        OURS,
        [worker("pod1", p=HELD), worker("pod2", p=LATER)],
        ["commit p: primary pod2, epoch 10", "pod2: serve p epoch 10", "p is ready, Repaired"],
    ),
    "the first partition given to another": (
        partition("p", "", "o", "pod2", 8),
        [worker("pod1", p=FIRST), worker("pod2")],
        BACK,
    ),
    "the only partition given to nobody": (
        partition("p", "0x00", "", None, 8),
        [worker("pod1", p=PartitionView("primary", 7, span=Span(bytes(4), b"")))],
        BACK,
    ),
    "the first partition deleted": (
        None,
        [worker("pod1", p=FIRST)],
        ["create p [,o) on pod1, epoch 7", "pod1: serve p epoch 7", "p is ready, Repaired"],
    ),
    # a move that has committed is none of it
    "moved": (THEIRS, [worker("pod1", p=HELD), worker("pod2", p=SERVED)], None),
    "moved, the copy is not primary yet": (THEIRS, [worker("pod1", p=FENCED), worker("pod2", p=COPY)], None),
    "moved, the destination does not answer": (THEIRS, [worker("pod1", p=FENCED)], None),
    "moved, and lost there": (THEIRS, [worker("pod1", p=FENCED), worker("pod2")], BACK),
    "merged away": (MERGED, [worker("pod1", p=HELD)], None),
    "restarted, nobody has the rows": (OURS, [worker("pod1"), worker("pod2")], None),
    "who had the rows last does not answer": (CONFIRMED_THERE, [worker("pod2")], []),
    # who passes on
    "a proxy that does not pass on": (
        PROXIED,
        [worker("pod1", p=HELD), worker("pod2")],
        ["commit p: primary pod1, epoch 7", "p is ready, Repaired"],
    ),
    "a proxy that is no worker": (
        PROXIED_NOWHERE,
        [worker("pod1", p=HELD)],
        ["commit p: primary pod1, epoch 7", "p is ready, Repaired"],
    ),
    "a proxy that does not answer": (PROXIED, [worker("pod1", p=HELD)], None),
    "a proxy that passes on": (PROXIED, [worker("pod1", p=HELD), worker("pod2", p=PartitionView("proxy", 7))], None),
    # what has no object
    "deleted": (
        None,
        [worker("pod1", p=HELD)],
        ["create p [a,o) on pod1, epoch 7", "pod1: serve p epoch 7", "p is ready, Repaired"],
    ),
    "deleted, an old owner has it too": (
        None,
        [worker("pod1", p=HELD), worker("pod2", p=SERVED)],
        ["create p [a,o) on pod2, epoch 8", "pod2: serve p epoch 8", "p is ready, Repaired"],
    ),
    "deleted, of a Keyspace of other keys": (None, [worker("pod1", p=LONGER)], None),
    "deleted, of a Keyspace of other durability": (
        None,
        [worker("pod1", p=PartitionView("primary", 7, durable=True))],
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_object_is_set_right(case: str) -> None:
    found, seen, expected = CASES[case]
    steps = repair(found, "p", KEYSPACE, around(seen))
    assert (None if steps is None else lines(steps)) == expected


def around(seen: list[WorkerView], *over: Partition) -> Surroundings:
    views = {view.name: view for view in seen}
    return Surroundings(views, {"pod1", "pod2"}, {"uid1"}, lambda start, end: over)


def test_what_others_have_keys_of_by_now_does_not_come_back() -> None:
    assert (
        repair(None, "p", KEYSPACE, around([worker("pod1", p=HELD)], partition("whole", "a", "z", "pod2", 9))) is None
    )


def test_what_an_older_disk_brings_back_is_let_go_where_others_were_served_on_its_keys_since() -> None:
    low, high = partition("low", "a", "g", "pod2", 9), partition("high", "g", "z", "pod2", 8)
    seen = [worker("pod1", p=FENCED), worker("pod2")]
    let_go = ["pod1: proxy p epoch 9 to pod2", "pod1: release p epoch 9"]
    assert lines(repair(None, "p", KEYSPACE, around(seen, low, high)) or ()) == let_go
    kept = {
        "not all its keys": [low],
        "in no later epoch": [low, partition("high", "g", "z", "pod2", 7)],
        "not served yet": [low, partition("high", "g", "z", "pod2", 8, phase=PartitionPhase.LOADING)],
    }
    for why, over in kept.items():
        assert repair(None, "p", KEYSPACE, around(seen, *over)) is None, why
    assert repair(None, "p", KEYSPACE, around([worker("pod1", p=HELD), worker("pod2")], low, high)) is None
    assert repair(None, "p", KEYSPACE, around([worker("pod1", p=FENCED)], low, high)) is None


@pytest.mark.parametrize("case", CASES)
def test_it_is_said(case: str) -> None:
    found, seen, expected = CASES[case]
    steps = repair(found, "p", KEYSPACE, around(seen)) or ()
    events = [step for step in steps if isinstance(step, actions.Record)]
    conditions = [step.condition for step in steps if isinstance(step, actions.SetPartitionStatus)]
    assert [event.type for event in events] == (["Warning"] if steps else [])
    assert conditions == ([Partition.REPAIRED] if expected else [])


@pytest.mark.parametrize("case", CASES)
def test_some_worker_finds_it_suspect(case: str) -> None:
    found, seen, expected = CASES[case]
    suspect = any(is_suspect(found, view, view.parts.get("p"), {"pod1", "pod2"}) for view in seen)
    assert suspect or expected is None


def test_that_it_was_repaired_is_said_for_a_while() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    said = Condition(
        type=Partition.REPAIRED, status=ConditionStatus.TRUE, last_transition_time=moment, reason="PrimaryEdited"
    )
    repaired = with_(OURS, status=with_(OURS.status, conditions=(said,)))
    assert settle(repaired, 59.0) == ()
    assert lines(settle(repaired, 61.0)) == ["p is ready, no longer Repaired"]
    assert settle(OURS, 61.0) == ()

"""recover, case by case: what a worker holds, what the objects say, and what is done about the difference."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import pytest
from msgspec.structs import replace as with_
from scenes import BEGAN, KEYSPACE, gone, lines, partition, silent, worker

from dstk.api import Condition, ConditionStatus, Partition, PartitionPhase, standing
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import actions, recover
from dstk.lifecycle.availability import WORKER_SILENT
from dstk.lifecycle.claims import claims_of
from dstk.span import Span

OURS = partition("p", "a", "o", "pod1", 7)
NEVER_SERVED = partition("p", "a", "o", "pod1", 7, phase=None)
THEIRS = partition("p", "a", "o", "pod2", 8)
PROXIED = partition("p", "a", "o", "pod2", 8, proxy="pod1")
NOBODYS = partition("p", "a", "o", None, 8)
WHOLE = partition("whole", "a", "o", "pod1", 8)
HELD = PartitionView("primary", 7)
AWAY = with_(
    OURS,
    status=with_(
        OURS.status,
        phase=PartitionPhase.UNAVAILABLE,
        conditions=standing.of_partition(
            (), PartitionPhase.UNAVAILABLE, datetime(2026, 1, 1, tzinfo=UTC), WORKER_SILENT, "it does not answer"
        ),
    ),
)
"""Its worker was silent for a while."""
DURABLE = PartitionView("primary", 7, durable=True)
"""The Keyspace asks for durability Memory."""
SET_ASIDE = PartitionView("primary", 7, fenced=True, fence_token=1, durable=True)


def key(text: str) -> bytes:
    return text.encode().ljust(4, b"\0")


def held(start: str, end: str, epoch: int) -> PartitionView:
    return PartitionView("primary", epoch, span=Span(key(start), key(end)))


LOST = [
    "commit p: primary pod1, epoch 9",
    "p is unavailable, DataLost",
    "pod1: serve p epoch 9",
    "p is ready",
]
AGAIN = ["commit p: primary pod1, epoch 9", "pod1: serve p epoch 9", "p is ready"]


def misfit(object_: Partition) -> Partition:
    said = Condition(
        type=Partition.MISFIT, status=ConditionStatus.TRUE, last_transition_time=BEGAN, reason="OtherKeyspace"
    )
    return with_(object_, status=with_(object_.status, phase=PartitionPhase.UNAVAILABLE, conditions=(said,)))


CASES: dict[str, tuple[list[Partition], WorkerView, list[str]]] = {
    # as it should be
    "all is well": ([OURS], worker("pod1", p=HELD), []),
    "worker does not answer": ([OURS], silent("pod1"), []),
    "worker is gone": ([OURS], gone("pod1"), []),
    "source of a move passes on": ([OURS], worker("pod1", p=HELD, q=PartitionView("disconnected", 0)), []),
    # what belongs to an earlier Keyspace of this name
    "held with another durability": (
        [OURS],
        worker("pod1", p=DURABLE),
        ["pod1: fence p epoch 7 token 1", "p is unavailable, Misfit"],
    ),
    "held with keys of another length": (
        [OURS],
        worker("pod1", p=PartitionView("primary", 7, key_length=8)),
        ["pod1: fence p epoch 7 token 1", "p is unavailable, Misfit"],
    ),
    "held with another durability, without an object": (
        [],
        worker("pod1", p=DURABLE),
        ["pod1: fence p epoch 7 token 1"],
    ),
    "held with another durability, an older epoch than the object": (
        [partition("p", "a", "o", "pod1", 9)],
        worker("pod1", p=DURABLE),
        ["pod1: fence p epoch 7 token 1", "p is unavailable, Misfit"],
    ),
    "held with another durability, and not served": ([], worker("pod1", p=SET_ASIDE), []),
    "what was held with another durability is given up": (
        [misfit(OURS)],
        worker("pod1"),
        AGAIN,
    ),
    "copied with another durability": (
        [THEIRS],
        worker("pod1", p=PartitionView("following", 7, durable=True)),
        ["touch p", "pod1: drop p epoch 7"],
    ),
    # what belongs to the worker
    "restarted without its rows": ([OURS], worker("pod1"), LOST),
    "committed and never served": ([NEVER_SERVED], worker("pod1"), AGAIN),
    "served, its object does not say so": (
        [NEVER_SERVED],
        worker("pod1", p=HELD),
        ["pod1: serve p epoch 7", "p is ready"],
    ),
    "restarted with its rows": (
        [OURS],
        worker("pod1", p=PartitionView("disconnected", 7)),
        ["pod1: serve p epoch 7", "p is ready"],
    ),
    "older epoch than the object": (
        [OURS],
        worker("pod1", p=PartitionView("primary", 6)),
        ["pod1: serve p epoch 7", "p is ready"],
    ),
    "later epoch than the object": (
        [OURS],
        worker("pod1", p=PartitionView("primary", 9)),
        ["commit p: primary pod1, epoch 10", "pod1: serve p epoch 10", "p is ready"],
    ),
    "left behind a fence": (
        [OURS],
        worker("pod1", p=PartitionView("primary", 7, fenced=True, fence_token=2)),
        ["pod1: fence p epoch 7 token 3", "touch p", "pod1: unfence p epoch 7 token 3"],
    ),
    "copy of a move that committed": (
        [OURS],
        worker("pod1", p=PartitionView("following", 6, sequence=9, digest=3, caught_up=True)),
        ["pod1: promote p epoch 7 sequence 9 digest 3", "p is ready"],
    ),
    "copy that was never complete": ([OURS], worker("pod1", p=PartitionView("loading", 6)), []),
    "back from a silence": ([AWAY], worker("pod1", p=HELD), []),
    "back from a silence in another life, with its rows": (
        [with_(AWAY, status=with_(AWAY.status, incarnation="pod1/0"))],
        worker("pod1", p=HELD),
        ["pod1: serve p epoch 7", "p is ready"],
    ),
    "back from a silence without its rows": ([AWAY], worker("pod1"), LOST),
    # what does not
    "copy of a move that was aborted": (
        [THEIRS],
        worker("pod1", p=PartitionView("following", 8)),
        ["touch p", "pod1: drop p epoch 8"],
    ),
    "copy of what has no object": ([], worker("pod1", p=PartitionView("loading", 3)), ["pod1: drop p epoch 3"]),
    "proxy that nobody released": (
        [PROXIED],
        worker("pod1", p=PartitionView("proxy", 8)),
        ["pod1: release p epoch 8", "commit p: primary pod2, epoch 8"],
    ),
    "proxy of what has no object": ([], worker("pod1", p=PartitionView("proxy", 8)), ["pod1: release p epoch 8"]),
    "somebody else is primary in a later epoch": (
        [THEIRS],
        worker("pod1", p=HELD),
        ["pod1: proxy p epoch 8 to pod2"],
    ),
    "nobody is primary in a later epoch": ([NOBODYS], worker("pod1", p=HELD), []),
    "somebody else is primary in an older epoch": ([THEIRS], worker("pod1", p=PartitionView("primary", 9)), []),
    "primary of what has no object": ([], worker("pod1", p=HELD), []),
    # what a split or merge left when its Assignment vanished
    "children without objects": (
        [OURS],
        worker("pod1", low=held("a", "e", 8), high=held("e", "o", 8)),
        [
            "create high [e,o) on pod1, epoch 8",
            "create low [a,e) on pod1, epoch 8",
        ],
    ),
    "one child without an object": (
        [OURS, partition("low", "a", "e", "pod1", 8)],
        worker("pod1", low=held("a", "e", 8), high=held("e", "o", 8)),
        ["create high [e,o) on pod1, epoch 8"],
    ),
    "children with objects, parent not deleted": (
        [OURS, partition("low", "a", "e", "pod1", 8), partition("high", "e", "o", "pod1", 8)],
        worker("pod1", low=held("a", "e", 8), high=held("e", "o", 8)),
        ["delete p"],
    ),
    "merged without an object": (
        [partition("low", "a", "e", "pod1", 7), partition("high", "e", "o", "pod1", 7)],
        worker("pod1", whole=held("a", "o", 8)),
        ["create whole [a,o) on pod1, epoch 8"],
    ),
    "merged with an object, parts not deleted": (
        [partition("low", "a", "e", "pod1", 7), partition("high", "e", "o", "pod1", 7), WHOLE],
        worker("pod1", whole=held("a", "o", 8)),
        ["delete high", "delete low"],
    ),
    "some children are elsewhere by now": (
        [OURS, partition("low", "a", "e", "pod1", 8)],
        worker("pod1", low=held("a", "e", 8)),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_worker_is_brought_in_line(case: str) -> None:
    objects, seen, expected = CASES[case]
    assert lines(bring(objects, seen)) == expected


def bring(objects: Sequence[Partition], seen: WorkerView, busy: Sequence[str] = ()) -> list[actions.Action]:
    named = {each.metadata.name: each for each in objects}
    return recover(named, seen, KEYSPACE, busy, {"pod1": "pod1:7", "pod2": "pod2:7"})


def test_what_an_assignment_is_in_charge_of_is_left_to_it() -> None:
    assert bring([OURS], worker("pod1"), busy=["p"]) == []
    assert bring([], worker("pod1", p=PartitionView("loading", 3)), busy=["p"]) == []


def test_a_parent_whose_children_are_in_somebodys_charge_is_not_taken_for_lost() -> None:
    cut = worker("pod1", low=held("a", "e", 8), high=held("e", "o", 8))
    assert bring([OURS], cut, busy=["low", "high"]) == []


def test_of_a_parent_what_no_child_has_becomes_a_partition_and_it_goes() -> None:
    """The worker had cut it, and one child got an object and is served, before the other was lost with its object."""
    low = partition("low", "a", "e", "pod1", 8)
    named = {"p": OURS, "low": low}
    seen = worker("pod1", low=held("a", "e", 8))
    decided = recover(named, seen, KEYSPACE, (), {"pod1": "pod1:7"}, lambda start, end: [OURS, low])
    first, create, last = lines(decided)
    assert (first, last) == ("touch p", "delete p")
    assert create.endswith("[e,o) on pod1, epoch 8")


@pytest.mark.parametrize("action", get_args(actions.Action))
def test_every_action_says_which_partition_it_concerns(action: type[actions.Action]) -> None:
    """Else a lane would not be broken off for it when an Assignment takes charge of the partition."""
    assert hasattr(action, "partition")


def test_other_keyspaces_are_left_alone() -> None:
    other = with_(OURS, spec=with_(OURS.spec, keyspace="other"))
    assert bring([other], worker("pod1", q=PartitionView("loading", 1, keyspace="other"))) == []


def test_lost_rows_are_said_to_be_lost() -> None:
    events = [each for each in actions.flatten(bring([OURS], worker("pod1"))) if isinstance(each, actions.Record)]
    assert [(event.type, event.reason, event.partition) for event in events] == [("Warning", "DataLost", "p")]


def test_one_partition_that_fails_does_not_stop_the_others() -> None:
    objects = [OURS, partition("q", "o", "z", "pod1", 3)]
    (lanes,) = bring(objects, worker("pod1"))
    assert isinstance(lanes, actions.Parallel)
    assert len(lanes.lanes) == 2


def test_after_it_is_done_nothing_is_left_to_do() -> None:
    again = with_(OURS, spec=with_(OURS.spec, epoch=8), status=with_(OURS.status, phase=PartitionPhase.READY))
    assert bring([again], worker("pod1", p=PartitionView("primary", 8))) == []


# The objects were set back: they know nothing of what has come of them since


def set_back(seen: WorkerView, *others: WorkerView, unasked: Sequence[str] = ()) -> list[str]:
    """OURS is what the objects know of; this is what is done about a worker, when all were asked."""
    claims = claims_of([seen, *others], "default")
    mine = {"p": OURS} if seen.name == "pod1" else {}
    everywhere = lambda start, end: [OURS]  # noqa: E731
    return lines(recover(mine, seen, KEYSPACE, (), {"pod1": "pod1:7", "pod2": "pod2:7"}, everywhere, claims, unasked))


HALVES = worker("pod2", low=held("a", "e", 9), high=held("e", "o", 9))
LOW_HALF = worker("pod2", low=held("a", "e", 9))


def test_what_others_hold_keys_of_is_not_served_from_empty() -> None:
    assert set_back(worker("pod1"), HALVES) == []
    assert set_back(worker("pod1"), LOW_HALF) == []


def test_who_holds_them_gets_objects_in_place_of_what_nobody_holds() -> None:
    assert set_back(HALVES, worker("pod1")) == [
        "create high [e,o) on pod2, epoch 9",
        "create low [a,e) on pod2, epoch 9",
    ]


def test_what_is_held_is_not_taken_the_place_of() -> None:
    assert set_back(HALVES, worker("pod1", p=held("a", "o", 7))) == []


def test_while_one_that_may_hold_it_does_not_answer_nothing_is_served_from_empty() -> None:
    assert set_back(worker("pod1"), unasked=["pod2"]) == ["p is unavailable"]
    assert set_back(worker("pod1")) == LOST


def test_what_a_later_partition_lies_over_goes_though_the_worker_has_nothing_of_either() -> None:
    over = partition("q", "a", "o", "pod2", 9)
    decided = recover({"p": OURS}, worker("pod1"), KEYSPACE, (), {}, lambda start, end: [OURS, over])
    assert lines(decided) == ["touch p", "delete p"]

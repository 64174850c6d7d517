"""What was done by hand is marked, and the mark goes where the keys go."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as with_
from scenes import NOW, assignment, observed, partition, worker

from dstk.api import (
    ASSIGNER_LABEL,
    CUT_ANNOTATION,
    HELD_SINCE_ANNOTATION,
    PLACED_ANNOTATION,
    Assignment,
    Partition,
    Step,
)
from dstk.control.views import PartitionView
from dstk.lifecycle import actions, decide
from dstk.lifecycle.memory import Memory
from simulation.specs import merge, move, split

CUT, PLACED = {CUT_ANNOTATION: "earlier"}, {PLACED_ANNOTATION: "earlier"}


def marked(subject: Partition, **annotations: str) -> Partition:
    return with_(subject, metadata=with_(subject.metadata, annotations=annotations))


def by_the_assigner(subject: Assignment) -> Assignment:
    return with_(subject, metadata=with_(subject.metadata, labels=dict([ASSIGNER_LABEL])))


def created(subject: Assignment, parts: list[Partition], host: dict[str, PartitionView]) -> dict[str, dict[str, str]]:
    """Annotations of what is created, by name."""
    decided = decide(observed(subject, parts, [worker("pod1", **host)]), NOW)
    return {each.partition: dict(each.annotations) for each in decided if isinstance(each, actions.CreatePartition)}


@pytest.mark.parametrize(
    ("by_hand", "before", "low", "high"),
    [
        (True, {}, {}, {CUT_ANNOTATION: "a1"}),
        (False, {}, {}, {}),
        (False, CUT, CUT, {}),
        (True, CUT | PLACED, CUT | PLACED, {CUT_ANNOTATION: "a1"} | PLACED),
    ],
)
def test_a_cut_is_marked_on_what_begins_there(
    by_hand: bool, before: dict[str, str], low: dict[str, str], high: dict[str, str]
) -> None:
    subject = assignment(split("p", "e", names=("low", "high")), Step.FOLLOWING)
    parent = marked(partition("p", "a", "o", "pod1", 7), **before)
    child = PartitionView("primary", 8)
    found = created(subject if by_hand else by_the_assigner(subject), [parent], {"low": child, "high": child})
    assert found == {"low": low, "high": high}


def test_what_is_merged_begins_where_its_first_part_did() -> None:
    subject = assignment(merge("high", "low", name="whole"), Step.FOLLOWING)
    low = marked(partition("low", "a", "e", "pod1", 7), **CUT)
    high = marked(partition("high", "e", "o", "pod1", 7), **{CUT_ANNOTATION: "later"}, **PLACED)
    whole = {"whole": PartitionView("primary", 8)}
    assert created(subject, [low, high], whole) == {"whole": CUT | PLACED}
    low = marked(low)
    assert created(subject, [low, high], whole) == {"whole": PLACED}


@pytest.mark.parametrize(
    ("by_hand", "before", "after"),
    [(True, {}, ((PLACED_ANNOTATION, "a1"),)), (False, {}, ()), (False, PLACED, ((PLACED_ANNOTATION, ""),))],
)
def test_a_move_is_marked_until_the_next(by_hand: bool, before: dict[str, str], after: tuple[object, ...]) -> None:
    subject = assignment(move("p", "pod1", "pod2"), Step.FOLLOWING)
    moved = marked(partition("p", "a", "o", "pod1", 7), **before)
    source = worker("pod1", p=PartitionView("primary", 7, sequence=9, digest=3, fenced=True, fence_token=1))
    copy = worker("pod2", p=PartitionView("following", 7, sequence=9, digest=3, caught_up=True))
    memory = Memory(fenced_at=NOW, fence_token=1)
    seen = observed(subject if by_hand else by_the_assigner(subject), [moved], [source, copy], memory=memory)
    (commit,) = (each for each in actions.flatten(decide(seen, NOW)) if isinstance(each, actions.Commit))
    assert commit.annotations == (*after, (HELD_SINCE_ANNOTATION, "8/1"))

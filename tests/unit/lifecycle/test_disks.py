"""Which disk is what it should be at least, and which Partition of it is not; by tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace as with_
from scenes import KEYSPACE, lines, partition, worker

from dstk.api import ACCEPT_LOSS_ANNOTATION, HELD_SINCE_ANNOTATION, Condition, ConditionStatus, Durability, Partition
from dstk.api.partition import PartitionPhase
from dstk.control.views import DiskFloor, DiskView, LostBranch, PartitionView, WorkerView
from dstk.lifecycle import recover
from dstk.lifecycle.disks import confirm, older_than, with_position, without_older
from dstk.span import Span

DISK = with_(KEYSPACE, spec=with_(KEYSPACE.spec, durability=Durability.DISK))
THEN, NOW = 100.0, 200.0
FLOOR = DiskFloor("a", "b", 2, 1000, THEN)
"""Of a directory that life a made; in life b its log had come to 1000."""


def disk(*lives: str, began: int, position: int | None = None, starts: int | None = None, made: str = "a") -> DiskView:
    return DiskView(
        made, lives, len(lives) if starts is None else starts, began, began if position is None else position
    )


@pytest.mark.parametrize(
    ("floor", "seen", "is_older"),
    [
        (None, disk("a", began=0), False),
        (None, disk("a", "b", "c", began=500), False),
        (FLOOR, disk("a", "b", began=900, position=1100), False),
        (FLOOR, disk("a", "b", "c", began=1000), False),
        (FLOOR, disk("a", "b", "x", "c", began=1200), False),
        (FLOOR, disk("a", "b", "c", began=999), True),
        (FLOOR, disk("a", "c", began=1200), True),
        (FLOOR, disk("c", began=0, made="c"), True),
        (FLOOR, disk("x", "c", began=1200, made="x"), True),
        (FLOOR, disk("y", "z", began=1200, starts=40), False),
        (FLOOR, disk("y", "z", began=900, starts=40), True),
        (FLOOR, disk("y", "z", began=1200, starts=40, made="x"), True),
    ],
    ids=[
        "nothing is remembered",
        "nothing is remembered of an old directory",
        "the same life",
        "the next life",
        "a life in between was not seen",
        "a copy from within the life",
        "a copy from before the life",
        "an empty directory",
        "another directory",
        "very many lives since",
        "very many lives since, a shorter log",
        "very many lives since, another directory",
    ],
)
def test_a_disk_is_older_when_it_lacks_what_it_had(floor: DiskFloor | None, seen: DiskView, is_older: bool) -> None:
    now = confirm(floor, seen, NOW)
    assert now.life == seen.life
    assert (now.lost is not None) is is_older
    assert confirm(now, seen, NOW + 1) == now, "the same life is asked about once"


def test_the_right_disk_ends_it_and_what_it_lost_since_is_not_forgotten() -> None:
    older = confirm(FLOOR, disk("a", "b", "copy", began=500), NOW)
    assert older.lost == LostBranch("a", "b", 1000, THEN, "copy")
    later = confirm(older, disk("a", "b", "copy", "copy2", began=600), NOW)
    assert later.lost == older.lost, "a start of the copy changes nothing"
    assert confirm(later, disk("a", "b", "c", began=1000), NOW).lost is None
    assert confirm(later, disk("a", "b", "d", began=700), NOW).lost is not None


def test_a_floor_never_sinks() -> None:
    assert with_position(FLOOR, 900, NOW) is FLOOR
    assert with_position(FLOOR, 1001, NOW) == replace(FLOOR, position=1001, at=NOW)


def owned(
    hold: str | None = "7/b", *, epoch: int = 7, sequence: int = 0, phase: PartitionPhase | None = PartitionPhase.READY
) -> Partition:
    made = partition("p", "a", "o", "pod1", epoch, phase=phase)
    annotations = {HELD_SINCE_ANNOTATION: hold} if hold else {}
    return with_(
        made,
        metadata=with_(made.metadata, annotations=annotations),
        status=with_(made.status, sequence=sequence),
    )


def seen_by(seen: DiskView, floor: DiskFloor | None, **parts: PartitionView) -> WorkerView:
    floor = confirm(floor, seen, NOW)
    return replace(worker("pod1", **parts), incarnation=f"pod1/{seen.life}", disk=seen, floor=floor)


RIGHT = disk("a", "b", "c", began=1000)
COPY = disk("a", "b", "copy", began=500)
EMPTY = disk("new", began=0, made="new")
HELD = PartitionView("primary", 7, sequence=50, fenced=True, fence_token=1)

CASES: dict[str, tuple[Partition, WorkerView, str]] = {
    "the right disk": (owned(), seen_by(RIGHT, FLOOR, p=HELD), ""),
    "without a hold": (owned(None), seen_by(RIGHT, FLOOR, p=HELD), ""),
    "a worker that does not say": (owned(), worker("pod1", p=HELD), ""),
    "a copy": (owned(), seen_by(COPY, FLOOR, p=HELD), "older copy"),
    "a copy, without a hold": (owned(None), seen_by(COPY, FLOOR, p=HELD), "older copy"),
    "got after the copy was put back": (owned("7/copy"), seen_by(COPY, FLOOR, p=HELD), ""),
    "an empty directory": (owned(), seen_by(EMPTY, FLOOR), "another one"),
    "an empty directory, nothing remembered": (owned(), seen_by(EMPTY, None), "knows nothing of the life"),
    "from before it was moved away": (owned("9/b", epoch=9), seen_by(RIGHT, None, p=HELD), "epoch 7"),
    "below what was reported": (owned(sequence=51), seen_by(RIGHT, None, p=HELD), "up to sequence 50"),
    "as it was reported": (owned(sequence=50), seen_by(RIGHT, None, p=HELD), ""),
}


@pytest.mark.parametrize(("subject", "view", "why"), CASES.values(), ids=CASES)
def test_what_is_older_than_it_should_be_says_why(subject: Partition, view: WorkerView, why: str) -> None:
    said = older_than(subject, view.parts.get("p"), view)
    assert (why in said) if why else said == ""
    hidden = without_older(view, {"p": subject})
    assert hidden.older == (frozenset(["p"]) if why else frozenset())
    assert "p" not in hidden.parts or not why


def done(subject: Partition, view: WorkerView) -> list[str]:
    return lines(recover({"p": subject}, view, DISK, busy=(), addresses={}))


def lost(subject: Partition, reason: str, accepted: bool) -> Partition:
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    condition = Condition(type="DataLost", status=ConditionStatus.TRUE, last_transition_time=since, reason=reason)
    annotations = dict(subject.metadata.annotations)
    if accepted:
        annotations[ACCEPT_LOSS_ANNOTATION] = "2026-01-02T03:04:05Z"
    return with_(
        subject,
        metadata=with_(subject.metadata, annotations=annotations),
        status=with_(subject.status, phase=PartitionPhase.UNAVAILABLE, conditions=(condition,)),
    )


COPIED = seen_by(COPY, FLOOR, p=HELD)


def test_an_older_copy_stays_fenced_and_says_so_once() -> None:
    assert done(owned(), COPIED) == ["p is unavailable, DataLost"]
    assert done(lost(owned(), "DiskOlder", accepted=False), COPIED) == []


def test_one_that_serves_already_is_fenced() -> None:
    served = seen_by(COPY, FLOOR, p=replace(HELD, fenced=False))
    assert done(owned(), served) == ["pod1: fence p epoch 7 token 2", "p is unavailable, DataLost"]


def test_once_it_is_accepted_it_is_served_above_all_epochs_and_that_is_a_new_hold() -> None:
    accepted = lost(owned(), "DiskOlder", accepted=True)
    assert done(accepted, COPIED) == ["commit p: primary pod1, epoch 9", "pod1: serve p epoch 9"]
    committed = lost(owned("9/copy", epoch=9), "DiskOlder", accepted=True)
    view = seen_by(COPY, FLOOR, p=replace(HELD, epoch=9))
    assert done(committed, view) == [
        "pod1: fence p epoch 9 token 2",
        "touch p",
        "pod1: unfence p epoch 9 token 2",
        "pod1: serve p epoch 9",
        "p is ready",
        "p is ready, DataLost",
    ]


def test_a_yes_to_an_earlier_loss_is_none_to_a_later_one() -> None:
    earlier = lost(owned(), "DiskOlder", accepted=True)
    [condition] = earlier.status.conditions
    later = with_(condition, last_transition_time=datetime(2026, 2, 2, tzinfo=UTC))
    assert done(with_(earlier, status=with_(earlier.status, conditions=(later,))), COPIED) == []


def test_the_right_disk_is_served_again() -> None:
    view = seen_by(RIGHT, confirm(FLOOR, COPY, NOW), p=HELD)
    assert done(lost(owned(), "DiskOlder", accepted=False), view) == [
        "pod1: fence p epoch 7 token 2",
        "touch p",
        "pod1: unfence p epoch 7 token 2",
        "pod1: serve p epoch 7",
        "p is ready",
        "p is ready, DataLost",
    ]


@pytest.mark.parametrize("phase", [None, PartitionPhase.LOADING, PartitionPhase.READY])
def test_an_empty_volume_in_the_place_of_the_one_that_it_was_given_to_is_not_served(
    phase: PartitionPhase | None,
) -> None:
    """Also where nobody had come to say that it was served: clients may have been answered."""
    assert done(owned(phase=phase), seen_by(EMPTY, FLOOR)) == ["p is unavailable, DataLost"]


def test_once_the_loss_of_a_volume_is_accepted_its_range_is_served_from_empty() -> None:
    waiting = lost(owned(), "RowsMissing", accepted=False)
    assert done(waiting, seen_by(EMPTY, FLOOR)) == []
    accepted = lost(owned(), "RowsMissing", accepted=True)
    assert done(accepted, seen_by(EMPTY, FLOOR)) == [
        "commit p: primary pod1, epoch 9",
        "pod1: serve p epoch 9",
        "p is ready",
    ]


def test_what_the_same_directory_never_had_is_served_from_empty() -> None:
    assert done(owned(phase=None), seen_by(RIGHT, FLOOR)) == [
        "commit p: primary pod1, epoch 9",
        "pod1: serve p epoch 9",
        "p is ready",
    ]


@pytest.mark.parametrize("role", ["proxy", "following"])
def test_a_copy_from_when_it_was_elsewhere_is_held_back_and_goes_once_that_is_accepted(role: str) -> None:
    part = replace(HELD, role=role, fenced=False)  # type: ignore[arg-type]
    view = seen_by(COPY, FLOOR, p=part)
    assert done(owned(), view) == ["p is unavailable, DataLost"]
    accepted = done(lost(owned(), "DiskOlder", accepted=True), view)
    assert accepted[0] == "commit p: primary pod1, epoch 9"
    assert accepted[1] in ("pod1: release p epoch 9", "pod1: drop p epoch 7")
    assert accepted[2] == "pod1: serve p epoch 9"


def test_a_copy_from_before_a_split_is_back_once_all_that_came_of_it_is_accepted() -> None:
    span = Span(b"a\0\0\0", b"o\0\0\0")
    view = seen_by(COPY, FLOOR, p=replace(HELD, span=span))
    low, high = partition("low", "a", "g", "pod1", 8), partition("high", "g", "o", "pod1", 8)

    def decided(*accepted: bool) -> list[str]:
        children = [lost(each, "RowsMissing", yes) for each, yes in zip((low, high), accepted, strict=True)]
        objects = {each.metadata.name: each for each in children}
        return lines(recover(objects, view, DISK, (), {}, lambda start, end: children))

    assert decided(False, False) == []
    assert decided(True, False) == []
    assert decided(True, True) == ["create p [a,o) on pod1, epoch 10"] * 2, "told twice it is one"
    back = with_(
        partition("p", "a", "o", "pod1", 10),
        metadata=with_(owned().metadata, annotations={HELD_SINCE_ANNOTATION: "7/copy"}),
    )
    assert older_than(back, view.parts["p"], view) == ""
    assert done(back, view)[0] == "pod1: serve p epoch 10"

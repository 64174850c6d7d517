"""The machine of one Assignment: which step comes next after what has happened. No I/O, no clock, no event loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec.structs import replace as changed
from scenes import KEYSPACE, NOW, assignment, gone, lines, partition, silent, worker

from dstk.api import Assignment, AssignmentPhase, Durability, Partition, Progress, Step
from dstk.control.commands import Fence, Follow
from dstk.control.views import PartitionView, WorkerView
from dstk.errors import InvalidRequest, LimitReached, StaleRequest
from dstk.lifecycle.actions import Commit, Tell
from dstk.lifecycle.machine import Act, Known, Look, Machine, ReadBack
from dstk.lifecycle.observed import Limits
from dstk.lifecycle.outcome import CommitUncertain, Outcome
from simulation.specs import merge, move, new

LIMITS = Limits()
SERVES = PartitionView("primary", 7, sequence=100, digest=55)
CAUGHT_UP = PartitionView("following", 7, sequence=98, caught_up=True, lag=2)
BEFORE = partition("p", "a", "o", "pod1", 7)
MOVING = assignment(move("p", "pod1", "pod2"), Step.FOLLOWING)


def newer(old: Partition, version: int) -> Partition:
    """The same object, written once more."""
    return changed(old, metadata=changed(old.metadata, resource_version=str(version)))


@dataclass
class Scene:
    """A machine, and what the caches hold around it."""

    subject: Assignment = MOVING
    objects: Mapping[str, Partition] = field(default_factory=lambda: {"p": BEFORE})
    workers: tuple[WorkerView, ...] = (worker("pod1", p=SERVES), worker("pod2", p=CAUGHT_UP))
    keyspace: Any = KEYSPACE

    def __post_init__(self) -> None:
        self.machine = Machine(self.subject, LIMITS, progress_interval=1.0)

    def known(self, **also: Any) -> Known:
        labels: dict[str, Mapping[str, str]] = {view.name: {} for view in self.workers}
        at_hand = Known(
            self.subject, self.keyspace, self.objects, {"default": KEYSPACE}, labels, lambda *_: (), lambda _: (),
            lambda _: 0.0, term=5, now=NOW,
        )  # fmt: skip
        return replace(at_hand, **also)

    def look(self, **also: Any) -> Look:
        step = self.machine.next(self.known(**also))
        assert isinstance(step, Look)
        views = {view.name: view for view in self.workers}
        self.machine.looked([views.get(name) or gone(name) for name in step.workers], self.known(**also))
        return step

    def act(self, **also: Any) -> Act:
        step = self.machine.next(self.known(**also))
        assert isinstance(step, Act)
        return step


def test_it_looks_at_objects_and_workers_before_it_acts() -> None:
    scene = Scene()
    assert scene.look() == Look(("pod1", "pod2"), ("p",))
    assert lines(scene.act().actions)[0].startswith("pod1: fence p")


def test_what_an_action_answers_is_the_next_observation() -> None:
    scene = Scene()
    scene.look()
    fence = next(each for each in scene.act().actions if isinstance(each, Tell))
    outcome = scene.machine.begin()
    outcome.states.append(("pod1", {"p": replace(SERVES, fenced=True, fence_token=1)}))
    scene.machine.acted(fence, NOW)
    scene.machine.came_of(outcome, 5)
    again = scene.act()  # without another look
    assert not any("fence" in line for line in lines(again.actions))


def test_after_a_wait_it_looks_again() -> None:
    scene = Scene(workers=(worker("pod1", p=SERVES), worker("pod2", p=replace(CAUGHT_UP, lag=10**6))))
    scene.look()
    assert scene.act().pause is not None
    scene.look()


def test_the_same_decision_twice_has_it_look() -> None:
    scene = Scene()
    scene.look()
    first = scene.act()
    assert first.pause is None
    assert scene.act().actions == first.actions
    scene.look()


def test_somebody_elses_write_has_it_look_and_its_own_does_not() -> None:
    scene = Scene()
    scene.look()
    outcome = scene.machine.begin()
    outcome.written["p"] = newer(BEFORE, 12)
    assert not scene.machine.partition_changed("p", newer(BEFORE, 12))
    assert not scene.machine.partition_changed("p", newer(BEFORE, 11)), "an older one, late"
    scene.machine.came_of(outcome, 5)
    scene.act()
    assert scene.machine.partition_changed("p", newer(BEFORE, 13))
    scene.look()


def test_a_partition_made_anew_under_its_name_is_another() -> None:
    scene = Scene()
    scene.look()
    other = changed(BEFORE, metadata=changed(BEFORE.metadata, uid="another", resource_version="2"))
    assert scene.machine.partition_changed("p", other)


def test_a_change_while_it_looks_is_not_lost_and_one_after_the_other_holds_nothing_up() -> None:
    scene = Scene()
    for version in range(10, 20):
        step = scene.machine.next(scene.known())
        assert isinstance(step, Look)
        assert scene.machine.partition_changed("p", newer(BEFORE, version))
        scene.machine.looked(scene.workers, scene.known())
        assert lines(scene.act().actions)[0].startswith("pod1: fence p")


def test_a_commit_whose_outcome_is_not_known_is_read_back_before_anything_else() -> None:
    scene = Scene()
    scene.look()
    commit = Commit("p", "9", "pod2", "pod1", 8)
    scene.machine.acted(commit, NOW, CommitUncertain("no answer"))
    scene.machine.look_anew()
    assert scene.machine.next(scene.known()) == ReadBack(("p",))
    scene.machine.was_read(["p"])
    scene.look()
    assert lines(scene.act().actions)[0].startswith("pod1: fence p")


def test_while_it_cannot_be_read_back_nothing_is_done_and_it_is_tried_again() -> None:
    scene = Scene()
    scene.look()
    scene.machine.acted(Commit("p", "9", "pod2", "pod1", 8), NOW, CommitUncertain("no answer"))
    scene.machine.look_anew()
    assert isinstance(scene.machine.next(scene.known()), ReadBack)
    scene.machine.was_read([])
    scene.look()
    waits = scene.act()
    assert (waits.progresses, waits.pause is not None) == (False, True)
    assert scene.machine.next(scene.known()) == ReadBack(("p",))


def test_a_worker_in_another_life_is_gone_unless_its_rows_are_on_disk() -> None:
    for durable in (False, True):
        keyspace = changed(
            KEYSPACE, spec=changed(KEYSPACE.spec, durability=Durability.DISK if durable else Durability.MEMORY)
        )
        scene = Scene(keyspace=keyspace)
        scene.look()
        restarted = replace(worker("pod2"), incarnation="pod2/2")
        scene.workers = (scene.workers[0], restarted)
        scene.machine.look_anew()
        scene.look()
        assert scene.machine._workers["pod2"].gone is not durable


def test_what_a_worker_refuses_is_remembered_and_a_conflict_is_not() -> None:
    follow = Tell("pod2", "pod2/1", "default", "p", 7, Follow(b"a", b"o", 4, "pod1", "pod1:7", "pod1/1"))
    for error, lasts in ((LimitReached("full"), True), (InvalidRequest("no disk"), True), (StaleRequest("old"), False)):
        loading = assignment(move("p", "pod1", "pod2"), Step.LOADING)
        scene = Scene(subject=loading, workers=(worker("pod1", p=SERVES), worker("pod2")))
        scene.look()
        scene.machine.acted(follow, NOW, error)
        ends = any("status Aborted" in line for line in lines(scene.act().actions))
        assert ends is lasts, error


def test_a_new_asks_every_worker_for_all_that_it_holds() -> None:
    fresh = partition("p", "a", "o", None, 0)
    subject = assignment(new("p", primary="pod1"), None)
    held = worker("pod3", p=SERVES)
    scene = Scene(subject=subject, objects={"p": fresh}, workers=(worker("pod1"), held))
    assert scene.look() == Look(("pod1", "pod3"), None)
    decided = scene.act().actions
    assert "status Aborted - HeldElsewhere" in lines(decided)


def test_a_merge_whose_parts_are_gone_asks_every_worker() -> None:
    subject = assignment(merge("p1", "p2", name="whole"), Step.FOLLOWING)
    scene = Scene(subject=subject, objects={}, workers=(worker("pod1"), worker("pod2")), keyspace=None)
    assert set(scene.look().workers) == {"pod1", "pod2"}


def test_an_assignment_whose_keyspace_is_gone_says_so_once() -> None:
    scene = Scene(keyspace=None)
    scene.look()
    stalled = scene.act()
    assert "status Stalled following KeyspaceGone" in lines(stalled.actions)
    assert stalled.pause == LIMITS.wait_seconds


def test_mere_progress_is_written_once_in_a_while() -> None:
    scene = Scene()
    status = scene.subject.status
    further = changed(status, progress=Progress(rows_copied=5))
    scene.machine.wrote_status(status, None, NOW)
    assert not scene.machine.is_news(further, NOW + 0.5)
    assert scene.machine.is_news(further, NOW + 1.0)
    stalled = changed(status, phase=AssignmentPhase.STALLED)
    assert scene.machine.is_news(stalled, NOW)


def test_a_silent_worker_is_remembered_to_be_silent_since_it_was_first_seen_so() -> None:
    scene = Scene(workers=(worker("pod1", p=SERVES), silent("pod2")))
    scene.look()
    scene.act()
    scene.machine.look_anew()
    later = NOW + LIMITS.destination_silent_seconds + 1
    scene.look(now=later)
    assert any("DestinationSilent" in line for line in lines(scene.act(now=later).actions))


def test_a_fence_that_was_tried_counts_whatever_came_of_it() -> None:
    scene = Scene()
    scene.look()
    fence = Tell("pod1", "pod1/1", "default", "p", 7, Fence(1))
    scene.machine.acted(fence, NOW, StaleRequest("an older token"))
    scene.machine.came_of(Outcome(), 5)
    assert scene.machine._memory.fence_tries == 1


def test_what_it_wrote_once_is_no_measure_of_what_it_has_seen_since() -> None:
    scene = Scene()
    scene.look()
    outcome = scene.machine.begin()
    outcome.written["p"] = newer(BEFORE, 12)
    scene.machine.came_of(outcome, 5)
    scene.machine.look_anew()
    scene.objects = {"p": newer(BEFORE, 15)}
    scene.look()
    assert not scene.machine.partition_changed("p", newer(BEFORE, 15)), "seen already"

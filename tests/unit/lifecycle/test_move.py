"""InterWorkerMove, row by row: what is seen, and what is done about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import (
    BEGAN,
    KEYSPACE,
    NOW,
    assignment,
    gone,
    lines,
    observed,
    partition,
    silent,
    since,
    statuses,
    worker,
)

from dstk.api import AssignmentPhase, Step
from dstk.api.validation import Refusal
from dstk.control.commands import Fence, Follow
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import decide
from dstk.lifecycle.actions import Record, Tell
from dstk.lifecycle.memory import Memory, Refused
from dstk.lifecycle.observed import Limits, Observed
from simulation.specs import move

LOADING, FOLLOWING, PROXYING = Step.LOADING, Step.FOLLOWING, Step.PROXYING

SERVES = PartitionView("primary", 7, sequence=100, digest=55)
FENCED = replace(SERVES, fenced=True, fence_token=3)
FENCED_AGAIN = replace(FENCED, fence_token=4)
PASSES_ON = PartitionView("proxy", 8, quiet_seconds=5)
QUIET = replace(PASSES_ON, quiet_seconds=61)
LOADS = PartitionView("loading", 7, rows_copied=10, bytes_copied=1000, bytes_total=9000)
CAUGHT_UP = PartitionView("following", 7, sequence=98, caught_up=True, lag=2, digest=44)
FAR_BEHIND = replace(CAUGHT_UP, lag=100_000)
DRAINED = PartitionView("following", 7, sequence=100, caught_up=True, digest=55)
DIVERGED = replace(DRAINED, digest=56)
BROKEN = replace(CAUGHT_UP, follow_error="connection reset")
RESTARTED = PartitionView("following", 7, sequence=90, caught_up=True, follow_error="the worker was restarted")
OWNS = PartitionView("primary", 8, sequence=100, digest=55)

BEFORE = partition("p", "a", "o", "pod1", 7)
AFTER = partition("p", "a", "o", "pod2", 8, proxy="pod1")
BACK = partition("p", "a", "o", "pod1", 9)
ELSEWHERE = partition("p", "a", "o", "pod3", 8)

OURS = Memory(fenced_at=NOW - 0.5, fence_token=3, fence_tries=1)
TOO_LONG = replace(OURS, fenced_at=NOW - 2.5)
NO_ROOM = Refused("pod2", Follow, "pod2 refused to follow: room for 7 bytes", no_room=True)
WRONG = Refused("pod2", Follow, "pod2 refused to follow: it has no data directory", lasting=True)
LAST_TRY = replace(TOO_LONG, fence_tries=5)
JUST_LIFTED = Memory(unfenced_at=NOW - 1, fence_tries=1)
JUST_TRIED = Memory(followed_at=NOW - 0.5, follow_tries=1)
TRIES_USED = Memory(followed_at=NOW - 0.5, follow_tries=5)


def at(
    step: Step | None,
    source: PartitionView | WorkerView | None,
    destination: PartitionView | WorkerView | None,
    object_: object = BEFORE,
    phase: AssignmentPhase | None = None,
    **also: object,
) -> Observed:
    """pod1 is the source, pod2 the destination; a view of the partition stands for a worker that answers."""
    views = [_worker("pod1", source), _worker("pod2", destination)]
    objects = [] if object_ is None else [object_]
    return observed(assignment(move("p", "pod1", "pod2"), step, phase), objects, views, **also)  # type: ignore[arg-type]


def _worker(name: str, seen: PartitionView | WorkerView | None) -> WorkerView:
    if isinstance(seen, WorkerView):
        return seen
    return worker(name) if seen is None else worker(name, p=seen)


LIFT = ["pod1: fence p epoch 7 token 4", "touch p", "pod1: unfence p epoch 7 token 4"]
DROP = ["pod2: drop p epoch 7"]
FLIP = [
    "commit p: primary pod2, proxy pod1, epoch 8",
    "pod2: promote p epoch 8 sequence 100 digest 55",
    "pod1: proxy p epoch 8 to pod2",
    "p is ready",
    "status Running proxying",
]
LATE = Limits(deadline_seconds=5)

MATRIX = {
    # not begun
    "begins": (at(None, SERVES, None), ["status Running loading"]),
    "refused": (at(None, SERVES, None, refusal=Refusal("NotTheOwner", "…")), ["status Aborted - NotTheOwner"]),
    "refused for good, behind others": (
        at(None, SERVES, None, refusal=Refusal("InvalidSpec", "…"), ahead=("a0",)),
        ["status Aborted - InvalidSpec"],
    ),
    "refused for now, behind others": (
        at(None, SERVES, None, refusal=Refusal("NotAssigned", "…"), ahead=("a0",)),
        ["status Pending - Waiting", "wait for Waiting"],
    ),
    "waits for older": (at(None, SERVES, None, ahead=("a0",)), ["status Pending - Waiting", "wait for Waiting"]),
    "deleted before it began": (at(None, SERVES, None, cancelled=True), ["status Aborted - Cancelled"]),
    # loading
    "destination is empty": (at(LOADING, SERVES, None), ["pod2: follow p epoch 7 at pod1"]),
    "destination loads": (
        at(LOADING, SERVES, LOADS),
        ["status Running loading", "wait for the destination to catch up"],
    ),
    "snapshot is there": (at(LOADING, SERVES, CAUGHT_UP), ["status Running following"]),
    "stream broke": (at(LOADING, SERVES, BROKEN), ["pod2: follow p epoch 7 at pod1"]),
    "stream just broke": (
        at(LOADING, SERVES, BROKEN, memory=JUST_TRIED),
        ["status Running loading", "wait for another try to follow"],
    ),
    "stream breaks again and again": (
        at(LOADING, SERVES, BROKEN, memory=TRIES_USED),
        [*DROP, "status Aborted loading FollowFailed"],
    ),
    "destination holds an older copy": (
        at(LOADING, SERVES, replace(CAUGHT_UP, epoch=5)),
        ["pod2: drop p epoch 5"],
    ),
    "destination still passes on": (
        at(LOADING, SERVES, PartitionView("proxy", 6)),
        ["pod2: release p epoch 7"],
    ),
    "destination believes it is primary": (
        at(LOADING, SERVES, PartitionView("primary", 5)),
        ["pod2: proxy p epoch 7 to pod1", "pod2: release p epoch 7"],
    ),
    "source is fenced from before": (at(LOADING, FENCED, LOADS), LIFT),
    # following
    "lag is large": (
        at(FOLLOWING, SERVES, FAR_BEHIND),
        ["status Running following", "wait for the destination to catch up"],
    ),
    "lag is small": (at(FOLLOWING, SERVES, CAUGHT_UP), ["pod1: fence p epoch 7 token 1"]),
    "lag is small once more": (
        at(FOLLOWING, replace(FENCED, fenced=False), CAUGHT_UP, memory=replace(JUST_LIFTED, unfenced_at=NOW - 6)),
        ["pod1: fence p epoch 7 token 4"],
    ),
    "fence was just lifted": (
        at(FOLLOWING, SERVES, CAUGHT_UP, memory=JUST_LIFTED),
        ["status Running following", "wait for the destination to catch up"],
    ),
    "fenced, not drained": (
        at(FOLLOWING, FENCED, CAUGHT_UP, memory=OURS),
        ["pod2: await p epoch 7 sequence 100"],
    ),
    "drained": (at(FOLLOWING, FENCED, DRAINED, memory=OURS), FLIP),
    "drained, but rows differ": (
        at(FOLLOWING, FENCED, DIVERGED, memory=OURS),
        [*LIFT, *DROP, "status Aborted following DigestMismatch"],
    ),
    "fence takes too long": (at(FOLLOWING, FENCED, CAUGHT_UP, memory=TOO_LONG), LIFT),
    "fence takes too long again and again": (
        at(FOLLOWING, FENCED, CAUGHT_UP, memory=LAST_TRY),
        [*LIFT, *DROP, "status Aborted following FenceTimedOut"],
    ),
    "fenced, source restarted": (at(FOLLOWING, FENCED, BROKEN, memory=OURS), LIFT),
    "fenced, source and destination restarted": (at(FOLLOWING, FENCED, RESTARTED, memory=OURS), LIFT),
    "fenced, source restarted, no operator knows of it yet": (
        at(FOLLOWING, replace(FENCED, fence_token=1), BROKEN),
        ["pod1: fence p epoch 7 token 2"],
    ),
    "fenced, stream breaks again and again": (
        at(FOLLOWING, FENCED, BROKEN, memory=replace(OURS, fence_tries=5)),
        [*LIFT, *DROP, "status Aborted following FenceTimedOut"],
    ),
    "drained, and the stream broke": (
        at(FOLLOWING, FENCED, replace(DRAINED, follow_error="connection reset"), memory=OURS),
        FLIP,
    ),
    "fenced, source restarted, commit unknown": (
        at(FOLLOWING, FENCED, BROKEN, memory=OURS, uncertain=True),
        ["status Running following", "wait for the outcome of the commit"],
    ),
    "fenced, source restarted, the destination was promoted": (
        at(FOLLOWING, FENCED, OWNS, memory=OURS),
        ["status Running following", "wait for the object to show the latest commit"],
    ),
    "fenced, destination silent": (
        at(FOLLOWING, FENCED, silent("pod2"), memory=OURS),
        ["status Running following", "wait for the destination"],
    ),
    # another operator takes over
    "fence of another operator": (at(FOLLOWING, FENCED, DRAINED), ["pod1: fence p epoch 7 token 4"]),
    "fence of another driver of this operator": (
        at(FOLLOWING, FENCED_AGAIN, DRAINED, memory=OURS),
        ["pod1: fence p epoch 7 token 5"],
    ),
    "source knows only an older operator": (
        at(FOLLOWING, worker("pod1", term=4, p=FENCED), DRAINED, memory=OURS),
        ["pod1: fence p epoch 7 token 4"],
    ),
    "another operator has committed since the object was read": (
        at(FOLLOWING, PASSES_ON, OWNS, BEFORE, memory=OURS),
        ["status Running following", "wait for the object to show the latest commit"],
    ),
    "source knows only a newer operator": (
        at(FOLLOWING, worker("pod1", term=6, p=FENCED), DRAINED, memory=OURS),
        ["pod1: fence p epoch 7 token 4"],
    ),
    # commit whose outcome is not known
    "commit unknown": (
        at(FOLLOWING, FENCED, DRAINED, memory=OURS, uncertain=True),
        ["status Running following", "wait for the outcome of the commit"],
    ),
    "commit had not happened": (at(FOLLOWING, FENCED, DRAINED, memory=OURS), FLIP),
    "commit had happened": (
        at(FOLLOWING, FENCED, DRAINED, AFTER, memory=OURS),
        ["pod2: promote p epoch 8 sequence 100 digest 55"],
    ),
    "commit had happened, source is gone": (
        at(FOLLOWING, gone("pod1"), DRAINED, AFTER),
        ["pod2: promote p epoch 8 sequence 100 digest 55"],
    ),
    "promoted": (
        at(FOLLOWING, FENCED, OWNS, AFTER),
        ["pod1: proxy p epoch 8 to pod2", "p is ready", "status Running proxying"],
    ),
    "promoted, source is gone": (
        at(FOLLOWING, gone("pod1"), OWNS, AFTER),
        ["p is ready", "status Running proxying"],
    ),
    "promoted, source silent": (
        at(FOLLOWING, silent("pod1"), OWNS, AFTER),
        ["status Running following", "wait for both workers"],
    ),
    "committed, destination silent for long": (
        at(FOLLOWING, FENCED, silent("pod2"), AFTER, memory=since(pod2=31)),
        ["status Stalled following WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "committed, destination restarted with its copy": (
        at(FOLLOWING, FENCED, replace(DRAINED, caught_up=False, follow_error="restarted"), AFTER),
        ["pod2: follow p epoch 7 at pod1"],
    ),
    "committed, destination restarted and is behind": (
        at(FOLLOWING, FENCED, replace(DRAINED, sequence=90, follow_error="restarted"), AFTER),
        ["pod2: follow p epoch 7 at pod1"],
    ),
    "committed, destination catches up again": (
        at(FOLLOWING, FENCED, replace(LOADS, bytes_copied=0), AFTER),
        ["status Running following", "wait for both workers"],
    ),
    "committed, destination has it all and the stream broke": (
        at(FOLLOWING, gone("pod1"), replace(DRAINED, follow_error="connection reset"), AFTER),
        ["pod2: promote p epoch 8 sequence 100 digest 55"],
    ),
    "committed, destination lost the copy": (
        at(FOLLOWING, FENCED, None, AFTER),
        ["pod1: serve p epoch 8", "commit p: primary pod1, epoch 9"],
    ),
    "committed, destination lost the copy, source keeps it": (
        at(FOLLOWING, replace(FENCED, epoch=8), None, AFTER),
        ["commit p: primary pod1, epoch 9"],
    ),
    "committed, destination is gone": (
        at(FOLLOWING, FENCED, gone("pod2"), AFTER),
        ["pod1: serve p epoch 8", "commit p: primary pod1, epoch 9"],
    ),
    "somebody else says that it has moved": (
        at(FOLLOWING, SERVES, CAUGHT_UP, AFTER),
        ["pod1: serve p epoch 8", "commit p: primary pod1, epoch 9"],
    ),
    "taken back": (
        at(FOLLOWING, FENCED, gone("pod2"), BACK),
        [
            "pod1: serve p epoch 9",
            "pod1: fence p epoch 9 token 4",
            "touch p",
            "pod1: unfence p epoch 9 token 4",
            "p is ready, DataLost",
            "status Aborted following DestinationLost",
        ],
    ),
    "committed, both are lost": (
        at(FOLLOWING, gone("pod1"), None, AFTER),
        ["status Aborted following BothLost"],
    ),
    "committed and cancelled": (
        at(FOLLOWING, FENCED, DRAINED, AFTER, cancelled=True),
        ["pod2: promote p epoch 8 sequence 100 digest 55"],
    ),
    "committed and late": (
        at(FOLLOWING, FENCED, DRAINED, AFTER, limits=LATE),
        ["pod2: promote p epoch 8 sequence 100 digest 55"],
    ),
    # aborts before the commit
    "cancelled": (at(LOADING, SERVES, LOADS, cancelled=True), [*DROP, "status Aborted loading Cancelled"]),
    "cancelled behind a fence": (
        at(FOLLOWING, FENCED, DRAINED, memory=OURS, cancelled=True),
        [*LIFT, *DROP, "status Aborted following Cancelled"],
    ),
    "cancelled, source knows only an older operator": (
        at(FOLLOWING, worker("pod1", term=4, p=replace(SERVES, fence_token=3)), CAUGHT_UP, cancelled=True),
        [*LIFT, *DROP, "status Aborted following Cancelled"],
    ),
    "late": (
        at(FOLLOWING, SERVES, FAR_BEHIND, limits=LATE),
        [*DROP, "status Aborted following DeadlineExceeded"],
    ),
    "late, destination silent": (
        at(FOLLOWING, FENCED, silent("pod2"), memory=replace(OURS, begun_at=NOW - 10), limits=LATE),
        [*LIFT, "status Aborted following DeadlineExceeded"],
    ),
    "destination is gone": (
        at(FOLLOWING, FENCED, gone("pod2"), memory=OURS),
        [*LIFT, "status Aborted following DestinationLost"],
    ),
    "destination restarted": (
        at(FOLLOWING, SERVES, None),
        ["status Aborted following DestinationLost"],
    ),
    "destination silent for a moment": (
        at(LOADING, SERVES, silent("pod2"), memory=since(pod2=4)),
        ["status Running loading", "wait for the destination to catch up"],
    ),
    "destination silent": (
        at(LOADING, SERVES, silent("pod2"), memory=since(pod2=6)),
        ["status Aborted loading DestinationSilent"],
    ),
    "fenced, destination silent for some seconds": (
        at(FOLLOWING, FENCED, silent("pod2"), memory=replace(OURS, silent_since={"pod2": NOW - 6})),
        [*LIFT, "status Aborted following DestinationSilent"],
    ),
    "destination has no room": (
        at(LOADING, SERVES, None, memory=Memory(refused=NO_ROOM)),
        ["status Aborted loading NoRoom"],
    ),
    "destination's room is taken while it loads": (
        at(LOADING, SERVES, replace(LOADS, follow_error="its room is taken", no_room=True)),
        [*DROP, "status Aborted loading NoRoom"],
    ),
    "destination's room is taken behind a fence": (
        at(FOLLOWING, FENCED, replace(DRAINED, follow_error="its room is taken", no_room=True), memory=OURS),
        [*LIFT, *DROP, "status Aborted following NoRoom"],
    ),
    "destination cannot follow": (
        at(LOADING, SERVES, None, memory=Memory(refused=WRONG)),
        ["status Aborted loading WorkerRefused"],
    ),
    "destination refuses what it may do later": (
        at(LOADING, FENCED, LOADS, memory=Memory(refused=Refused("pod1", Fence, "pod1 refused to fence: …"))),
        ["status Running loading", *LIFT],
    ),
    "destination answers again": (
        at(LOADING, SERVES, None, phase=AssignmentPhase.STALLED),
        ["pod2: follow p epoch 7 at pod1", "status Running loading"],
    ),
    "source is gone": (at(LOADING, gone("pod1"), LOADS), ["touch p", *DROP, "status Aborted loading SourceLost"]),
    "source restarted": (at(FOLLOWING, None, CAUGHT_UP), ["touch p", *DROP, "status Aborted following SourceLost"]),
    "source silent": (at(LOADING, silent("pod1"), LOADS), ["status Running loading", "wait for the source"]),
    "source silent for long": (
        at(LOADING, silent("pod1"), LOADS, memory=since(pod1=31)),
        ["status Stalled loading WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "given to somebody else": (
        at(LOADING, SERVES, LOADS, ELSEWHERE),
        [*DROP, "status Aborted loading PartitionChanged"],
    ),
    "object deleted": (
        at(LOADING, SERVES, LOADS, None),
        [*DROP, "status Aborted loading PartitionChanged"],
    ),
    # proxying
    "stale clients": (
        at(PROXYING, PASSES_ON, OWNS, AFTER),
        ["status Running proxying", "wait for stale clients to learn the new address"],
    ),
    "quiet": (
        at(PROXYING, QUIET, OWNS, AFTER),
        ["pod1: release p epoch 8", "commit p: primary pod2, epoch 8", "status Completed completed"],
    ),
    "proxying, cancelled": (
        at(PROXYING, PASSES_ON, OWNS, AFTER, cancelled=True),
        ["status Running proxying", "wait for stale clients to learn the new address"],
    ),
    "proxying, late": (
        at(PROXYING, PASSES_ON, OWNS, AFTER, limits=LATE),
        ["pod1: release p epoch 8", "commit p: primary pod2, epoch 8", "status Completed completed"],
    ),
    "source was not told": (at(PROXYING, FENCED, OWNS, AFTER), ["pod1: proxy p epoch 8 to pod2"]),
    "proxying, destination restarted": (
        at(PROXYING, PASSES_ON, replace(OWNS, fenced=True, fence_token=1), AFTER),
        ["pod2: fence p epoch 8 token 2", "touch p", "pod2: unfence p epoch 8 token 2"],
    ),
    "proxying, source is gone": (
        at(PROXYING, gone("pod1"), OWNS, AFTER),
        ["commit p: primary pod2, epoch 8", "status Completed completed"],
    ),
    "proxying, source silent": (
        at(PROXYING, silent("pod1"), OWNS, AFTER),
        ["status Running proxying", "wait for the source"],
    ),
    "proxying, source silent for long": (
        at(PROXYING, silent("pod1"), OWNS, AFTER, memory=since(pod1=31)),
        ["status Stalled proxying WorkerUnreachable", "wait for WorkerUnreachable"],
    ),
    "proxying, source silent, late": (
        at(PROXYING, silent("pod1"), OWNS, AFTER, limits=LATE),
        ["commit p: primary pod2, epoch 8", "status Completed completed"],
    ),
    "destination lost what it served": (
        at(PROXYING, PASSES_ON, None, AFTER),
        ["pod1: release p epoch 8", "commit p: primary pod2, epoch 8", "status Completed completed"],
    ),
}


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_seen_decides(case: str) -> None:
    seen, expected = MATRIX[case]
    assert lines(decide(seen, NOW)) == expected


@pytest.mark.parametrize(
    ("step", "from_pod", "to_pod"),
    [
        ("loading", "primary", "loading"),
        ("following", "primary", "following"),
        ("proxying", "proxy", "primary"),
        ("completed", "disconnected", "primary"),
    ],
)
def test_status_has_the_seeds_fields(step: str, from_pod: str, to_pod: str) -> None:
    reached = {
        "loading": at(None, SERVES, None),
        "following": at(LOADING, SERVES, CAUGHT_UP),
        "proxying": at(FOLLOWING, FENCED, DRAINED, memory=OURS),
        "completed": at(PROXYING, QUIET, OWNS, AFTER),
    }
    status = statuses(decide(reached[step], NOW))
    assert status["move"] == {"status": step, "fromPod": from_pod, "toPod": to_pod}


def test_progress_is_what_the_destination_reports() -> None:
    status = statuses(decide(at(LOADING, SERVES, LOADS), NOW))
    assert status["progress"] == {"rowsCopied": 10, "bytesCopied": 1000, "bytesTotal": 9000}


def test_pause_of_writers_is_what_the_source_measured() -> None:
    source = replace(PASSES_ON, last_pause_seconds=0.0125)
    status = statuses(decide(at(PROXYING, source, OWNS, AFTER), NOW))
    assert status["progress"]["writePauseMs"] == 12.5  # type: ignore[index]


def test_a_stalled_move_says_who_is_silent_and_since_when() -> None:
    status = statuses(decide(at(LOADING, silent("pod1"), LOADS, memory=since(pod1=31)), NOW))
    assert status["message"] == (
        "pod1 has not answered since 23:59:39Z; goes on when it answers, or when its pod is gone"
    )


def test_an_ended_move_has_nothing_to_do() -> None:
    seen = at(PROXYING, QUIET, OWNS, AFTER, phase=AssignmentPhase.COMPLETED)
    assert decide(seen, NOW) == []


def test_when_it_began_and_ended_is_kept() -> None:
    status = statuses(decide(at(PROXYING, QUIET, OWNS, AFTER), NOW))
    assert (status["startedAt"], status["finishedAt"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z")
    assert BEGAN.timestamp() + 10 == NOW
    assert KEYSPACE.spec.proxy_seconds == 60


def test_the_source_that_is_taken_back_says_what_the_destination_may_have_lost() -> None:
    decided = decide(at(FOLLOWING, FENCED, gone("pod2"), BACK), NOW)
    events = [action for action in decided if isinstance(action, Record) and action.partition]
    assert [(event.type, event.reason, event.partition) for event in events] == [("Warning", "DataLost", "p")]


def test_who_could_not_catch_up_behind_a_fence_says_why() -> None:
    last = replace(LAST_TRY, fenced_at=NOW)
    messages = [
        statuses(decide(at(FOLLOWING, FENCED, here, memory=memory), NOW))["message"]
        for here, memory in ((CAUGHT_UP, LAST_TRY), (BROKEN, last))
    ]
    assert messages == [
        "pod2 did not catch up behind a fence, 5 times: fence_max_seconds (2 s) were over; lower the write load or raise it",
        "pod2 did not catch up behind a fence, 5 times: its stream broke, the last time by: connection reset",
    ]


@pytest.mark.parametrize("case", ["destination has no room", "destination's room is taken while it loads"])
def test_a_move_that_finds_no_room_says_what_the_worker_said(case: str) -> None:
    seen, _ = MATRIX[case]
    message = str(statuses(decide(seen, NOW))["message"])
    assert "room" in message
    assert message.endswith("; pod1 serves on")


def test_what_waits_says_for_what_and_what_was_refused() -> None:
    refused = Memory(refused=Refused("pod1", Fence, "pod1 refused to fence: its disk is full"))
    seen = at(FOLLOWING, SERVES, FAR_BEHIND, memory=refused)
    said = statuses(decide(seen, NOW))["message"]
    assert said == "waits for the destination to catch up; pod1 refused to fence: its disk is full"


def test_the_destination_is_told_how_much_room_it_takes() -> None:
    decided = decide(at(LOADING, replace(SERVES, size=4711), None), NOW)
    assert [tell.command.size for tell in decided if isinstance(tell, Tell) and isinstance(tell.command, Follow)] == [
        4711
    ]

"""What a driver remembers between two decisions."""

from __future__ import annotations

from functools import reduce

from dstk.control import commands
from dstk.lifecycle import actions
from dstk.lifecycle.memory import Memory, Refused


def tell(command: commands.Command) -> actions.Tell:
    return actions.Tell("pod1", "pod1/1", "default", "p", 7, command)


def granted(*tokens: int) -> Memory:
    """After fences with these tokens; a negative one was refused, or not answered."""
    memory = Memory()
    for token in tokens:
        memory = memory.after(tell(commands.Fence(abs(token))), 100, failed=token < 0)
    return memory


FENCE, UNFENCE = tell(commands.Fence()), tell(commands.Unfence())
FOLLOW = tell(commands.Follow(b"", b"", 4, "pod2", "pod2:7", "pod2/1"))
AWAIT = tell(commands.AwaitApplied(9, 1.0))


def after(*done: actions.Action) -> Memory:
    """One action a second, from 100 on."""
    return reduce(lambda memory, each: memory.after(each[1], each[0]), enumerate(done, start=100), Memory())


def test_a_fence_is_as_old_as_its_first_call() -> None:
    assert (after(FENCE, FENCE).fenced_at, after(FENCE, FENCE).fence_tries) == (100, 1)


def test_a_fence_that_is_lifted_is_another_try() -> None:
    memory = after(FENCE, UNFENCE, FENCE)
    assert (memory.fenced_at, memory.unfenced_at, memory.fence_tries) == (102, 101, 2)


def test_a_token_is_ours_only_once_the_source_has_said_so() -> None:
    assert granted(3, -4).fence_token == 3
    assert granted(-4).fenced_at == 100
    assert granted(3, -4, 5).fence_token == 5


def test_tries_to_follow_count_until_the_stream_has_served() -> None:
    assert after(FOLLOW, FOLLOW).follow_tries == 2
    assert after(FOLLOW, FOLLOW, AWAIT).follow_tries == 0


def test_other_actions_leave_no_trace() -> None:
    assert after(actions.Wait(1, "nothing"), tell(commands.Release())) == Memory()


def test_silence_is_counted_from_its_beginning() -> None:
    memory = Memory().saw(["pod1"], 10).saw(["pod1", "pod2"], 20)
    assert memory.silent_since == {"pod1": 10, "pod2": 20}
    assert memory.saw(["pod2"], 30).silent_since == {"pod2": 20}


def test_a_refusal_is_remembered_until_the_worker_does_it() -> None:
    refused = Refused("pod1", commands.Follow, "pod1 refused to follow: …", no_room=True)
    memory = Memory().after(FOLLOW, 100, failed=True, refused=refused)
    assert memory.refused == refused
    assert memory.after(FENCE, 101).refused == refused, "something else"
    assert memory.after(FOLLOW, 101, failed=True).refused == refused, "nobody knows what came of it"
    assert memory.after(FOLLOW, 101).refused is None

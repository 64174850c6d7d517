"""Operators that overlap: whose actions a worker carries out, in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from dstk.errors import StaleRequest
from dstk.worker.terms import TermGate


class Seen:
    """What a node remembers of terms."""

    def __init__(self) -> None:
        self.highest = 0

    def see(self, term: int) -> None:
        if term < self.highest:
            raise StaleRequest("over")
        self.highest = term


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Action:
    """One that is under way until it is let go."""

    def __init__(self, threads: ThreadPoolExecutor, gate: TermGate, term: int) -> None:
        self.begun, self._go = threading.Event(), threading.Event()
        self.done: Future[Any] = threads.submit(self._run, gate, term)

    def _run(self, gate: TermGate, term: int) -> None:
        with gate.acting(term):
            self.begun.set()
            assert self._go.wait(60)

    def end(self) -> None:
        self._go.set()
        self.done.result(60)


def waits(threads: ThreadPoolExecutor, call: Callable[[], None], until: Callable[[], bool]) -> Future[None]:
    """A call that is under way once that holds."""
    waiting = threads.submit(call)
    while not until():
        assert not waiting.done()
    return waiting


def test_actions_of_one_term_run_beside_each_other(threads: ThreadPoolExecutor) -> None:
    gate = TermGate(Seen().see)
    both = [Action(threads, gate, 3) for _ in range(2)]
    assert all(action.begun.wait(60) for action in both)
    for action in both:
        action.end()


def test_a_later_term_waits_for_what_is_under_way_and_nothing_of_the_earlier_one_comes_after_it(
    threads: ThreadPoolExecutor,
) -> None:
    seen = Seen()
    gate = TermGate(seen.see)
    earlier = Action(threads, gate, 3)
    assert earlier.begun.wait(60)
    later = waits(threads, lambda: gate.see(4), lambda: gate._latest == 4)
    assert seen.highest == 3, "a deposed operator's action is under way"
    with pytest.raises(StaleRequest), gate.acting(3):
        raise AssertionError("carried out between the check and the later operator's word")
    earlier.end()
    later.result(60)
    assert seen.highest == 4
    with pytest.raises(StaleRequest):
        gate.see(3)


def test_one_that_waits_is_refused_when_a_yet_later_one_comes(threads: ThreadPoolExecutor) -> None:
    gate = TermGate(Seen().see)
    earlier = Action(threads, gate, 3)
    assert earlier.begun.wait(60)
    middle = waits(threads, lambda: gate.see(4), lambda: gate._latest == 4)
    last = waits(threads, lambda: gate.see(5), lambda: gate._latest == 5)
    earlier.end()
    last.result(60)
    with pytest.raises(StaleRequest):
        middle.result(60)


def test_what_the_node_remembers_from_an_earlier_life_counts() -> None:
    seen = Seen()
    seen.highest = 9
    with pytest.raises(StaleRequest):
        TermGate(seen.see).see(8)


def test_an_action_that_fails_holds_nobody_up() -> None:
    gate = TermGate(Seen().see)
    with pytest.raises(ZeroDivisionError), gate.acting(3):
        raise ZeroDivisionError
    gate.see(4)

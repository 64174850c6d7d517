"""Simulated time, and everything that waits for it: calls in order of time, tasks as generators, answers to come."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any, TypeAlias

__all__ = ["BEGINNING", "Clock", "Failed", "Process", "Reply", "Steps", "Task"]

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class Failed(Exception):
    """A call was refused, or got no answer."""


class Process:
    """What a task or a model runs in: it may stand still for a while, and it may end."""

    def __init__(self) -> None:
        self.alive = True
        self.paused_until = 0.0


class Reply:
    """An answer to come: a value, or why there is none. The first one counts."""

    __slots__ = ("_error", "_then", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: Any = None
        self._error: Failed | None = None
        self._then: list[Callable[[], None]] = []

    def succeed(self, value: Any = None) -> None:
        if not self.done:
            self.done, self._value = True, value
            for each in self._then:
                each()

    def fail(self, error: Failed) -> None:
        if not self.done:
            self._error = error
            self.succeed()

    def then(self, call: Callable[[], None]) -> None:
        if self.done:
            call()
        else:
            self._then.append(call)

    def result(self) -> Any:
        """The value. Raises what it failed with."""
        if self._error is not None:
            raise self._error
        return self._value


Steps: TypeAlias = Generator["float | Reply", None, Any]
"""What a task does: it yields how long to sleep, or a Reply to wait for."""


class Clock:
    """Calls what is due, one after the other. What is due at the same time comes in an order that the seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = BEGINNING
        self._queue: list[tuple[float, float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self.random.random(), self._count, call, arguments))

    def run_one(self) -> None:
        """The next call."""
        self.now, _, _, call, arguments = heapq.heappop(self._queue)
        call(*arguments)

    def spawn(self, process: Process, steps: Steps, delay: float = 0.0) -> Task:
        task = Task(self, process, steps)
        self.after(delay, task.step)
        return task


class Task:
    """One thread of what a process does. It ends with its process, in the middle of whatever it was doing."""

    __slots__ = ("_clock", "_process", "_steps", "ended")

    def __init__(self, clock: Clock, process: Process, steps: Steps) -> None:
        self._clock = clock
        self._process = process
        self._steps = steps
        self.ended = False

    def step(self) -> None:
        process, clock = self._process, self._clock
        if self.ended or not process.alive:
            return
        if process.paused_until > clock.now:
            clock.after(process.paused_until - clock.now, self.step)
            return
        try:
            what = next(self._steps)
        except StopIteration:
            self.ended = True
            return
        if isinstance(what, Reply):
            what.then(self._woken)
        else:
            clock.after(what, self.step)

    def _woken(self) -> None:
        # Never from within what woke it: that may be in the middle of a change.
        self._clock.after(0.0, self.step)

    def stop(self) -> None:
        self.ended = True

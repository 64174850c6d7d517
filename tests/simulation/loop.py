"""Simulated time: an event loop whose clock jumps to what is due next, and processes that stand still or end anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["BEGINNING", "LoopClock", "Process", "VirtualLoop"]

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """Whatever is started in it stands still with it, and ends with it in the middle of whatever it was doing.

    The event loop runs a callback in the context in which it was scheduled, so a process is a variable of the context.
    """

    def __init__(self) -> None:
        self.alive = True
        self.paused_until = 0.0
        self.context = contextvars.copy_context()
        self.context.run(_process.set, self)

    def spawn(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return loop.create_task(work, context=self.context)


class _Task(asyncio.Task[Any]):
    """asyncio keeps tasks in sets: with a number for a hash they are gone through in the same order each time."""

    def __init__(self, work: Any, number: int, **more: Any) -> None:
        self._number = number
        super().__init__(work, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one callback after the other, `checked` after each, and `passed` when time has. Nothing in it waits for
    anything real."""

    def __init__(self, checked: Callable[[], None], passed: Callable[[float], None]) -> None:
        super().__init__()
        self._now = 0.0
        self._checked = checked
        self._passed = passed
        self._tasks: list[asyncio.Task[Any]] = []
        self._made = 0
        self._outside = contextvars.Context()
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        return self._now

    def outside(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        """Have it called later, whatever becomes of the process that says so: a message under way."""
        self.call_later(seconds, call, *arguments, context=self._outside)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that belongs to no process."""
        return self.create_task(work, context=self._outside.copy())

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        self._made += 1
        task = _Task(work, self._made, loop=loop, **more)
        # What its process has ended with is never done. It is kept, so that nothing of it runs when memory is tidied up.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.append(task)
        if len(self._tasks) > 2000:
            self._tasks = [each for each in self._tasks if not each.done()]
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if handle._cancelled:
                self._timer_cancelled_count -= 1
                return
            if handle._when > self._now:
                self._now = handle._when
                self._passed(self._now)
            ready.append(handle)
        handle = ready.popleft()
        if handle._cancelled:
            return
        process = handle._context.get(_process)
        if process is not None:
            if not process.alive:
                return
            if process.paused_until > self._now:
                self.call_at(process.paused_until, ready.append, handle, context=self._outside)
                return
        handle._run()
        self._checked()

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def _process_events(self, events: object) -> None:
        """There are none."""

    def _check_closed(self) -> None:
        """What is tidied up after the end may still ask for something; nobody will do it."""

    def close(self) -> None:
        for task in self._tasks:
            work: Any = task.get_coro()
            for _ in range(20):  # What waits while it is closed is closed again.
                try:
                    work.close()
                except RuntimeError:
                    continue
                except Exception:  # It ends as it likes: nobody is left to be told.
                    pass
                break
        self._tasks.clear()
        super().close()


class LoopClock:
    """The loop's time as a :class:`dstk.clock.Clock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.monotonic = loop.time

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.monotonic())

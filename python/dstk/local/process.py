"""Child processes: started so that none outlives its parent, and started again when they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dstk.local import launch

log = logging.getLogger(__name__)

_TAIL_BYTES = 2000


class Child:
    """One run of a command, in a session of its own; its output is appended to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self._process = process
        self.log_path = log_path
        self.started = time.monotonic()

    @classmethod
    async def start(cls, command: Sequence[str], log_path: Path) -> Child:
        """Run `command`; it is killed when this process dies, however it dies."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid())]
        with log_path.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *launcher,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process, log_path)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the process itself; nothing happens when it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, grace_seconds: float) -> int:
        """SIGTERM, and SIGKILL to its whole session when it is still there after `grace_seconds`."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        except TimeoutError:
            log.warning("%s did not end within %g s of SIGTERM and is killed", self.log_path.stem, grace_seconds)
        finally:
            self.kill_session()
        return await self._process.wait()

    def kill_session(self) -> None:
        """SIGKILL to the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def tail(self) -> str:
        """The end of its output, for an error that says why it failed."""
        with contextlib.suppress(OSError):
            content = self.log_path.read_bytes()[-_TAIL_BYTES:]
            return content.decode("utf-8", "replace").strip()
        return ""


@dataclass(frozen=True, slots=True)
class CrashBackoff:
    """Pauses between restarts, in seconds: from `first` doubling to `longest`; `first` again after `healthy` alive."""

    first: float = 0.1
    longest: float = 10.0
    healthy: float = 10.0

    def next(self, delay: float | None, alive: float) -> float:
        """The pause after a life of `alive` seconds, given the pause before it (None: there was none)."""
        if delay is None or alive >= self.healthy:
            return self.first
        return min(delay * 2, self.longest)


class Supervised:
    """A command that is started again whenever it ends, until stop()."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        log_path: Path,
        *,
        grace_seconds: float,
        backoff: CrashBackoff,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.last_exit: int | None = None
        self._command = command
        self._log_path = log_path
        self._grace_seconds = grace_seconds
        self._backoff = backoff
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    async def start(self) -> None:
        self._child = await Child.start(self._command(), self._log_path)
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")

    @property
    def pid(self) -> int | None:
        """The running process, None between two lives."""
        child = self._child
        return child.pid if child is not None and child.exit_code is None else None

    def tail(self) -> str:
        return self._child.tail() if self._child is not None else ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the present life."""
        if self._child is not None:
            self._child.signal(number)

    async def restart(self) -> None:
        """End the present life by SIGTERM; returns when the next one has begun."""
        before = self.restarts
        if self._child is not None:
            await self._child.stop(self._grace_seconds)
        while self.restarts == before:
            self._again.clear()
            await self._again.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._child is not None:
            await self._child.stop(self._grace_seconds)

    async def _supervise(self) -> None:
        delay: float | None = None
        while self._child is not None:
            self.last_exit = await self._child.wait()
            self._child.kill_session()
            delay = self._backoff.next(delay, time.monotonic() - self._child.started)
            log.warning("%s ended with %s; again in %g s", self.name, self.last_exit, delay)
            await asyncio.sleep(delay)
            self._child = await Child.start(self._command(), self._log_path)
            self.restarts += 1
            self._again.set()

"""Points, by name, at which a test can have a process fail: before and after everything that changes something.

Off unless the environment variable ``DSTK_FAULTS`` names a file when the process starts. Whoever writes
``POINT=ACTION`` into that file arms it: the first process to reach the point removes the file and does what it says.
Actions are ``kill`` (SIGKILL to itself), ``fail`` (the action fails there) and ``pause:SECONDS``.

``operator.before-X`` is reached when the operator is about to carry out X, ``operator.after-X`` when it knows that it
is done; ``worker.before-X`` and ``worker.after-X`` likewise, the latter before the answer leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from dstk import errors

__all__ = ["COMMANDS", "POINTS", "WRITES", "Armed", "armed", "reach"]

COMMANDS = (
    "serve", "follow", "fence", "unfence", "await-applied", "promote", "proxy", "release", "drop", "split", "merge",
)  # fmt: skip
"""What a worker is told."""

WRITES = (
    "commit", "touch", "create-partition", "delete-partition", "set-partition-status", "set-status",
)  # fmt: skip
"""What the operator writes to the Kubernetes API."""

POINTS = frozenset(
    f"{who}.{when}-{what}"
    for who, whats in (("operator", COMMANDS + WRITES), ("worker", COMMANDS))
    for when in ("before", "after")
    for what in whats
)


class Armed:
    """The file of armed points."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def arm(self, point: str, action: str) -> None:
        """Have the next process that reaches `point` do `action`. Raises ConfigError for what does not exist."""
        if point not in POINTS:
            raise errors.ConfigError(f"there is no fault point {point!r}; dstk.faults.POINTS has them all")
        _parse(action)
        scratch = self._file.with_name(self._file.name + ".new")
        scratch.write_text(f"{point}={action}")
        os.replace(scratch, self._file)

    @property
    def is_armed(self) -> bool:
        """Whether nobody has reached the point yet."""
        return self._file.exists()

    async def reach(self, point: str) -> None:
        """Do what is asked for at this point, once. Raises Unavailable where it is to fail."""
        try:
            asked, _, action = self._file.read_text().partition("=")
        except FileNotFoundError:
            return
        if asked != point:
            return
        kind, seconds = _parse(action)
        try:
            self._file.unlink()
        except FileNotFoundError:
            return  # another process was there first
        match kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail":
                raise errors.Unavailable(f"made to fail at {point}")
            case _:
                await asyncio.sleep(seconds)


def _parse(action: str) -> tuple[str, float]:
    kind, _, argument = action.partition(":")
    if kind in ("kill", "fail") and not argument:
        return kind, 0.0
    if kind == "pause":
        with contextlib.suppress(ValueError):
            return kind, float(argument)
    raise errors.ConfigError(f"{action!r} is no fault: kill, fail or pause:SECONDS")


armed: Armed | None = Armed(Path(os.environ["DSTK_FAULTS"])) if os.environ.get("DSTK_FAULTS") else None
"""None: off, and nothing is looked at."""


async def reach(point: str) -> None:
    """This process has come to `point`."""
    if armed is not None:
        await armed.reach(point)

"""Points, by name, at which a test can have a process fail: before and after everything that changes something.

Off unless the environment variable ``DSTK_FAULTS`` names a folder when the process starts. Then a file in it that is
called like a point arms it; one that is called ``POINT[SUBJECT]`` arms it for what is done to the object of that
name alone. The first process to reach the point removes the file and does what is in it:

``kill``            SIGKILL to itself
``pause:SECONDS``   this action waits; the rest of the process goes on
``hold``            this action waits until it is released
``fail``            before: Unavailable, nothing is done. after: OutcomeUnknown, as if the answer had been lost
``fail:always``     likewise, time after time until it is disarmed

``operator.before-X`` is reached when the operator is about to carry out X, ``operator.after-X`` when it knows that it
is done; ``worker.before-X`` and ``worker.after-X`` likewise, the latter before the answer
leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dstk import errors

__all__ = ["COMMANDS", "POINTS", "WRITES", "Armed", "armed", "reach"]

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "be the primary of a partition",
    "follow": "load a partition from another worker and follow it",
    "fence": "hold new requests of a partition",
    "unfence": "let held and new requests run",
    "await-applied": "answer once a write is applied",
    "promote": "be the primary of what it follows",
    "proxy": "pass on what comes for a partition",
    "release": "forget a partition that it proxies",
    "drop": "forget a partition that it loads or follows",
    "split": "cut a partition",
    "merge": "join partitions",
}
"""What a worker is told."""

WRITES: Final[Mapping[str, str]] = {
    "commit": "who owns a partition",
    "touch": "a new resourceVersion of a Partition, and nothing else",
    "create-partition": "a new Partition",
    "delete-partition": "the end of a Partition",
    "set-partition-status": "a Partition's status",
    "set-status": "an Assignment's status",
    "record": "an Event",
}
"""What the operator writes to the Kubernetes API."""

POINTS: Final[Mapping[str, str]] = {
    f"{who}.{when}-{name}": f"{when.capitalize()} the {who} {verb} {what}."
    for who, verb, deeds in (
        ("operator", "tells a worker to", COMMANDS),
        ("operator", "writes", WRITES),
        ("worker", "has been told to, and does so:", COMMANDS),
    )
    for name, what in deeds.items()
    for when in ("before", "after")
}
"""Every point there is, and when it is reached."""

_HELD = ".held"
_LOOK_SECONDS = 0.01


class Armed:
    """The folder of armed points."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, point: str, action: str, subject: str = "") -> None:
        """Have the next process that reaches `point` do `action`. Raises ConfigError for what does not exist.

        `subject`: only when it is about the object of this name; "": whatever it is about.
        """
        _parse(action)
        file = self._file(point, subject)
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(file.name + ".new")
        scratch.write_text(action)
        os.replace(scratch, file)

    def disarm(self, point: str, subject: str = "") -> None:
        """Nothing is to happen there any more."""
        self._file(point, subject).unlink(missing_ok=True)

    @property
    def is_armed(self) -> bool:
        """Whether there is any point that nobody has reached yet."""
        names = [file.name for file in self._folder.iterdir()] if self._folder.exists() else []
        return any(name.partition("[")[0] in POINTS and not name.endswith(_HELD) for name in names)

    def is_held(self, point: str, subject: str = "") -> bool:
        """Whether a process waits there to be released."""
        return self._held(self._file(point, subject)).exists()

    def release(self, point: str, subject: str = "") -> None:
        """What is held there goes on."""
        self._held(self._file(point, subject)).unlink()

    async def reach(self, point: str, subject: str = "") -> None:
        """Do what is asked for at this point. Raises Unavailable, or OutcomeUnknown, where it is to fail."""
        for file in {self._file(point, ""), self._file(point, subject)}:
            await self._reach(file, point)

    async def _reach(self, file: Path, point: str) -> None:
        try:
            kind, seconds = self._take(file)
        except FileNotFoundError:
            return  # not armed, or another process was there first
        match kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "pause":
                await asyncio.sleep(seconds)
            case "hold":
                while self._held(file).exists():  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(_LOOK_SECONDS)
            case _ if ".after-" in point:
                raise errors.OutcomeUnknown(f"made to fail at {file.name}")
            case _:
                raise errors.Unavailable(f"made to fail at {file.name}")

    def _take(self, file: Path) -> tuple[str, float]:
        action = file.read_text().strip()
        if action == "hold":
            os.replace(file, self._held(file))
        elif action != "fail:always":
            file.unlink()
        return _parse(action)

    def _file(self, point: str, subject: str) -> Path:
        if point not in POINTS:
            raise errors.ConfigError(f"there is no fault point {point!r}; dstk.faults.POINTS has them all")
        return self._folder / (f"{point}[{subject}]" if subject else point)

    @staticmethod
    def _held(file: Path) -> Path:
        return file.with_name(file.name + _HELD)


def _parse(action: str) -> tuple[str, float]:
    if action in ("kill", "hold", "fail", "fail:always"):
        return action.partition(":")[0], 0.0
    kind, _, argument = action.partition(":")
    if kind == "pause":
        with contextlib.suppress(ValueError):
            return kind, float(argument)
    raise errors.ConfigError(f"{action!r} is no fault: kill, pause:SECONDS, hold, fail or fail:always")


armed: Armed | None = Armed(Path(os.environ["DSTK_FAULTS"])) if os.environ.get("DSTK_FAULTS") else None
"""None: off, and nothing is looked at."""


async def reach(point: str, subject: str = "") -> None:
    """This process has come to `point`, with what it does to `subject`."""
    if armed is not None:
        await armed.reach(point, subject)

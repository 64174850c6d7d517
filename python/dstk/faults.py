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
leaves. ``node.…`` are inside the worker's native part, which reaches them by a hook. Their subject is the partition, or
the worker where it is about all that it holds. There ``fail`` is what a disk or a connection that fails would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dstk import errors

__all__ = ["COMMANDS", "NODE_POINTS", "POINTS", "WRITES", "Armed", "armed", "reach"]

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

NODE_POINTS: Final[Mapping[str, str]] = {
    "node.before-log-write": "A group of records is about to be written to the log.",
    "node.after-log-write": "A group of records is written to the log and not synced.",
    "node.after-log-sync": "A group of records is on disk, and nobody has been told.",
    "node.before-log-file": "The log is about to go on in another file, which has no header yet.",
    "node.after-log-header": "The log's next file has its header, and not its name.",
    "node.after-log-file": "The log's next file has its name, and no records.",
    "node.after-spare-rename": "A file that nothing needs is renamed, to be filled ahead for the log.",
    "node.after-spare-fill": "A file that is made ahead for the log is filled and not synced.",
    "node.before-checkpoint": "A checkpoint is about to be written; what it is to hold is in the log.",
    "node.after-checkpoint-rows": "A partition's rows are written for a checkpoint, and no manifest names them.",
    "node.after-manifest-write": "A new manifest is on disk; the one before it counts.",
    "node.after-manifest-rename": "The new manifest counts; the log and the rows that it replaces are still there.",
    "node.after-log-trim": "The log before a checkpoint is let go; rows that nothing names are still there.",
    "node.after-recovery": "A data directory is read and its log's torn end cut off; nothing is served yet.",
    "node.before-settle": "What an action does to a partition is done in memory; whether it is on disk nobody knows.",
    "node.before-send-snapshot": "A source is about to send a snapshot of a partition.",
    "node.after-send-chunk": "A source has handed some of a snapshot's rows to the network, and not its end.",
    "node.before-send-entries": "A source is about to send writes of its log.",
    "node.after-install-chunk": "A follower has taken some of a snapshot's rows; the end has not come.",
    "node.before-end-snapshot": "A follower has all rows of a snapshot, and has not verified them.",
    "node.after-end-snapshot": "A follower has loaded a snapshot, and has not said so.",
    "node.after-apply-entries": "A follower has applied writes of its source's log, and has not said so.",
    "node.after-pass-on": "Requests are on their way to another worker that they are passed on to; no answer has come.",
    "node.before-pass-back": "Requests that were passed on are answered, and who asked has not been told.",
}
"""Those inside the worker's native part: the list is that of rust/core/src/faults.rs."""

POINTS: Final[Mapping[str, str]] = {
    **NODE_POINTS,
    **{
        f"{who}.{when}-{name}": f"{when.capitalize()} the {who} {verb} {what}."
        for who, verb, deeds in (
            ("operator", "tells a worker to", COMMANDS),
            ("operator", "writes", WRITES),
            ("worker", "has been told to, and does so:", COMMANDS),
        )
        for name, what in deeds.items()
        for when in ("before", "after")
    },
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
        for seconds in self._strike(point, subject):
            await asyncio.sleep(seconds)

    def reach_blocking(self, point: str, subject: str = "") -> None:
        """The same on a thread of its own."""
        for seconds in self._strike(point, subject):
            time.sleep(seconds)

    def _strike(self, point: str, subject: str) -> Iterator[float]:
        """Do what is asked for at this point; the seconds to wait before it goes on."""
        for file in {self._file(point, ""), self._file(point, subject)}:
            try:
                kind, seconds = self._take(file)
            except FileNotFoundError:
                continue  # not armed, or another process was there first
            match kind:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "pause":
                    yield seconds
                case "hold":
                    while self._held(file).exists():
                        yield _LOOK_SECONDS
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

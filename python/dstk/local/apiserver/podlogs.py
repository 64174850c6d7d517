"""Logs of pods: of the process that is a pod here, from the file that its output goes to over all its lives."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dstk.local.apiserver import status
from dstk.local.apiserver.annotations import LOG_START, PREVIOUS_LOG_START
from dstk.local.apiserver.files import poll
from dstk.local.apiserver.resource import Object

_LOOK_SECONDS: Final = 0.2
_TIME: Final = re.compile(rb"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class LogRequest:
    """What is asked for. `since` is in seconds since 1970."""

    follow: bool = False
    previous: bool = False
    tail: int | None = None
    since: float | None = None
    limit_bytes: int | None = None


def log_request(query: Mapping[str, str], now: float) -> LogRequest:
    """What the query asks for. Raises Refusal 400."""

    def number(name: str, lowest: int) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not text.isdecimal() or int(text) < lowest:
            raise status.bad_request(f"{name} takes a whole number from {lowest}, not {text!r}")
        return int(text)

    def holds(name: str) -> bool:
        return query.get(name) in ("1", "true")

    since = None
    seconds = number("sinceSeconds", 1)
    if seconds is not None:
        since = now - seconds
    elif query.get("sinceTime"):
        try:
            since = datetime.datetime.fromisoformat(query["sinceTime"]).timestamp()
        except ValueError:
            raise status.bad_request(f"sinceTime takes a time in RFC 3339, not {query['sinceTime']!r}") from None
    return LogRequest(
        holds("follow"), holds("previous"), number("tailLines", 0), since, number("limitBytes", 1)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PodLog:
    """The part of a file that is the output of one pod; `end` is None while it goes on."""

    path: Path
    start: int
    end: int | None

    def read(self, start: int) -> bytes:
        """From byte `start` of the file to the end of this part, as far as it is written."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read() if self.end is None else file.read(max(0, self.end - start))


def log_of(pod: Object, directory: Path | None, container: str, *, previous: bool) -> PodLog:
    """Where the output of a pod is. Raises Refusal 400 where there is none."""
    metadata = pod["metadata"]
    name, annotations = metadata["name"], metadata.get("annotations") or {}
    known = [each.get("name", "") for each in pod.get("spec", {}).get("containers") or ()]
    if container and container not in known:
        raise status.bad_request(f"container {container} is not valid for pod {name}")
    path = directory / f"{name}.log" if directory is not None and "/" not in name else None
    start = _byte(annotations.get(LOG_START))
    if path is None or start is None or not path.is_file():
        raise status.bad_request(
            f'pod "{name}" has no log: no containers run here, only workers that were started with this API server have'
        )
    if not previous:
        return PodLog(path, start, None)
    before = _byte(annotations.get(PREVIOUS_LOG_START))
    if before is None or before >= start:
        found = container or (known[0] if known else "")
        raise status.bad_request(f'previous terminated container "{found}" in pod "{name}" not found')
    return PodLog(path, before, start)


def selected(content: bytes, since: float | None, tail: int | None) -> bytes:
    """Of whole lines those since then, of these the last `tail`. A line without a time belongs to the one before it."""
    lines = content.splitlines(keepends=True)
    if since is not None:
        lines = lines[_first_since(lines, since) :]
    if tail is not None:
        lines = lines[max(0, len(lines) - tail) :]
    return b"".join(lines)


async def pieces(log: PodLog, asked: LogRequest, there: Callable[[], bool]) -> AsyncIterator[bytes]:
    """What is asked for; with follow also what comes later, while the pod is `there`."""
    left = asked.limit_bytes
    content = log.read(log.start)
    at = log.start + len(content)
    content = selected(content, asked.since, asked.tail)
    follow = asked.follow and log.end is None

    async def written() -> bool:
        return not there() or log.path.stat().st_size > at

    while True:
        if left is not None:
            content = content[:left]
            left -= len(content)
        if content:
            yield content
        if not follow or left == 0:
            return
        await poll(written, _LOOK_SECONDS)
        follow = there()
        content = log.read(at)
        at += len(content)


def _first_since(lines: Sequence[bytes], since: float) -> int:
    for index, line in enumerate(lines):
        found = _TIME.match(line)
        if found is None:
            continue
        # As Python's logging writes it: local time, of this machine.
        said = datetime.datetime.fromisoformat(f"{found[1].decode()}T{found[2].decode()}").timestamp()
        if said >= int(since):
            return index
    return len(lines)


def _byte(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None

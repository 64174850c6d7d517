"""Runs worlds by the thousand, in one process or several, and one of them again with its trace."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from .stories import STORIES, tell
from .weather import UNSETTLED, WEATHERS, Weather
from .world import World

__all__ = ["Batch", "Failure", "case_of", "replay", "run", "run_one"]

BATCH = 20
"""Worlds that a process runs before it reports."""

_CASES = [(story, weather) for weather in WEATHERS if weather != "calm" for story in STORIES]


@dataclass(frozen=True, slots=True)
class Failure:
    """A world that broke a promise; `what` begins with its letter."""

    seed: int
    story: str
    weather: str
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}, story {self.story}, weather {self.weather}: {self.what}"


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of some worlds."""

    seeds: int
    failures: tuple[Failure, ...]


def case_of(seed: int, story: str | None = None, weather: str | None = None) -> tuple[str, str]:
    """Story and weather of a seed: it goes through all of them in turn."""
    told, blown = _CASES[seed % len(_CASES)]
    return story or told, weather or blown


def run(seeds: range, jobs: int = 1, story: str | None = None, weather: str | None = None) -> Iterator[Batch]:
    """Batch by batch, as they end."""
    batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    if jobs == 1:
        for batch in batches:
            yield _run(batch, story, weather)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(_run, batches, [story] * len(batches), [weather] * len(batches))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run(seeds: Sequence[int], story: str | None, weather: str | None) -> Batch:
    found = (run_one(seed, *case_of(seed, story, weather)) for seed in seeds)
    return Batch(len(seeds), tuple(failure for failure in found if failure is not None))


def run_one(seed: int, story: str, weather: str | Weather) -> Failure | None:
    """Tell one story to its end. None: every promise held."""
    called = weather if isinstance(weather, str) else "of its own"
    try:
        tell(story, weather, seed)
    except AssertionError as broken:
        return Failure(seed, story, called, str(broken))
    except Exception:
        return Failure(seed, story, called, traceback.format_exc())
    return None


def replay(seed: int, story: str | None = None, weather: str | None = None) -> tuple[Failure | None, list[str]]:
    """The same world again, with its trace."""
    story, weather = case_of(seed, story, weather)
    world = World(seed, (WEATHERS | UNSETTLED)[weather], keep_trace=True)
    STORIES[story](world)
    failure = None
    try:
        with logged(world):
            world.run()
    except AssertionError as broken:
        failure = Failure(seed, story, weather, str(broken))
    assert world.trace is not None
    return failure, [readable(line) for line in world.trace]


class _Traced(logging.Handler):
    """What processes log is in the trace."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note("%s: %s", record.name.removeprefix("dstk."), record.getMessage())


@contextmanager
def logged(world: World) -> Iterator[None]:
    """Have the world's trace tell what its processes log."""
    log, handler = logging.getLogger("dstk"), _Traced(world)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def readable(line: str) -> str:
    """Without what says nothing: names of fields, and statuses that are pages long."""
    for noise in ("keyspace='default', ", "incarnation=", "partition=", "command=", ", key_length=1"):
        line = line.replace(noise, "")
    return line if len(line) <= 300 else f"{line[:300]}…"

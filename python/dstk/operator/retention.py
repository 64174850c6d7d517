"""Deletes finished Assignments: those whose ``ttlSecondsAfterFinished`` is over, and of those without the oldest."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from datetime import datetime

from dstk.api import Assignment
from dstk.errors import ApiError, DstkError
from dstk.operator.cluster import Cluster, is_finished
from dstk.operator.moments import Moments

__all__ = ["Finished", "Retention"]

log = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0


class Finished:
    """Which finished Assignments are to go, and when. Heaps of (when, name, uid), so that nothing is scanned."""

    def __init__(self, keep: int, when: Callable[[str, datetime], float] = lambda uid, said: said.timestamp()) -> None:
        self._keep = keep
        self._when = when
        self._there: set[str] = set()
        """UIDs of those that are there and have no term. The Assigner's have: it looks at what it did of late."""
        self._by_end: list[tuple[float, str, str]] = []
        self._by_term: list[tuple[float, str, str]] = []
        self._failed: list[tuple[float, str, str]] = []

    def changed(self, old: Assignment | None, new: Assignment | None) -> bool:
        """Take in what became of an object. Whether that may make something due."""
        if new is None:
            assert old is not None
            self._there.discard(old.metadata.uid)
            self._forget_the_gone()
            return False
        uid, ended = new.metadata.uid, new.status.finished_at
        if not is_finished(new) or ended is None or uid in self._there or (old is not None and is_finished(old)):
            return False
        at = self._when(uid, ended)
        kept = new.spec.ttl_seconds_after_finished
        if kept is None:
            self._there.add(uid)
            heapq.heappush(self._by_end, (at, new.metadata.name, uid))
        else:
            heapq.heappush(self._by_term, (at + kept, new.metadata.name, uid))
        return True

    def _forget_the_gone(self) -> None:
        """What others have deleted is in the heap until more than half of it is of that kind."""
        if len(self._by_end) > 2 * len(self._there) + 1000:
            self._by_end = [entry for entry in self._by_end if entry[2] in self._there]
            heapq.heapify(self._by_end)

    def take(self, now: float) -> tuple[str, str] | None:
        """Name and UID of one that is to go by now; it is not named again."""
        for heap in (self._by_term, self._failed):
            if heap and heap[0][0] <= now:
                return heapq.heappop(heap)[1:]
        while len(self._there) > self._keep:
            _, name, uid = heapq.heappop(self._by_end)
            if uid in self._there:
                self._there.discard(uid)
                return name, uid
        return None

    def again(self, when: float, name: str, uid: str) -> None:
        """It could not be deleted, and is to be later."""
        heapq.heappush(self._failed, (when, name, uid))

    def pause(self, now: float) -> float:
        """Seconds until the next may be due, none longer than LONGEST_SLEEP."""
        nexts = [heap[0][0] - now for heap in (self._by_term, self._failed) if heap]
        return min(LONGEST_SLEEP, max(min(nexts, default=LONGEST_SLEEP), 0.0))


class Retention:
    """Deletes what is due."""

    def __init__(self, cluster: Cluster, keep: int, moments: Moments | None = None) -> None:
        self._assignments = cluster.assignments
        moments = moments or Moments(cluster.clock)
        self._now = moments.now
        self._finished = Finished(keep, moments.at)
        self._wake = asyncio.Event()
        self._assignments.on_change(self._on_change)
        for assignment in self._assignments:
            self._on_change(None, assignment)

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            while (due := self._finished.take(self._now())) is not None:
                await self._delete(*due)
            try:
                async with asyncio.timeout(self._finished.pause(self._now())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _on_change(self, old: Assignment | None, new: Assignment | None) -> None:
        if self._finished.changed(old, new):
            self._wake.set()

    async def _delete(self, name: str, uid: str) -> None:
        try:
            await self._assignments.objects.delete(name, uid=uid)
        except DstkError as error:
            if isinstance(error, ApiError) and error.status in (404, 409):
                return
            log.info("assignment %s was not deleted: %s", name, error)
            self._finished.again(self._now() + LONGEST_SLEEP, name, uid)

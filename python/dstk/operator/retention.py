"""Deletes finished Assignments whose ``ttlSecondsAfterFinished`` is over."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable

from dstk.api import Assignment
from dstk.errors import DstkError
from dstk.kube import is_not_found
from dstk.operator.cluster import Cluster, is_finished

__all__ = ["Retention"]

log = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0


class Retention:
    """Keeps a heap of (when, name, uid), so that nothing is scanned."""

    def __init__(self, cluster: Cluster, now: Callable[[], float] = time.time) -> None:
        self._assignments = cluster.assignments
        self._now = now
        self._due: list[tuple[float, str, str]] = []
        self._wake = asyncio.Event()
        self._assignments.on_change(self._on_change)
        for assignment in self._assignments:
            self._on_change(None, assignment)

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            while self._due and self._due[0][0] <= self._now():
                _, name, uid = heapq.heappop(self._due)
                await self._delete(name, uid)
            pause = min(LONGEST_SLEEP, self._due[0][0] - self._now()) if self._due else LONGEST_SLEEP
            try:
                async with asyncio.timeout(max(pause, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _on_change(self, old: Assignment | None, new: Assignment | None) -> None:
        if new is None or not is_finished(new) or (old is not None and is_finished(old)):
            return
        kept, ended = new.spec.ttl_seconds_after_finished, new.status.finished_at
        if kept is None or ended is None:
            return
        heapq.heappush(self._due, (ended.timestamp() + kept, new.metadata.name, new.metadata.uid))
        self._wake.set()

    async def _delete(self, name: str, uid: str) -> None:
        try:
            await self._assignments.objects.delete(name, uid=uid)
        except DstkError as error:
            if is_not_found(error) or getattr(error, "status", 0) == 409:
                return
            log.info("assignment %s was not deleted: %s", name, error)
            heapq.heappush(self._due, (self._now() + LONGEST_SLEEP, name, uid))

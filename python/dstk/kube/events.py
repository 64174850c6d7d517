"""Kubernetes Events: what people see in ``kubectl describe``. Best effort, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dstk.clock import SYSTEM, Clock
from dstk.errors import DstkError
from dstk.kube.objects import Objects, is_not_found
from dstk.kube.resources import Event, ObjectReference

__all__ = ["EventRecorder"]

log = logging.getLogger(__name__)

QUEUE = 1000
"""Events waiting to be written; further ones are dropped and counted."""

REMEMBERED = 4096
"""Events that a repetition is counted on instead of becoming an object of its own."""


@dataclass(frozen=True, slots=True)
class _Entry:
    about: ObjectReference
    type: str
    reason: str
    message: str


class EventRecorder:
    """Writes Events in the background.

    The same (object, type, reason, message) again only raises the count of the Event that exists; those that pile up
    while the API server is slow are counted together before they are written.
    """

    def __init__(
        self,
        events: Objects[Event],
        component: str,
        clock: Clock = SYSTEM,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.dropped = 0
        self._events = events
        self._component = component
        self._clock = clock
        self._token = token
        self._waiting: OrderedDict[_Entry, int] = OrderedDict()
        self._written: OrderedDict[_Entry, tuple[str, int]] = OrderedDict()
        self._wake = asyncio.Event()

    def record(self, about: ObjectReference, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Queue an Event about an object. Never blocks, never raises."""
        entry = _Entry(about, type, reason, message[:1024])
        if entry not in self._waiting and len(self._waiting) >= QUEUE:
            self.dropped += 1
            return
        self._waiting[entry] = self._waiting.get(entry, 0) + 1
        self._wake.set()

    async def run(self) -> None:
        """Write what was recorded, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write all that is waiting now."""
        while self._waiting:
            entry, count = self._waiting.popitem(last=False)
            try:
                await self._write(entry, count)
            except DstkError as error:
                self.dropped += count
                log.info("event %s of %s was not written: %s", entry.reason, entry.about.name, error)

    async def _write(self, entry: _Entry, count: int) -> None:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        known = self._written.get(entry)
        if known is not None:
            name, before = known
            try:
                await self._events.patch(name, {"count": before + count, "lastTimestamp": now})
                self._remember(entry, name, before + count)
                return
            except DstkError as error:
                # Events live for an hour; one that is gone is written anew.
                if not is_not_found(error):
                    raise
        name = f"{entry.about.name[:200]}.{self._token()}"
        await self._events.create(
            {
                "metadata": {"name": name, "namespace": self._events.namespace},
                "involvedObject": {
                    "apiVersion": entry.about.api_version,
                    "kind": entry.about.kind,
                    "name": entry.about.name,
                    "namespace": entry.about.namespace,
                    "uid": entry.about.uid,
                },
                "type": entry.type,
                "reason": entry.reason,
                "message": entry.message,
                "count": count,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "source": {"component": self._component},
                "reportingComponent": self._component,
            }
        )
        self._remember(entry, name, count)

    def _remember(self, entry: _Entry, name: str, count: int) -> None:
        self._written[entry] = (name, count)
        self._written.move_to_end(entry)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

"""The channel to one worker pod, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from dstk.control.views import Load, Room
from dstk.operator.ports import WorkerClient

__all__ = ["WorkerLink"]


@dataclass(slots=True)
class WorkerLink:
    """One worker pod and the channel to it."""

    name: str
    uid: str
    control_address: str
    data_address: str
    client: WorkerClient
    labels: Mapping[str, str]
    cordoned: bool = False
    incarnation: str = ""
    """Of the life last heard; empty until the first answer."""
    term: int = 0
    reachable: bool = False
    draining: bool = False
    heard: float = 0.0
    """When it last took note of this operator, by the monotonic clock; 0: not yet."""
    loads: dict[str, Load] = field(default_factory=dict)
    """By partition name."""
    room: Room | None = None
    """What its rows may take, as it last said."""
    misdirected: str = ""
    """Why it does not take this operator for its own, if so."""
    introduced: bool = False
    """Whether it has said once what it holds, or has not answered."""
    tells: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(64))
    spoke: float = 0.0
    """When something came from it last, by the monotonic clock; when the link was made, as long as nothing has."""
    calls: dict[asyncio.Timeout, None] = field(default_factory=dict)
    """Of the calls under way, which end when it turns silent."""

    def lose(self) -> None:
        """It does not answer: nobody waits for it any longer."""
        self.reachable = False
        for call in self.calls:
            if not call.expired():
                call.reschedule(asyncio.get_running_loop().time())

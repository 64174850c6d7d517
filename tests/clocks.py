"""Clocks that tests set."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["HandClock"]


@dataclass
class HandClock:
    """A monotonic clock, and a time of day that somebody sets (:class:`dstk.clock.Clock`)."""

    steady: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def monotonic(self) -> float:
        return self.steady

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def pass_(self, seconds: float) -> None:
        """Both go on."""
        self.steady += seconds
        self.wall += seconds

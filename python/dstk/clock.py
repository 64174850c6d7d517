"""What time it is. Whoever needs it is given a clock, so that tests can run years in a second."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["SYSTEM", "Clock"]


class Clock(Protocol):
    """Two clocks, as every process has them."""

    def monotonic(self) -> float:
        """Seconds, from any beginning; never jumps."""

    def now(self) -> datetime:
        """The time of day, in UTC; may jump."""


class _SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


SYSTEM: Clock = _SystemClock()
"""This machine's."""

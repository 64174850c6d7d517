"""When things happened, by a clock of this process that never jumps."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime

from dstk.clock import SYSTEM, Clock

__all__ = ["Moments"]


class Moments:
    """A steady clock, and where on it the times lie that objects name.

    The clock of whoever wrote a time may have been wrong, and this machine's may be set while the process runs. So a
    time in an object is a hint, taken once, when it is first seen: one in the future counts as now. From then on the
    monotonic clock alone tells how long ago it was.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._ahead = self._wall() - clock.monotonic()
        self._seen: dict[str, float] = {}

    def now(self) -> float:
        """Seconds since 1970 as they were when this began, and as many more as have passed since."""
        return self._clock.monotonic() + self._ahead

    def _wall(self) -> float:
        return self._clock.now().timestamp()

    def ahead_of_day(self) -> float:
        """How far :meth:`now` is ahead of the time of day."""
        return self.now() - self._wall()

    def at(self, key: str, said: datetime) -> float:
        """The moment of what is said just now, which nobody asks for again."""
        return self.now() - max(0.0, self._wall() - said.timestamp())

    def of(self, key: str, said: datetime | None) -> float:
        """The moment at which happened what an object says of that time, by :meth:`now`. `key`: what is meant."""
        if key not in self._seen:
            self._seen[key] = self.now() if said is None else self.at(key, said)
        return self._seen[key]

    def keep(self, keys: Container[str]) -> None:
        """Forget the others."""
        if any(key not in keys for key in self._seen):
            self._seen = {key: moment for key, moment in self._seen.items() if key in keys}

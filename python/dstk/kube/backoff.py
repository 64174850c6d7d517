"""Back-off: the one way in which this project waits before trying again.

Exponential with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): a crowd of
callers that failed together does not come back together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dstk.errors import DstkError

__all__ = ["Backoff", "retry"]

T = TypeVar("T")


@dataclass(slots=True)
class Backoff:
    """Delays in seconds: ``first``, then ``factor`` times more each time, at most ``longest``, each with jitter.

    ``random`` gives numbers in [0, 1); tests pass their own.
    """

    first: float = 0.05
    factor: float = 2.0
    longest: float = 10.0
    random: Callable[[], float] = field(default=random.random, repr=False)
    failures: int = 0

    def next(self) -> float:
        """The delay before the next try, between half of its nominal length and all of it."""
        nominal = min(self.longest, self.first * self.factor**self.failures)
        self.failures = min(self.failures + 1, 64)
        return nominal * (0.5 + 0.5 * self.random())

    def reset(self) -> None:
        """Call after a success."""
        self.failures = 0


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, DstkError) and error.retryable


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int = 6,
    backoff: Backoff | None = None,
    retryable: Callable[[Exception], bool] = _is_retryable,
) -> T:
    """Await ``call()`` until it succeeds, its error is not retryable, or ``attempts`` are used up.

    By default what is retried is a DstkError whose ``retryable`` is true. Raises the last error.
    """
    delays = backoff or Backoff()
    for attempt in range(1, attempts + 1):
        try:
            return await call()
        except Exception as error:
            if attempt == attempts or not retryable(error):
                raise
            await asyncio.sleep(delays.next())
    raise ValueError(f"attempts is {attempts}; it must be at least 1")

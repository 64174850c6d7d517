"""Waiting for what only another process brings about, and tells nobody of: bounded against hanging, by no measure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dstk.local.apiserver.files import poll

T = TypeVar("T")

WAIT_SECONDS = 180.0
LOOK_SECONDS = 0.02


async def until(condition: Callable[[], Awaitable[T | None]], what: Callable[[], str] | str = "") -> T:
    """Wait until it gives something true, and that. `what` is waited for, or how things stand when it does not come."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return await poll(condition, LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"waited {WAIT_SECONDS} s in vain: {what if isinstance(what, str) else what()}") from None


async def until_true(condition: Callable[[], bool], what: str = "") -> None:
    """Wait until it holds."""

    async def holds() -> bool:
        return condition()

    await until(holds, what)


def wait_until(
    condition: Callable[[], bool],
    what: Callable[[], str] | str = "",
    *,
    seconds: float = WAIT_SECONDS,
    look: float = LOOK_SECONDS,
) -> None:
    """The same where no event loop runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(look)

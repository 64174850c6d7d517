"""The pulse of a worker: its load reports, which come though nothing has changed, and what it means if they do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from dstk.control.views import LoadReport
from dstk.errors import Unavailable
from dstk.operator.ports import WorkerClient

__all__ = ["pulse"]

QUIET_SHARE = 2 / 3
"""After so much of the silence that is allowed the worker is asked, and has the rest of it to answer."""


async def pulse(client: WorkerClient, interval: float, silence: float) -> AsyncIterator[LoadReport]:
    """The reports, one every `interval` seconds, until the worker ends them. Raises Unavailable when it is silent.

    A report that is late says little: the worker may be busy, and so may this process, which then has not read what has
    come. So the worker is asked before it counts as silent, and any answer will do.
    """
    reports = client.loads(interval)
    following: asyncio.Future[LoadReport | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(reports, None))
            while not (await asyncio.wait({following}, timeout=silence * QUIET_SHARE))[0]:
                await _ask(client, silence)
            report = following.result()
            if report is None:
                return
            yield report
    finally:
        if following is not None and not following.done():
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unavailable):
                await following
        await reports.aclose()  # type: ignore[attr-defined]


async def _ask(client: WorkerClient, silence: float) -> None:
    try:
        async with asyncio.timeout(silence * (1 - QUIET_SHARE)):
            await client.status(())
    except TimeoutError:
        raise Unavailable(f"worker at {client.address} has said nothing for {silence:g} s") from None

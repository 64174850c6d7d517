"""A load under which something is done that nobody may notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dstk import aio
from dstk.testing.load import LoadSettings, VerifyingLoad


@asynccontextmanager
async def verifying(client: aio.Client, settings: LoadSettings) -> AsyncIterator[VerifyingLoad]:
    """Rows are written and read all the time; none is lost, no read wrong, and not one request fails."""
    load = VerifyingLoad(client, settings)
    await load.fill(lambda _: None)
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    try:
        yield load
    finally:
        stop.set()
        await running
    await load.verify()
    report = load.finish()
    assert (report.lost_writes, report.wrong_reads, report.failed_requests) == (0, 0, 0), report.examples

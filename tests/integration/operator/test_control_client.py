"""The operator's end of the control wire, against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fake_worker import FakeWorker, Fleet

from dstk import errors
from dstk.control import commands
from dstk.control.commands import Request
from dstk.wire import ControlClient, RoutesUpdate

SERVE = Request("", 1, "default", "part", 1, commands.Serve(b"", b"", 4))


@pytest.fixture
async def worker() -> AsyncIterator[FakeWorker]:
    made = FakeWorker("pod1", Fleet())
    await made.start()
    yield made
    await made.stop()


async def test_calls_under_way_when_the_client_is_closed_end_as_unavailable(worker: FakeWorker) -> None:
    client = ControlClient(worker.address)
    arrived, _ = worker.gate(commands.Serve)
    call = asyncio.create_task(client.act(SERVE))
    loads = client.loads(60.0)
    await anext(loads)
    second = asyncio.ensure_future(anext(loads))
    await arrived.wait()
    await client.close()
    for waiting in (call, second):
        with pytest.raises(errors.Unavailable):
            await waiting


async def test_a_closed_client_is_unavailable(worker: FakeWorker) -> None:
    client = ControlClient(worker.address)
    pusher = client.routes(1)
    await client.close()
    with pytest.raises(errors.Unavailable):
        await client.act(SERVE)
    with pytest.raises(errors.Unavailable):
        await client.status()
    with pytest.raises(errors.Unavailable):
        await anext(client.loads(1.0))
    with pytest.raises(errors.Unavailable):
        await pusher.push(RoutesUpdate(full=True, keyspaces=(), workers={}))
    with pytest.raises(errors.Unavailable):
        client.routes(1)


async def test_a_cancelled_task_stays_cancelled(worker: FakeWorker) -> None:
    client = ControlClient(worker.address)
    arrived, _ = worker.gate(commands.Serve)
    call = asyncio.create_task(client.act(SERVE))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await client.close()

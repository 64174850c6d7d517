"""Real workers, real sockets, a verifying load: what each operation does to clients, without Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from grpc import aio as grpc_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from workers.fleet import KEY_LENGTH, KEYSPACE, Fleet, fleet

import dstk
from dstk import aio, errors
from dstk.control import commands
from dstk.testing.load import LoadSettings, VerifyingLoad
from dstk.wire import Route
from expositions import families
from waiting import until_true

MIDDLE = b"\x80" + bytes(KEY_LENGTH - 1)
LOAD = LoadSettings(keys=5_000, value_size=100, tasks=16)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two workers; the first serves all keys as partition "p" at epoch 1."""
    async with fleet(tmp_path, 2) as running:
        await running.serve_all()
        yield running


async def under_load(running: Fleet, operate: Callable[[VerifyingLoad], Awaitable[None]]) -> VerifyingLoad:
    """Do something while a verifying load runs, some of it before and after; nothing may be wrong, lost or failed."""
    async with await aio.connect(running.addresses) as client:
        load = VerifyingLoad(client, LOAD)
        await load.fill(lambda rows: None)
        stop = asyncio.Event()
        running_load = asyncio.create_task(load.run(stop))
        try:
            await after_more(load, 2_000)
            await operate(load)
            await after_more(load, 2_000)
        finally:
            stop.set()
            await running_load
        await load.verify()
    report = load.finish()
    assert load.history.findings.clean, report.examples
    return load


async def after_more(load: VerifyingLoad, operations: int) -> None:
    """Until the load has done so many operations more."""
    goal = load.report.operations + operations
    await until_true(lambda: load.report.operations >= goal, f"the load does {operations} operations more")


async def test_a_move_under_load_loses_nothing(pair: Fleet) -> None:
    async def operate(load: VerifyingLoad) -> None:
        moved = await pair.move("p", pair[0], pair[1], epoch=1)
        assert (moved.role, moved.epoch) == ("primary", 2)
        assert (await pair[0].part("p")).role == "proxy"
        await after_more(load, 2_000)  # through the proxy or by its hints
        await pair.push(Route("p", b"", b"", 2, pair[1].name))
        await pair[0].tell("p", 2, commands.Release())
        assert "p" not in (await pair[0].control.status(["p"])).partitions

    await under_load(pair, operate)


async def test_there_and_back_ten_times_under_load(pair: Fleet) -> None:
    async def operate(load: VerifyingLoad) -> None:
        for turn in range(10):
            source, to = pair[turn % 2], pair[(turn + 1) % 2]
            await pair.move("p", source, to, epoch=turn + 1)
            await pair.push(Route("p", b"", b"", turn + 2, to.name))
            await source.tell("p", turn + 2, commands.Release())
            await after_more(load, 200)

    await under_load(pair, operate)


async def test_split_and_merge_under_load(pair: Fleet) -> None:
    async def operate(load: VerifyingLoad) -> None:
        worker = pair[0]
        for turn in range(5):
            epoch = 1 + 2 * turn
            parts = await worker.tell("p", epoch + 1, commands.Split(epoch, (MIDDLE,), ("low", "high")))
            assert {name: part.role for name, part in parts.items()} == {"low": "primary", "high": "primary"}
            await after_more(load, 300)
            pieces = (commands.MergePart("low", epoch + 1), commands.MergePart("high", epoch + 1))
            merged = (await worker.tell("p", epoch + 2, commands.Merge(pieces, b"", b"")))["p"]
            assert (merged.role, merged.epoch) == ("primary", epoch + 2)
            await after_more(load, 300)

    await under_load(pair, operate)


async def test_a_move_given_up_after_the_fence_leaves_the_source_serving(pair: Fleet) -> None:
    async def operate(load: VerifyingLoad) -> None:
        follow = commands.Follow(b"", b"", KEY_LENGTH, pair[0].name, pair[0].addresses["data"], pair[0].incarnation)
        await pair[1].tell("p", 1, follow)
        assert (await pair[0].tell("p", 1, commands.Fence(1)))["p"].fenced
        assert not (await pair[0].tell("p", 1, commands.Unfence(1)))["p"].fenced
        await pair[1].tell("p", 1, commands.Drop())
        assert "p" not in (await pair[1].control.status(["p"])).partitions
        assert (await pair[0].part("p")).role == "primary"

    await under_load(pair, operate)


async def test_every_action_may_be_repeated(pair: Fleet) -> None:
    await pair.move("p", pair[0], pair[1], epoch=1)
    for _ in range(2):
        assert (await pair[0].tell("p", 2, commands.Proxy(pair[1].name, pair[1].addresses["data"])))[
            "p"
        ].role == "proxy"
    state = await pair[1].part("p")
    again = await pair[1].tell("p", 2, commands.Promote(state.sequence, state.digest))
    assert again["p"].role == "primary"
    for _ in range(2):
        await pair[0].tell("p", 2, commands.Release())


async def test_old_epochs_terms_and_incarnations_are_refused_and_change_nothing(pair: Fleet) -> None:
    worker = pair[0]
    await worker.tell("p", 5, commands.Serve(b"", b"", KEY_LENGTH), term=7)
    before = await worker.part("p")
    with pytest.raises(errors.StaleRequest, match="epoch"):
        await worker.tell("p", 4, commands.Fence(1), term=7)
    with pytest.raises(errors.StaleRequest, match="term 6 is over"):
        await worker.tell("p", 5, commands.Fence(1), term=6)
    worker.incarnation, right = "another/life", worker.incarnation
    with pytest.raises(errors.StaleRequest, match="another/life"):
        await worker.tell("p", 5, commands.Fence(1), term=7)
    worker.incarnation = right
    assert await worker.part("p") == before


async def test_promotion_needs_every_write(pair: Fleet) -> None:
    with dstk.connect(pair.addresses) as client:
        client.put(bytes(KEY_LENGTH), b"value")
    follow = commands.Follow(b"", b"", KEY_LENGTH, pair[0].name, pair[0].addresses["data"], pair[0].incarnation)
    await pair[1].tell("p", 1, follow)
    fenced = (await pair[0].tell("p", 1, commands.Fence(1)))["p"]
    await pair[1].tell("p", 1, commands.AwaitApplied(fenced.sequence, 30.0))
    for sequence, digest in ((fenced.sequence + 1, fenced.digest), (fenced.sequence, fenced.digest ^ 1)):
        with pytest.raises(errors.NotReady):
            await pair[1].tell("p", 2, commands.Promote(sequence, digest))
    assert (await pair[1].part("p")).role == "following"


async def test_requests_for_a_range_that_nobody_owns_end_at_the_deadline_and_say_so(tmp_path: Path) -> None:
    async with fleet(tmp_path, 1) as running:
        await running[0].tell("low", 1, commands.Serve(b"", MIDDLE, KEY_LENGTH))
        await running.push(Route("low", b"", MIDDLE, 1, running[0].name))
        with dstk.connect(running.addresses) as client:
            client.put(bytes(KEY_LENGTH), b"owned")
            with pytest.raises(errors.Unavailable):
                client.get(MIDDLE, timeout=1.0)


async def test_the_plane_for_machines_health_and_metrics(pair: Fleet) -> None:
    async with grpc_aio.insecure_channel(pair[0].addresses["control"]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with dstk.connect(pair.addresses) as client:
        client.put(bytes(KEY_LENGTH), b"value")
    url = f"http://{pair[0].addresses['metrics']}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    told = {(sample.name, *sample.labels.values()): sample.value for each in families(text) for sample in each.samples}
    assert told["dstk_worker_operations_total", KEYSPACE, "put"] == 1
    assert told["dstk_worker_partitions", KEYSPACE, "primary"] == 1
    assert told["dstk_worker_rows", KEYSPACE] == 1
    assert told["process_resident_memory_bytes",] > 0
    assert not any("partition" in sample.labels for each in families(text) for sample in each.samples)


async def test_each_partition_has_metrics_of_its_own_when_that_is_asked_for(tmp_path: Path) -> None:
    async with fleet(tmp_path, 1, flags=["--partition-metrics"]) as running:
        await running[0].tell("low", 1, commands.Serve(b"", MIDDLE, KEY_LENGTH))
        await running.push(Route("low", b"", MIDDLE, 1, running[0].name))
        with dstk.connect(running.addresses) as client:
            client.put(bytes(KEY_LENGTH), b"owned")
        url = f"http://{running[0].addresses['metrics']}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    rows = next(each for each in families(text) if each.name == "dstk_worker_partition_rows")
    assert [(each.labels, each.value) for each in rows.samples] == [
        ({"keyspace": KEYSPACE, "partition": "low", "role": "primary"}, 1)
    ]


async def test_loads_are_reported(pair: Fleet) -> None:
    with dstk.connect(pair.addresses) as client:
        for number in range(10):
            client.put(bytes([number]) + bytes(KEY_LENGTH - 1), b"value")
    reports = pair[0].control.loads(0.05)
    async for report in reports:
        loads = {load.partition: load for load in report.loads}
        assert loads["p"].rows == 10
        assert loads["p"].median_key is not None
        break
    await reports.aclose()  # type: ignore[attr-defined]


async def test_sigterm_ends_a_worker_cleanly(pair: Fleet) -> None:
    assert await pair[1].stop(signal.SIGTERM) == 0


async def test_connecting_is_awaited_or_entered(pair: Fleet) -> None:
    key = dstk.keys.text("k", KEY_LENGTH)
    client = await aio.connect(pair.addresses)
    version = await client.put(key, b"v")
    await client.close()
    with pytest.raises(errors.InvalidRequest, match="closed"):
        client.get(key)
    async with aio.connect(pair.addresses) as entered:
        assert await entered.get(key) == (b"v", version)
    with pytest.raises(errors.InvalidRequest, match="closed"):
        entered.get(key)


async def test_a_client_whose_workers_are_all_gone_begins_anew_at_its_first_address(tmp_path: Path) -> None:
    """Which is a name, such as a Service's, that stands for other workers by then."""
    behind = ""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = behind.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    front = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    address = f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
    async with fleet(tmp_path, 3) as old:
        await old.serve_all()
        behind = old[0].addresses["data"]
        client = await aio.connect([address])
        await client.put(MIDDLE, b"before")
        for worker in old.workers:
            await worker.stop(signal.SIGKILL)
        (tmp_path / "next").mkdir()
        async with fleet(tmp_path / "next", 2) as new:
            await new.serve_all()
            behind = new[0].addresses["data"]
            assert await client.get(MIDDLE, timeout=60.0) is None
            await client.put(MIDDLE, b"after", timeout=60.0)
            await client.close()
    front.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()

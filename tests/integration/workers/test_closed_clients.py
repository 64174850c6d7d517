"""What a client that is closed, cancelled, left or forked says of the calls that were under way: nothing that is not
true, and nothing of them stays."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from workers.fleet import KEY_LENGTH, Fleet, fleet

import dstk
from dstk import aio, errors
from dstk.client import ClientSettings
from waiting import until_true, wait_until

LONG = 3600.0
"""No call of these tests ends by its deadline: what has to end sooner hangs otherwise."""
PATIENT = ClientSettings(timeout_seconds=LONG)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Fleet]:
    """One worker, which serves all keys."""
    async with fleet(tmp_path, 1) as running:
        await running.serve_all()
        yield running


@contextmanager
def standing_still(running: Fleet) -> Iterator[None]:
    """The worker takes what the kernel takes for it, and never answers."""
    process = running[0].process
    process.send_signal(signal.SIGSTOP)
    try:
        # The signal is sent, and threads that run on another processor stop a moment later.
        tasks = Path(f"/proc/{process.pid}/task")
        while not all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()):
            time.sleep(0.001)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def key(number: int) -> bytes:
    return dstk.keys.u64(number).rjust(KEY_LENGTH, b"k")


def is_true(outcome: Any, row: Any) -> bool:
    """Whether what was said of a put of a new row can be, by what is read afterwards."""
    if isinstance(outcome, errors.OutcomeUnknown):
        return True
    if isinstance(outcome, errors.Unavailable):
        return row is None
    assert isinstance(outcome, int), outcome
    return row is not None and row.version == outcome


async def check(running: Fleet, outcomes: list[Any]) -> None:
    """Whether what was said of each put is so."""
    async with aio.connect(running.addresses) as reader:
        rows = await reader.get_many([key(number) for number in range(len(outcomes))])
    wrong = [(number, said) for number, said in enumerate(outcomes) if not is_true(said, rows[number])]
    assert not wrong, f"{len(wrong)} of {len(outcomes)}, the first {wrong[0]}"


async def test_puts_under_way_when_an_asyncio_client_is_closed(one: Fleet) -> None:
    outcomes: list[Any] = []
    for turn in range(20):
        client = await aio.connect(one.addresses, settings=PATIENT)
        await client.get(key(0))
        puts = [client.put(key(len(outcomes) + number), bytes(1000)) for number in range(40 if turn else 20_000)]
        if turn % 2:
            await puts[0]
        await client.close()
        outcomes += await asyncio.gather(*puts, return_exceptions=True)
    await check(one, outcomes)
    kinds = [type(outcome) for outcome in outcomes]
    assert errors.Unavailable in kinds, "some were not sent"
    assert errors.OutcomeUnknown not in kinds, "what was sent is waited for"


async def test_puts_under_way_in_threads_when_a_blocking_client_is_closed(one: Fleet) -> None:
    client = await asyncio.to_thread(lambda: dstk.connect(one.addresses, settings=PATIENT))
    outcomes: list[Any] = [None] * 8_000
    numbers = iter(range(len(outcomes)))
    done = threading.Event()

    def put() -> None:
        for number in numbers:
            try:
                outcomes[number] = client.put(key(number), b"v")
            except errors.DstkError as error:
                outcomes[number] = error
            if number == 500:
                done.set()

    def close_amid() -> None:
        done.wait()
        client.close()

    await asyncio.gather(*(asyncio.to_thread(put) for _ in range(4)), asyncio.to_thread(close_amid))
    closed = errors.InvalidRequest
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, closed)]
    assert refused, "the client was closed while puts were made"
    asked = [errors.Unavailable() if isinstance(outcome, closed) else outcome for outcome in outcomes]
    await check(one, asked)


async def test_a_blocking_put_many_stops_when_the_client_is_closed(one: Fleet) -> None:
    client = await asyncio.to_thread(lambda: dstk.connect(one.addresses, settings=PATIENT))
    count = 200_000
    keys, values = [key(number) for number in range(count)], [bytes(100)] * count
    putting = asyncio.create_task(asyncio.to_thread(client.put_many, keys, values))

    async def rows() -> int:
        found: int = (await one[0].part("p")).rows
        return found

    while await rows() == 0:
        assert not putting.done()
    await asyncio.to_thread(client.close)
    after = await rows()
    with pytest.raises(errors.PartialFailure) as failed:
        await putting
    assert await rows() == after < count
    await check(one, failed.value.results)


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
async def test_puts_to_a_worker_that_stands_still_end_with_the_client(one: Fleet, face: str) -> None:
    count = 20_000
    keys, values = [key(number) for number in range(count)], [bytes(1000)] * count
    if face == "asyncio":
        client = await aio.connect(one.addresses, settings=PATIENT)
        await client.get(key(0))
        with standing_still(one):
            putting: asyncio.Future[Any] = client.put_many(keys, values)
            read, scan = client.get(key(0)), client.scan(limit=10)
            await until_true(lambda: client.counters()["sent"] > 2)
            await client.close()
    else:
        blocking = await asyncio.to_thread(lambda: dstk.connect(one.addresses, settings=PATIENT))
        await asyncio.to_thread(blocking.get, key(0))
        with standing_still(one):
            putting = asyncio.create_task(asyncio.to_thread(blocking.put_many, keys, values))
            read = asyncio.create_task(asyncio.to_thread(blocking.get, key(0)))
            scan = asyncio.create_task(asyncio.to_thread(lambda: blocking.scan(limit=10)))
            await until_true(lambda: blocking.counters()["sent"] > 2)
            await asyncio.to_thread(blocking.close)
    for reading in (read, scan):
        with pytest.raises(errors.Unavailable, match="closed"):
            await reading
    with pytest.raises(errors.PartialFailure) as failed:
        await putting
    kinds = {type(outcome) for outcome in failed.value.results}
    assert kinds == {errors.OutcomeUnknown, errors.Unavailable}
    not_sent = next(outcome for outcome in failed.value.results if isinstance(outcome, errors.Unavailable))
    assert "the client was closed; this was not sent" in str(not_sent)


async def test_a_closed_client_refuses_and_closes_again(one: Fleet) -> None:
    client = await aio.connect(one.addresses)
    await asyncio.gather(client.close(), client.close())
    await client.close()
    with pytest.raises(errors.InvalidRequest, match="closed"):
        client.get(key(0))
    blocking = await asyncio.to_thread(lambda: dstk.connect(one.addresses))
    for _ in range(2):
        await asyncio.to_thread(blocking.close)
    with pytest.raises(errors.InvalidRequest, match="closed"):
        blocking.get(key(0))


async def test_leaving_by_an_exception_ends_what_is_under_way(one: Fleet) -> None:
    puts: list[asyncio.Future[int]] = []

    async def leave() -> None:
        async with aio.connect(one.addresses, settings=PATIENT) as client:
            await client.get(key(0))
            sent = client.counters()["sent"]
            stack.enter_context(standing_still(one))
            puts.append(client.put(key(1), b"v"))
            await until_true(lambda: client.counters()["sent"] > sent)
            raise ZeroDivisionError

    with ExitStack() as stack, pytest.raises(ZeroDivisionError):
        await leave()
    with pytest.raises(errors.OutcomeUnknown, match="closed"):
        await puts[0]


async def test_cancelling_close_does_not_undo_it(one: Fleet) -> None:
    client = await aio.connect(one.addresses, settings=PATIENT)
    await client.get(key(0))
    with standing_still(one):
        put = client.put(key(1), b"v")
        await until_true(lambda: client.counters()["sent"] > 0)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(errors.OutcomeUnknown, match="closed"):
            await put
    await client.close()


# Event loops


async def test_a_client_belongs_to_its_loop(one: Fleet) -> None:
    client = await aio.connect(one.addresses)

    def elsewhere() -> list[str]:
        said = []

        async def use() -> None:
            for ask in (lambda: client.put(key(0), b"v"), client.close):
                try:
                    await ask()
                except errors.InvalidRequest as error:
                    said.append(str(error))

        asyncio.run(use())
        try:
            client.put(key(0), b"v")
        except errors.InvalidRequest as error:
            said.append(str(error))
        return said

    said = await asyncio.to_thread(elsewhere)
    assert ["event loop" in text for text in said] == [True] * 3, said
    assert await client.get(key(0)) is None, "nothing was sent"
    # The answer is there a moment before it is counted.
    await until_true(lambda: client.counters()["under_way"] == 0)
    await client.close()


def test_calls_under_way_when_their_loop_is_closed(tmp_path: Path) -> None:
    program = """
        import asyncio, gc, logging, os, sys, threading
        from dstk import aio, errors
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # not that a step was slow, which this machine may be

        def sockets():
            links = []
            for number in os.listdir("/proc/self/fd"):
                try:
                    links.append(os.readlink(f"/proc/self/fd/{number}"))
                except OSError:
                    pass
            return sum(link.startswith("socket:") for link in links)

        def fail(args):
            print("in a thread:", args.exc_value, flush=True)
        threading.excepthook = fail
        kept = []

        async def leave(address):
            client = await aio.connect(address)
            await client.put(bytes(16), b"v")
            puts = [client.put(number.to_bytes(16), bytes(1000)) for number in range(1, 5000)]
            kept.append(client)

        address = sys.argv[1]
        asyncio.run(leave(address))
        client = kept.pop()
        async def again():
            for ask in (lambda: client.put(bytes(16), b"other"), client.close):
                try:
                    await ask()
                    print("done")
                except errors.InvalidRequest as error:
                    print("refused:", error)
            async with aio.connect(address) as other:
                print((await other.get(bytes(16))).value)
        asyncio.run(again())
        asyncio.run(leave(address))
        kept.clear()
        gc.collect()
        import time
        until = time.monotonic() + 60
        while sockets() and time.monotonic() < until:
            time.sleep(0.02)
        print("left:", sockets())
    """
    source = textwrap.dedent(program)

    async def run() -> str:
        async with fleet(tmp_path, 1) as running:
            await running.serve_all()
            command = [sys.executable, "-X", "dev", "-c", source, running.addresses[0]]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            output, _ = await process.communicate()
            return output.decode()

    output = asyncio.run(run()).splitlines()
    refused = output.pop(0)
    assert refused.startswith("refused: the event loop of this client is closed"), refused
    assert output == ["done", "b'v'", "left: 0"]


async def test_a_client_that_nobody_has_any_more_is_closed(one: Fleet) -> None:
    before = sockets()
    client = await aio.connect(one.addresses)
    put = client.put(key(0), b"v")
    del client
    gc.collect()
    assert isinstance(await put, int), "who waits for an answer gets it"
    blocking = await asyncio.to_thread(lambda: dstk.connect(one.addresses))
    assert sockets() > before
    del blocking, put
    gc.collect()
    await until_true(lambda: sockets() <= before, "the connections end")


def sockets() -> int:
    """Sockets of this process."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return sum(link.startswith("socket:") for link in links)


# Given up


VALUE = bytes(64 << 10)


async def test_calls_that_are_cancelled_free_their_values(one: Fleet) -> None:
    client = await aio.connect(one.addresses, settings=PATIENT)
    await client.get(key(0))
    with standing_still(one):
        puts = [client.put(key(number), VALUE) for number in range(2_000)]
        many = client.put_many([key(number) for number in range(2_000)], [VALUE] * 2_000)
        await until_true(lambda: client.counters()["sent"] > 0)
        assert client.counters()["open_bytes"] > 2_000 * len(VALUE)
        for put in puts:
            put.cancel()
        many.cancel()
        await until_true(lambda: client.counters()["open_bytes"] < len(VALUE), "values of calls given up are freed")
        assert client.counters()["sent"] == client.counters()["under_way"] < 1_000, "those not sent have left"
    await until_true(lambda: client.counters()["under_way"] == 0, "those that were sent leave with their answers")
    sent = await client.get_many([key(number) for number in range(2_000)])
    assert 0 < sum(row is not None for row in sent) < 1_000
    await client.close()


@pytest.mark.parametrize("how", ["wait_for", "task group", "gather"])
async def test_each_way_to_cancel_gives_the_call_up(one: Fleet, how: str) -> None:
    client = await aio.connect(one.addresses, settings=PATIENT)
    await client.get(key(0))
    with standing_still(one):
        if how == "wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.put(key(1), VALUE), 0.01)
        elif how == "task group":

            async def put() -> None:
                await client.put(key(1), VALUE)

            async def fail() -> None:
                raise ZeroDivisionError

            async def both() -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(put())
                    await asyncio.sleep(0)
                    group.create_task(fail())

            with pytest.raises(ExceptionGroup):
                await both()
        else:
            gathered = asyncio.gather(client.put(key(1), VALUE), client.scan(limit=1))
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered
        await until_true(lambda: client.counters()["open_bytes"] < len(VALUE), "the value is freed")
    await until_true(lambda: client.counters()["under_way"] == 0)
    await client.close()


def test_ctrl_c_gives_a_blocking_call_up(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        workers = fleet(tmp_path, 1)
        running = runner.run(workers.__aenter__())
        try:
            runner.run(running.serve_all())
            client = dstk.connect(running.addresses, settings=PATIENT)
            client.get(key(0))
            with standing_still(running), concurrent.futures.ThreadPoolExecutor() as pool:

                def interrupt() -> None:
                    wait_until(lambda: client.counters()["sent"] > 0)
                    _thread.interrupt_main()

                interrupting = pool.submit(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    client.put_many([key(number) for number in range(2_000)], [VALUE] * 2_000)
                interrupting.result()
                wait_until(lambda: client.counters()["open_bytes"] < len(VALUE), "the values are freed")
                client.close()
                assert client.counters()["under_way"] == 0
        finally:
            runner.run(workers.__aexit__(None, None, None))


# Forks


async def test_a_fork_refuses_its_parents_client_and_leaves_it_alone(one: Fleet) -> None:
    program = """
        import asyncio, gc, os, sys
        import dstk
        from dstk import aio, errors

        async def main(address):
            blocking, client = dstk.connect(address), await aio.connect(address)
            await client.put(bytes(16), b"v")
            if (pid := os.fork()) == 0:
                code = 1
                try:
                    refusals = 0
                    for ask in (lambda: blocking.get(bytes(16)), lambda: client.get(bytes(16))):
                        try:
                            ask()
                        except errors.InvalidRequest as error:
                            refusals += "fork" in str(error)
                    blocking.close()
                    del blocking, client
                    gc.collect()
                    with dstk.connect(address) as own:
                        code = 0 if refusals == 2 and own.get(bytes(16)).value == b"v" else 2
                finally:
                    os._exit(code)
            print(os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]))
            print((await client.get(bytes(16))).value, blocking.get(bytes(16)).value)
            await client.close()
            blocking.close()

        asyncio.run(main(sys.argv[1]))
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), one.addresses[0],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert output.decode().splitlines() == ["0", "b'v' b'v'"]

"""Workers of two clusters at one address, and a disk that comes to another cluster: nobody is taken for another."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workers.fleet import KEY_LENGTH, Fleet, Worker, start

import dstk
from dstk import errors
from dstk.control import commands
from dstk.wire import ControlClient, Meant, Route

KEY = b"whose".ljust(KEY_LENGTH, b"\0")
OTHER = b"other".ljust(KEY_LENGTH, b"\0")


@pytest.fixture
async def processes() -> AsyncIterator[list[asyncio.subprocess.Process]]:
    started: list[asyncio.subprocess.Process] = []
    yield started
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def connect(address: str, *, seconds: float = 30.0, cluster: str = "") -> dstk.Client:
    return dstk.connect(address, settings=dstk.ClientSettings(timeout_seconds=seconds, cluster=cluster))


async def serve(worker: Worker, whose: bytes, *, durable: bool = False) -> None:
    """All keys, under the same names in both clusters; the row tells whose it is."""
    await worker.tell("p", 1, commands.Serve(b"", b"", KEY_LENGTH, durable))
    await Fleet([worker]).push(Route("p", b"", b"", 1, worker.name))
    with connect(worker.addresses["data"]) as client:
        client.put(KEY, whose)


async def test_a_client_never_meets_the_rows_of_another_cluster(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    ours = await start(tmp_path, "worker-0", processes, cluster="a")
    await serve(ours, b"a")
    address = ours.addresses["data"]
    with connect(address, seconds=2.0) as client:
        row = client.get(KEY)
        assert row is not None
        assert row.value == b"a"
        await ours.stop(signal.SIGKILL)
        theirs = await start(tmp_path, "worker-0", processes, data_address=address, cluster="b")
        await serve(theirs, b"b")
        before = (await theirs.part("p")).sequence
        calls = {
            "get": lambda: client.get(KEY),
            "put": lambda: client.put(OTHER, b"a"),
            "delete": lambda: client.delete(KEY),
            "scan": lambda: client.scan(limit=10),
            "get_many": lambda: client.get_many([KEY, OTHER]),
        }
        for name, call in calls.items():
            with pytest.raises((errors.Unavailable, errors.PartialFailure)) as raised:
                call()
            failed = raised.value
            found = failed.results if isinstance(failed, errors.PartialFailure) else [failed]
            assert all(isinstance(each, errors.Unavailable) for each in found), (name, found)
            assert all("of another cluster (b), not of a" in str(each) for each in found), (name, found)
        assert (await theirs.part("p")).sequence == before
        await theirs.stop()


async def test_the_cluster_that_is_meant_can_be_named(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    worker = await start(tmp_path, "worker-0", processes, cluster="b")
    await serve(worker, b"b")
    with connect(worker.addresses["data"], cluster="b") as client:
        assert client.get(KEY) is not None
    with pytest.raises(errors.Unavailable, match=r"of another cluster \(b\), not of a"):
        connect(worker.addresses["data"], seconds=1.0, cluster="a")
    await worker.stop()


@pytest.mark.parametrize(
    "meant",
    [
        Meant("b", "worker-0", "uid-0"),
        Meant("a", "worker-1", "uid-0"),
        Meant("a", "worker-0", "uid-7"),
    ],
    ids=["another cluster", "another worker", "another pod"],
)
async def test_an_operator_that_means_another_is_refused(
    tmp_path: Path, processes: list[asyncio.subprocess.Process], meant: Meant
) -> None:
    worker = await start(tmp_path, "worker-0", processes, cluster="a")
    control = ControlClient(worker.addresses["control"], meant)
    for call in (control.status(None), anext(control.loads(1.0))):
        with pytest.raises(errors.Misdirected, match="worker-0"):
            await call
    pusher = control.routes(9)
    with pytest.raises(errors.Unavailable, match="did not take the routes"):
        await Fleet([Worker("worker-0", worker.process, worker.addresses, control, worker.incarnation)]).push()
    pusher.close()
    with pytest.raises(errors.Misdirected):
        await Worker("worker-0", worker.process, worker.addresses, control, worker.incarnation).tell(
            "p", 1, commands.Serve(b"", b"", KEY_LENGTH), term=9
        )
    await control.close()
    # It has taken no note of any of it.
    status = await worker.control.status(None)
    assert (status.term, status.partitions) == (0, {})
    await worker.stop()


async def test_a_stale_address_of_another_cluster_does_not_capture_a_new_worker(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    """The worker is new and of no cluster yet; the operator that speaks first still knows an earlier pod there."""
    worker = await start(tmp_path, "worker-0", processes)
    stale = ControlClient(worker.addresses["control"], Meant("b", "worker-0", "uid-of-b"))
    with pytest.raises(errors.Misdirected):
        await stale.status([])
    await stale.close()
    own = ControlClient(worker.addresses["control"], Meant("a", "worker-0", "uid-0"))
    assert (await own.status([])).worker == "worker-0"
    await own.close()
    await worker.stop()


async def test_a_disk_is_of_the_cluster_whose_rows_it_has(
    tmp_path: Path, processes: list[asyncio.subprocess.Process]
) -> None:
    disk = tmp_path / "disk"
    first = await start(tmp_path, "worker-0", processes, data_dir=disk, cluster="a")
    await serve(first, b"a", durable=True)
    await first.stop()
    with pytest.raises(errors.Misdirected, match=r"belongs to cluster a, not to b.*remove .*/disk/cluster"):
        await start(tmp_path, "worker-0", processes, data_dir=disk, cluster="b")
    processes[-1].kill()
    await processes[-1].wait()
    # Its own cluster has it back, and so has another that is given it on purpose.
    again = await start(tmp_path, "worker-0", processes, data_dir=disk, cluster="a")
    assert (await again.part("p")).rows == 1
    await again.stop()
    (disk / "cluster").unlink()
    moved = await start(tmp_path, "worker-0", processes, data_dir=disk, cluster="b")
    assert (await moved.part("p")).rows == 1
    await moved.stop()

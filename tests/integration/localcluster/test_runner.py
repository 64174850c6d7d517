"""The process runner: names stay, lives end, Pods tell the truth, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dstk import kube
from dstk.errors import Unavailable
from dstk.local.apiserver import ApiServer
from dstk.local.kubeconfig import write_kubeconfig
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSet, WorkerSettings
from localcluster.processes import fake_worker_command, running_with
from waiting import WAIT_SECONDS, until_true

SETTINGS = WorkerSettings(command=fake_worker_command, backoff=CrashBackoff(first=0.01, longest=0.05))
PODS: kube.Kind[dict[str, Any]] = kube.Kind("v1", "Pod", "pods", dict)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[kube.Connection]:
    async with ApiServer() as server:
        write_kubeconfig(tmp_path / "kubeconfig", server.url)
        connected = await kube.connect(tmp_path / "kubeconfig")
        yield connected
        await connected.close()


@pytest.fixture
async def pods(connection: kube.Connection) -> kube.Objects[dict[str, Any]]:
    return kube.Objects(connection, PODS, "default")


@pytest.fixture
async def workers(connection: kube.Connection, tmp_path: Path) -> AsyncIterator[WorkerSet]:
    """Three fake workers, ready."""
    running = WorkerSet(connection, tmp_path, replicas=3, settings=SETTINGS)
    await running.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await running.ready()
        yield running
    finally:
        await running.stop()
    assert running_with(str(tmp_path)) == []


async def until_replaced(workers: WorkerSet, name: str, uid: str) -> None:
    await until_true(lambda: workers.uid(name) != uid and name in workers.endpoints())


async def test_each_worker_has_a_pod_with_its_real_ports(
    workers: WorkerSet, pods: kube.Objects[dict[str, Any]]
) -> None:
    endpoints = workers.endpoints()
    assert sorted(endpoints) == ["worker-0", "worker-1", "worker-2"]
    for name, addresses in endpoints.items():
        pod = await pods.get(name)
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {key: f"127.0.0.1:{port}" for key, port in ports.items()} == addresses
        assert (pod["status"]["phase"], pod["status"]["podIP"]) == ("Running", "127.0.0.1")
        assert {one["type"]: one["status"] for one in pod["status"]["conditions"]}["Ready"] == "True"
        assert pod["metadata"]["labels"]["app"] == "kv"
        assert pod["metadata"]["uid"] == workers.uid(name)
        host, _, port = addresses["data"].rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()


async def test_a_killed_worker_comes_back_with_a_new_pod(
    workers: WorkerSet, pods: kube.Objects[dict[str, Any]]
) -> None:
    before, pid = workers.uid("worker-1"), workers.pid("worker-1")
    others = {name: workers.uid(name) for name in ("worker-0", "worker-2")}
    workers.kill("worker-1")
    await until_replaced(workers, "worker-1", before)
    assert workers.pid("worker-1") != pid
    assert (await pods.get("worker-1"))["metadata"]["uid"] == workers.uid("worker-1")
    assert {name: workers.uid(name) for name in others} == others


async def test_deleting_the_pod_stops_the_process(workers: WorkerSet, pods: kube.Objects[dict[str, Any]]) -> None:
    before = workers.uid("worker-0")
    await pods.delete("worker-0")
    await until_replaced(workers, "worker-0", before)
    assert (await pods.get("worker-0"))["metadata"]["uid"] == workers.uid("worker-0")


async def test_scaling_adds_at_the_end_and_takes_from_the_end(
    workers: WorkerSet, pods: kube.Objects[dict[str, Any]], tmp_path: Path
) -> None:
    await workers.scale(5)
    async with asyncio.timeout(WAIT_SECONDS):
        await workers.ready()
    assert sorted(workers.endpoints()) == [f"worker-{number}" for number in range(5)]
    await workers.scale(1)
    assert sorted(workers.endpoints()) == ["worker-0"]
    assert [pod["metadata"]["name"] for pod in (await pods.list_page()).items] == ["worker-0"]
    assert len(running_with(str(tmp_path))) == 1


async def test_stop_removes_processes_and_pods(
    connection: kube.Connection, pods: kube.Objects[dict[str, Any]], tmp_path: Path
) -> None:
    running = WorkerSet(connection, tmp_path, replicas=2, settings=SETTINGS)
    await running.start()
    await running.stop()
    assert running_with(str(tmp_path)) == []
    assert (await pods.list_page()).items == []


async def test_one_that_ignores_sigterm_is_killed_with_all_it_started(
    connection: kube.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_STUBBORN", "1")
    monkeypatch.setenv("FAKE_WORKER_CHILD", "1")
    settings = WorkerSettings(command=fake_worker_command, grace_seconds=0.05)
    running = WorkerSet(connection, tmp_path, replicas=1, settings=settings)
    await running.start()
    async with asyncio.timeout(WAIT_SECONDS):
        await running.ready()
    assert len(running_with(str(tmp_path))) == 2
    await running.stop()
    await until_true(lambda: running_with(str(tmp_path)) == [])


async def test_a_worker_that_never_starts_is_reported_with_its_log(
    connection: kube.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_EXIT", "7")
    running = WorkerSet(connection, tmp_path, replicas=1, settings=SETTINGS)
    await running.start()
    try:
        with pytest.raises(Unavailable, match=r"(?s)worker-0 ends with 7 at every start:\n.*worker-0 of pod "):
            async with asyncio.timeout(WAIT_SECONDS):
                await running.ready()
    finally:
        await running.stop()


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from dstk.local.process import Child

    async def main():
        for number in range(2):
            command = [sys.executable, "-c", "import signal; signal.pause()", sys.argv[1]]
            await Child.start(command, Path(sys.argv[2]) / f"{number}.log")
        print("started", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


async def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    mark = f"orphan-test-{os.getpid()}"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(PARENT), mark, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert parent.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        assert await parent.stdout.readline() == b"started\n"
    await until_true(lambda: len(running_with(mark)) == 3)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until_true(lambda: running_with(mark) == [])


@pytest.mark.parametrize(
    ("lives", "pauses"),
    [
        ([0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.4, 0.8]),
        ([0.0] * 9, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]),
        ([0.0, 0.0, 11.0, 0.0], [0.1, 0.2, 0.1, 0.2]),
    ],
)
def test_crash_back_off(lives: list[float], pauses: list[float]) -> None:
    backoff, delay = CrashBackoff(), None
    found = []
    for alive in lives:
        delay = backoff.next(delay, alive)
        found.append(delay)
    assert found == pytest.approx(pauses)

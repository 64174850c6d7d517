"""The local cluster: it comes up, heals, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dstk import kube
from dstk.errors import ApiError, ConfigError, Unavailable
from dstk.local.api import ForeignApi
from dstk.local.apiserver import ApiServer
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.kubeconfig import write_kubeconfig
from dstk.local.process import CrashBackoff
from dstk.local.runner import WorkerSettings
from localcluster.processes import fake_operator_command, fake_worker_command, running_with
from waiting import until, until_true

BACKOFF = CrashBackoff(first=0.01, longest=0.05)
SETTINGS = ClusterSettings(
    operator_command=fake_operator_command,
    workers=WorkerSettings(command=fake_worker_command, backoff=BACKOFF),
    backoff=BACKOFF,
    serve_seconds=0,  # they serve nothing
)
KEYSPACE = {
    "apiVersion": "dstk.io/v1alpha1",
    "kind": "Keyspace",
    "metadata": {"name": "default"},
    "spec": {"keyLength": 16},
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(tmp_path / "c", workers=2, keyspace=KEYSPACE, settings=SETTINGS) as running:
        yield running
    assert running_with(str(tmp_path)) == []


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


async def test_it_writes_what_clients_need(cluster: LocalCluster) -> None:
    written = json.loads((cluster.directory / "endpoints.json").read_text())
    assert written == cluster.endpoints()
    assert sorted(written["workers"]) == ["worker-0", "worker-1"]
    assert set(written["workers"]["worker-0"]) == {"data", "control", "metrics"}
    connection = await kube.connect(cluster.kubeconfig)
    try:
        assert connection.server == written["api"]
    finally:
        await connection.close()
    keyspace = await get(f"{cluster.url}/apis/dstk.io/v1alpha1/namespaces/default/keyspaces/default")
    assert keyspace["spec"]["keyLength"] == 16


async def test_a_killed_api_server_comes_back_with_its_objects(cluster: LocalCluster) -> None:
    pods = f"{cluster.url}/api/v1/namespaces/default/pods"
    before = {item["metadata"]["uid"] for item in (await get(pods))["items"]}
    version = int((await get(pods))["metadata"]["resourceVersion"])
    await cluster.restart_api()
    after = await get(pods)
    assert {item["metadata"]["uid"] for item in after["items"]} == before
    assert int(after["metadata"]["resourceVersion"]) >= version


async def test_a_killed_worker_comes_back_at_its_address(cluster: LocalCluster) -> None:
    assert cluster.workers is not None
    before, uid = cluster.endpoints(), cluster.workers.uid("worker-1")
    cluster.kill_worker("worker-1")

    def is_back() -> bool:
        workers = cluster.workers
        assert workers is not None
        return workers.uid("worker-1") != uid and "worker-1" in workers.endpoints()

    await until_true(is_back)
    assert cluster.endpoints() == before


async def test_workers_have_their_addresses_in_the_next_life_of_the_cluster(tmp_path: Path) -> None:
    async def addresses(workers: int) -> dict[str, Any]:
        async with LocalCluster(tmp_path / "c", workers=workers, keyspace=KEYSPACE, settings=SETTINGS) as cluster:
            found: dict[str, Any] = cluster.endpoints()["workers"]
            return found

    first = await addresses(2)
    assert await addresses(3) | first == await addresses(3)
    taken = int(first["worker-0"]["data"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", taken)):
        others = await addresses(2)
    assert others["worker-1"] == first["worker-1"]
    assert others["worker-0"]["data"] != first["worker-0"]["data"]
    assert others["worker-0"]["control"] == first["worker-0"]["control"]
    assert await addresses(2) == others, "what it got instead is recorded"


async def test_a_record_of_ports_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"worker-0": {"data": "no"}}')
    with pytest.raises(ConfigError, match=r"ports\.json does not hold ports of workers; remove it"):
        async with LocalCluster(tmp_path, workers=1, keyspace=KEYSPACE, settings=SETTINGS):
            pass


async def test_the_operator_can_be_restarted_and_killed(cluster: LocalCluster) -> None:
    lease = f"{cluster.url}/apis/coordination.k8s.io/v1/namespaces/default/leases/dstk-reconciler"
    terms = [(await get(lease))["spec"]["leaseTransitions"]]

    async def later() -> bool:
        return bool((await get(lease))["spec"]["leaseTransitions"] > terms[-1])

    await cluster.restart_operator()
    await until(later)
    terms.append((await get(lease))["spec"]["leaseTransitions"])
    cluster.kill_operator()
    await until(later)


async def test_it_scales(cluster: LocalCluster) -> None:
    await cluster.scale(4)
    assert len(cluster.endpoints()["workers"]) == 4
    await cluster.scale(1)
    assert sorted(cluster.endpoints()["workers"]) == ["worker-0"]


async def test_one_directory_is_for_one_cluster(cluster: LocalCluster) -> None:
    with pytest.raises(ConfigError, match=f"is in use by process {os.getpid()}"):
        await LocalCluster(cluster.directory, settings=SETTINGS).start()
    assert (cluster.directory / "endpoints.json").exists()


async def test_a_second_run_goes_on_with_the_first_ones_objects(tmp_path: Path) -> None:
    for _ in range(2):
        async with LocalCluster(tmp_path, workers=1, keyspace=KEYSPACE, settings=SETTINGS) as running:
            found = await get(f"{running.url}/apis/dstk.io/v1alpha1/namespaces/default/keyspaces")
            assert [item["metadata"]["name"] for item in found["items"]] == ["default"]
    assert running_with(str(tmp_path)) == []


async def test_a_second_run_changes_what_it_is_asked_to(tmp_path: Path) -> None:
    async with LocalCluster(tmp_path, workers=1, keyspace=KEYSPACE, settings=SETTINGS):
        pass
    asked = {**KEYSPACE, "spec": {"proxySeconds": 1, "policy": {"mode": "Off"}}}
    async with LocalCluster(tmp_path, keyspace=asked, settings=SETTINGS) as running:
        spec = (await get(f"{running.url}/apis/dstk.io/v1alpha1/namespaces/default/keyspaces/default"))["spec"]
        assert (spec["proxySeconds"], spec["policy"]["mode"], spec["keyLength"]) == (1, "Off", 16)
        assert sorted(running.endpoints()["workers"]) == ["worker-0"]


@pytest.mark.parametrize("made", [False, True])
async def test_a_field_that_a_keyspace_has_not_is_refused(tmp_path: Path, made: bool) -> None:
    if made:
        async with LocalCluster(tmp_path, workers=1, keyspace=KEYSPACE, settings=SETTINGS):
            pass
    asked = {**KEYSPACE, "spec": {"keyLength": 16, "proxy_seconds": 1}}
    with pytest.raises(ApiError, match=r"unknown field .*proxy_seconds") as refused:
        await LocalCluster(tmp_path, workers=1, keyspace=asked, settings=SETTINGS).start()
    assert refused.value.exit_code == 2
    assert running_with(str(tmp_path)) == []


async def test_a_directory_for_another_api_server_goes_on_with_that_alone(tmp_path: Path) -> None:
    async with ApiServer() as server:
        write_kubeconfig(tmp_path / "theirs", server.url)
        theirs = replace(SETTINGS, api=ForeignApi(tmp_path / "theirs"))
        for _ in range(2):
            async with LocalCluster(tmp_path / "c", workers=1, keyspace=KEYSPACE, settings=theirs) as running:
                assert running.url == server.url
    with pytest.raises(ConfigError, match="name it again by --kubeconfig"):
        await LocalCluster(tmp_path / "c", settings=SETTINGS).start()
    async with ApiServer() as another:
        write_kubeconfig(tmp_path / "theirs", another.url)
        with pytest.raises(ConfigError, match="those of an earlier namespace"):
            await LocalCluster(tmp_path / "c", settings=theirs).start()


async def test_whoever_finds_the_endpoints_finds_the_whole_cluster(tmp_path: Path) -> None:
    """Also what another left behind that was killed is not found."""
    found = tmp_path / "endpoints.json"
    found.write_text("{}")
    cluster = LocalCluster(tmp_path, workers=3, settings=SETTINGS)
    starting = asyncio.create_task(cluster.start())
    await asyncio.sleep(0)  # it has the directory
    await until_true(found.exists)
    assert len(json.loads(found.read_text())["workers"]) == 3
    assert (tmp_path / "kubeconfig").exists()
    await starting
    await cluster.stop()
    assert not found.exists()


async def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_EXIT", "3")
    with pytest.raises(Unavailable, match="ends with 3 at every start"):
        await LocalCluster(tmp_path, workers=1, settings=SETTINGS).start()
    assert running_with(str(tmp_path)) == []
    assert not (tmp_path / "kubeconfig").exists()


async def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    starting = asyncio.create_task(LocalCluster(tmp_path, workers=2, settings=SETTINGS).start())
    await until_true(lambda: len(running_with(str(tmp_path))) >= 2)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert running_with(str(tmp_path)) == []


async def test_sigterm_to_a_worker_is_a_restart_too(cluster: LocalCluster) -> None:
    assert cluster.workers is not None
    before = cluster.workers.uid("worker-0")
    cluster.kill_worker("worker-0", signal.SIGTERM)
    workers = cluster.workers
    await until_true(lambda: workers.uid("worker-0") != before and "worker-0" in workers.endpoints())

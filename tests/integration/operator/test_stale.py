"""An operator whose watches are behind takes neither a pod for gone that is back, nor another's commit for its own."""

from __future__ import annotations

import asyncio
import socket

import pytest
from harness import World, settings_for_tests, world
from kubernetes.aio.client.configuration import Configuration

from dstk.errors import ApiError
from dstk.kube import Connection, client_of, is_conflict
from dstk.lifecycle.actions import Commit
from dstk.lifecycle.outcome import Outcome
from dstk.operator import Operator
from dstk.operator.executor import ActionExecutor


def behind(cluster: World) -> Operator:
    """One that has seen nothing yet."""
    return Operator(cluster.connection, settings_for_tests())


async def test_whether_a_pod_is_gone_is_asked_of_the_api_server() -> None:
    async with world() as cluster:
        workers = behind(cluster).workers
        assert not workers.exists("pod1")
        back, gone = await workers.look("pod1", []), await workers.look("pod9", [])
        assert (back.reachable, back.gone) == (False, False)
        assert (gone.reachable, gone.gone) == (False, True)


async def test_a_pod_whose_end_nobody_confirms_may_be_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    connection = Connection(client_of(Configuration(host=url)), "default")
    try:
        workers = Operator(connection, settings_for_tests()).workers
        assert not (await workers.look("pod9", [])).gone
    finally:
        await connection.close()


async def test_what_another_operator_has_committed_is_a_conflict_though_it_is_the_same() -> None:
    async with world() as cluster:
        await cluster.keyspace()
        partition = await cluster.partition("part", "a", "o")
        commit = Commit("part", partition.metadata.resource_version, "pod1", "", 1)
        first, second = behind(cluster), behind(cluster)
        await executor(first).carry_out(None, commit, Outcome())
        with pytest.raises(ApiError) as refused:
            await executor(second).carry_out(None, commit, Outcome())
        assert is_conflict(refused.value)
        known = second.cluster.partitions.get("part")
        assert known is not None
        assert (known.spec.primary, known.spec.epoch) == ("pod1", 1)


def executor(of: Operator) -> ActionExecutor:
    return ActionExecutor(of.cluster, of.workers, of.metrics, lambda: 1, asyncio.Semaphore(1), lambda partition: None)

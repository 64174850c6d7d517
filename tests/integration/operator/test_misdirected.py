"""The operator says which cluster it is of, and a worker of another is none of its own."""

from __future__ import annotations

import json

import pytest
from harness import World, world

from dstk.errors import ConfigError
from dstk.kube import EVENTS, Objects
from dstk.operator.namespace import cluster_identity
from waiting import until, until_true


async def uid_of_the_namespace(cluster: World) -> str:
    answer = json.loads(await cluster.connection.request("GET", "/api/v1/namespaces/default"))
    return str(answer["metadata"]["uid"])


async def test_workers_learn_that_the_cluster_is_the_namespace() -> None:
    async with world() as cluster:
        uid = await uid_of_the_namespace(cluster)
        assert await cluster_identity(cluster.connection, "default") == uid
        async with cluster.operating() as operator:
            await until_true(
                lambda: all(link.reachable for link in operator.workers) and len(list(operator.workers)) == 2
            )
        assert {worker.cluster for worker in cluster.workers.values()} == {uid}


async def test_a_worker_of_another_cluster_is_left_alone_and_its_pod_says_so() -> None:
    async with world() as cluster:
        cluster.workers["pod2"].cluster = "another"
        await cluster.keyspace()
        async with cluster.operating() as operator:
            await cluster.served("part", "a", "o", "pod1")
            events = Objects(cluster.connection, EVENTS, "default")

            async def told() -> bool:
                found = (await events.list_page()).items
                return any(each.involved_object.name == "pod2" and each.reason == "Misdirected" for each in found)

            await until(told, "an Event about the pod says so")
            link = operator.workers.get("pod2")
            assert link is not None
            assert not link.reachable
        assert cluster.workers["pod2"].calls == []


async def test_without_its_namespace_an_operator_does_not_begin() -> None:
    async with world() as cluster:
        with pytest.raises(ConfigError, match="there is no namespace nowhere"):
            await cluster_identity(cluster.connection, "nowhere")

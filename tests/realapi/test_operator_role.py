"""The operator's Role in the Helm chart is what the operator uses: no right is missing, and none is one too many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from failurecases import staged
from stage import OTHER, SOURCE, Scene, Stage, Stop

import worlds
from dstk import api, kube
from waiting import until

Right = tuple[str, str, str]
"""API group, resource, verb"""


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for rule in worlds.rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(namespace: str) -> set[Right]:
    """What the operator of that namespace has been allowed so far."""
    account = f"{namespace}:dstk-operator"
    return {
        (event.group, event.resource, event.verb)
        for event in worlds.plane().audit()
        if event.account == account and event.allowed and event.resource and event.path.startswith(("/api/", "/apis/"))
    }


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as running:
        yield running


async def test_the_operator_uses_every_right_that_it_has_and_no_other(stage: Stage) -> None:
    await cut_and_placed_by_the_assigner(stage)
    await deleted_when_its_time_is_over(stage)
    await merged_with_conflicts(stage)
    await lost_twice(stage)
    await deleted_in_the_middle(stage)
    await restarted(stage)
    await stage.new_operator()  # which takes the lease over
    unused: set[Right] = set()

    async def all_used() -> bool:
        nonlocal unused
        unused = granted() - used(stage.cluster.namespace)
        return not unused

    await until(all_used, lambda: f"all rights are used; these are not: {sorted(unused)}")
    assert used(stage.cluster.namespace) == granted()


async def cut_and_placed_by_the_assigner(stage: Stage) -> None:
    await stage.keyspaces.create(
        {"metadata": {"name": "auto"}, "spec": {"keyLength": 16, "partitions": {"initial": 2}}}
    )

    async def served() -> bool:
        found = await stage.keyspaces.find("auto")
        return found is not None and found.status.ready == 2

    await until(served, "the keyspace is served")


async def deleted_when_its_time_is_over(stage: Stage) -> None:
    await new(stage, "short", ttlSecondsAfterFinished=0)

    async def gone() -> bool:
        return await stage.assignments.find("short") is None

    await until(gone, "the Assignment is deleted")


async def new(stage: Stage, name: str, **spec: Any) -> None:
    """A New of a partition that has one key."""
    number = int.from_bytes(name.encode(), "big")
    bounds = {"start": f"0x{number:030x}", "end": f"0x{number + 1:030x}"}
    await stage.partitions.create({"metadata": {"name": name}, "spec": {"keyspace": "memory", "range": bounds}})
    params = {"partition": name, "primary": SOURCE}
    await stage.assignments.create({"metadata": {"name": name}, "spec": {"type": "New", "newParams": params, **spec}})


async def merged_with_conflicts(stage: Stage) -> None:
    """Somebody writes both objects while the operator is about to: it reads them again."""
    merge = Scene(stage, await stage.connect("memory"), 1, "merge", "memory")
    try:
        await merge.prepare()
        for stop, touched in (
            (Stop("operator.before-set-status", "hold"), stage.assignments),
            (Stop("operator.before-commit", "hold", "-a"), stage.partitions),
        ):
            merge.arm([stop])
            if touched is stage.assignments:
                await merge.begin()
            await merge.held(stop)
            await touched.patch(merge.name + stop.part, {"metadata": {"labels": {"touched": "yes"}}})
            merge.release()
        await merge.ended("Completed")
        await merge.let_go()
    finally:
        await merge.close()


async def deleted_in_the_middle(stage: Stage) -> None:
    """It may be that the whole namespace is."""
    move, before_it = (
        Scene(stage, await stage.connect("memory"), 2, "move", "memory"),
        Stop("operator.before-fence", "hold"),
    )
    try:
        await move.prepare()
        move.arm([before_it])
        await move.begin()
        await move.held(before_it)
        await stage.assignments.delete(move.name)

        async def looked() -> bool:
            return ("", "namespaces", "get") in used(stage.cluster.namespace)

        await until(looked, "the operator looks at its namespace")
        move.release()
        await move.ended("Aborted Cancelled")
        await move.let_go()
    finally:
        await move.close()


async def lost_twice(stage: Stage) -> None:
    """The same Event again is counted on the first."""
    for _ in range(2):
        before = await stage.partitions.get("anchor-memory")
        stage.cluster.kill_worker(OTHER)

        async def served(before: api.Partition = before) -> bool:
            now = await stage.partitions.get("anchor-memory")
            another = now.status.incarnation != before.status.incarnation
            return another and now.status.phase is api.PartitionPhase.READY

        await until(served, "the partition is served from empty")


async def restarted(stage: Stage) -> None:
    """A StatefulSet that the operator restarts; its one pod is of an old revision and has nothing."""
    labels = {"set": "idle"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "worker", "image": "none"}]}}
    sets = kube.Objects(stage.connection, kube.STATEFUL_SETS, stage.cluster.namespace)
    made = await sets.create(
        {
            "metadata": {"name": "idle", "annotations": {api.RESTARTS_ANNOTATION: "Operator"}},
            "spec": {
                "replicas": 1,
                "serviceName": "idle",
                "selector": {"matchLabels": labels},
                "template": template,
                "updateStrategy": {"type": "OnDelete"},
            },
        }
    )
    await sets.patch_status("idle", {"replicas": 1, "updateRevision": "new"})
    owner = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "idle",
        "uid": made.metadata.uid,
        "controller": True,
    }
    ports = [{"name": name, "containerPort": number} for name, number in (("control", 7071), ("data", 7070))]
    pods = kube.Objects(stage.connection, kube.PODS, stage.cluster.namespace)
    await pods.create(
        {
            "metadata": {
                "name": "idle-0",
                "labels": {**labels, "controller-revision-hash": "old"},
                "ownerReferences": [owner],
            },
            "spec": {"containers": [{"name": "worker", "image": "none", "ports": ports}]},
        }
    )

    async def evicted() -> bool:
        return await pods.find("idle-0") is None

    await until(evicted, "the pod of the old revision is evicted")
    await sets.delete("idle")

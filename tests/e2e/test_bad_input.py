"""Objects that somebody edits by hand in the worst way: it is said and mended, and no row is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from failurecases import staged
from stage import DESTINATION, OTHER, SOURCE, Scene, Stage, Stop

from dstk import api, kube
from dstk.api.conditions import find
from waiting import until

EVENTS = kube.EVENTS
NUMBERS = iter(range(1, 100))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def scene(stage: Stage, keyspace: str) -> AsyncIterator[Scene]:
    """A partition on the source, with rows, under a load that must not fail; in the end it has to be as it was."""
    number = next(NUMBERS)
    played = Scene(stage, await stage.connect(keyspace), number, "move", keyspace)
    try:
        await played.prepare()
        yield played
    finally:
        await played.close()


@asynccontextmanager
async def held_move(stage: Stage, keyspace: str, point: str) -> AsyncIterator[Scene]:
    """The same with a move under way, which waits at that point."""
    async with scene(stage, keyspace) as played:
        played.arm([Stop(point, "hold")])
        await played.begin()
        await played.held(Stop(point, "hold"))
        yield played


async def events(stage: Stage, name: str) -> set[str]:
    """Reasons of the Events about objects of that name."""
    found = kube.Objects(stage.connection, EVENTS, stage.cluster.namespace)
    return {event.reason for event in (await found.list_page()).items if event.involved_object.name == name}


async def told(stage: Stage, name: str, reason: str) -> None:
    """Wait for an Event of that reason about an object of that name."""

    async def there() -> bool:
        return reason in await events(stage, name)

    await until(there, f"an Event says {reason}")


async def repaired(scene: Scene, reason: str) -> None:
    """Wait until the Partition says by a condition what was found, and there is an Event."""
    seen: Any = None

    async def said() -> bool:
        nonlocal seen
        partition = await scene.stage.partitions.find(scene.name)
        seen = partition
        condition = find(partition.status.conditions, "Repaired") if partition is not None else None
        return condition is not None and condition.reason == reason and reason in await events(scene.stage, scene.name)

    await until(said, lambda: f"it says {reason}: {seen}\n{scene.log.text()[-3000:]}")


@pytest.fixture(params=["disk", "memory"])
def keyspace(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def over(scene: Scene) -> None:
    """Wait until its Assignment has ended."""

    async def ended() -> bool:
        return (await scene.phase()).startswith(("Completed", "Aborted"))

    await until(ended, lambda: f"{scene.name} ends\n{scene.log.text()[-3000:]}")


async def edit(scene: Scene, **spec: Any) -> None:
    await scene.stage.partitions.patch(scene.name, {"spec": spec})


@pytest.mark.parametrize("primary", [DESTINATION, "nowhere", None])
async def test_a_primary_set_by_hand_is_set_back_to_the_worker_that_has_the_rows(
    stage: Stage, keyspace: str, primary: str | None
) -> None:
    async with scene(stage, keyspace) as played:
        before = await stage.partitions.get(played.name)
        await edit(played, primary=primary, epoch=before.spec.epoch + 1)
        await repaired(played, "PrimaryEdited")
        await played.serves({played.name: SOURCE})
        await played.finish(False)


@pytest.mark.parametrize("proxy", [DESTINATION, "nowhere"])
async def test_a_proxy_set_by_hand_is_taken_away(stage: Stage, keyspace: str, proxy: str) -> None:
    async with scene(stage, keyspace) as played:
        await edit(played, proxy=proxy)
        await repaired(played, "ProxyEdited")
        await played.serves({played.name: SOURCE})
        await played.finish(False)


async def test_a_partition_that_somebody_deletes_comes_back_as_it_was_served(stage: Stage, keyspace: str) -> None:
    async with scene(stage, keyspace) as played:
        await stage.partitions.delete(played.name)
        await repaired(played, "ObjectDeleted")
        await played.serves({played.name: SOURCE})
        await played.finish(False)


STEPS = ["operator.before-follow", "operator.before-fence", "operator.after-fence", "operator.before-commit"]
LATE_STEPS = ["operator.after-commit", "operator.after-promote", "operator.after-proxy"]


@pytest.mark.parametrize("point", STEPS)
async def test_a_partition_deleted_in_the_middle_of_a_move_stays_where_it_is(
    stage: Stage, keyspace: str, point: str
) -> None:
    async with held_move(stage, keyspace, point) as played:
        await stage.partitions.delete(played.name)
        played.release()
        await played.ended("Aborted PartitionChanged")
        await told(stage, played.name, "PartitionChanged")
        await repaired(played, "ObjectDeleted")
        await played.serves({played.name: SOURCE})
        await played.finish(False)
        await played.let_go()


@pytest.mark.parametrize("point", LATE_STEPS)
async def test_one_deleted_after_the_commit_of_a_move_is_where_it_went(stage: Stage, keyspace: str, point: str) -> None:
    async with held_move(stage, keyspace, point) as played:
        await stage.partitions.delete(played.name)
        played.release()
        await repaired(played, "ObjectDeleted")
        owner = (await stage.partitions.get(played.name)).spec.primary
        assert owner in (SOURCE, DESTINATION)
        await played.serves({played.name: owner})
        assert await played.phase() in ("Completed", "Aborted PartitionChanged")
        await played.finish(False)
        await played.let_go()


@pytest.mark.parametrize("primary", [DESTINATION, OTHER, "nowhere", None])
@pytest.mark.parametrize("point", STEPS)
async def test_a_primary_set_by_hand_in_the_middle_of_a_move(
    stage: Stage, keyspace: str, point: str, primary: str | None
) -> None:
    async with held_move(stage, keyspace, point) as played:
        before = await stage.partitions.get(played.name)
        await edit(played, primary=primary, epoch=before.spec.epoch + 1)
        played.release()
        await over(played)
        owner = DESTINATION if await played.phase() == "Completed" else SOURCE
        await played.serves({played.name: owner})
        await played.finish(False)
        await played.let_go()


@pytest.mark.parametrize("deed", ["partition", "keyspace", "both"])
@pytest.mark.parametrize("point", ["operator.after-follow", "operator.after-fence", "operator.after-commit"])
async def test_what_is_deleted_while_no_operator_runs_and_a_move_is_under_way(
    stage: Stage, keyspace: str, point: str, deed: str
) -> None:
    async with held_move(stage, keyspace, point) as played:
        kept = await stage.keyspaces.get(keyspace)
        async with stage.without_operator():
            played.release()
            if deed != "keyspace":
                await stage.partitions.delete(played.name)
            if deed != "partition":
                await stage.keyspaces.delete(keyspace)
        try:
            if deed == "keyspace":
                await played.says("Stalled KeyspaceGone")
                await told(stage, played.name, "KeyspaceGone")
            elif deed == "both":
                await played.ended("Aborted PartitionChanged")
        finally:
            if deed != "partition":
                await stage.keyspaces.create({"metadata": {"name": keyspace}, "spec": api.to_dict(kept.spec)})
        await over(played)
        if deed != "keyspace":
            await repaired(played, "ObjectDeleted")
        owner = (await stage.partitions.get(played.name)).spec.primary
        assert owner in (SOURCE, DESTINATION)
        await played.serves({played.name: owner})
        await played.finish(False)
        await played.let_go()


async def test_one_that_is_created_anew_goes_to_the_worker_that_has_the_rows(stage: Stage, keyspace: str) -> None:
    async with scene(stage, keyspace) as played:
        before = await stage.partitions.get(played.name)
        async with stage.without_operator():
            await stage.partitions.delete(played.name)
            bounds = {"start": before.spec.range.start, "end": before.spec.range.end}
            anew = {"metadata": {"name": played.name}, "spec": {"keyspace": keyspace, "range": bounds}}
            await stage.partitions.create(anew)
            await played.assign(
                played.name + "-wrong", {"type": "New", "newParams": {"partition": played.name, "primary": DESTINATION}}
            )
        await played.ended("Aborted HeldElsewhere", played.name + "-wrong")
        await repaired(played, "PrimaryEdited")
        await played.serves({played.name: SOURCE})
        assert (await stage.partitions.get(played.name)).spec.epoch > before.spec.epoch
        await played.finish(False)

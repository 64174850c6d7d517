"""Rows that went with a worker's memory: who reads is told, until a person has said that it is known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_older_disks import HURT, KEYSPACE, Stage, keys_of, write

from dstk import errors
from dstk.api.losses import loss_of
from waiting import until


@pytest.fixture
async def stage(tmp_path: Path, asked: dict[str, Any]) -> AsyncIterator[Stage]:
    keyspace = {**KEYSPACE, "spec": {**KEYSPACE["spec"], "durability": "Memory", **asked}}
    made = Stage(tmp_path, keyspace)
    await made.cluster.start()
    try:
        await made.served()
        yield made
    finally:
        await made.cluster.stop()


@pytest.mark.parametrize("asked", [{"onLoss": "Recreate"}], ids=["Recreate"])
async def test_what_is_served_from_empty_is_listed_until_it_is_accepted(stage: Stage) -> None:
    before = await stage.partitions()
    keys, others = keys_of(before, HURT), keys_of(before, "worker-1")
    await write(stage, [*keys, *others], b"row")
    client = await stage.connect()
    assert client.losses() == []
    killed = datetime.now(UTC)
    stage.cluster.kill_worker(HURT)
    hurt = {each.metadata.name: each.spec.range for each in before if each.spec.primary == HURT}

    async def listed() -> bool:
        return {each.partition for each in client.losses() if not each.held} == set(hurt)

    await until(listed, "the client is told of the ranges")
    for loss in client.losses():
        assert loss.reason == "WorkerRestarted"
        assert timedelta(seconds=-1) <= loss.since - killed <= datetime.now(UTC) - killed
        assert sum(loss.start <= key and (not loss.end or key < loss.end) for key in keys) == 1
        assert not any(loss.start <= key and (not loss.end or key < loss.end) for key in others)
    for key in keys:
        assert await client.get(key) is None
        await client.put(key, b"anew")
    status = await stage.dstk("status")
    assert "WorkerRestarted" in status
    assert "accept-loss" in status

    first, *rest = sorted(hurt)
    await stage.dstk("accept-loss", first)

    async def fewer() -> bool:
        return {each.partition for each in client.losses()} == set(rest)

    await until(fewer, "what is accepted is listed no more")
    await stage.dstk("accept-loss", "--all")

    async def none() -> bool:
        return client.losses() == []

    await until(none, "nothing is listed any more")
    for key in keys:
        assert (await client.get(key) or (b"", 0))[0] == b"anew", "to accept a loss loses nothing more"
    await client.close()


@pytest.mark.parametrize("asked", [{"onLoss": "Hold"}], ids=["Hold"])
async def test_a_range_that_is_held_says_at_once_what_was_lost(stage: Stage) -> None:
    before = await stage.partitions()
    keys = keys_of(before, HURT)
    versions = await write(stage, keys, b"row")
    client = await stage.connect()
    stage.cluster.kill_worker(HURT)
    lost = await stage.lost()

    async def told() -> bool:
        return {each.partition for each in client.losses() if each.held} == {each.metadata.name for each in lost}

    await until(told, "the client is told")
    for key in keys:
        for call in (client.get(key), client.put(key, b"anew"), client.delete(key)):
            with pytest.raises(errors.DataLost, match=r"RowsMissing.*accept-loss"):
                await call
        with pytest.raises(errors.DataLost):
            await client.scan(key, limit=1)
    with pytest.raises((errors.DataLost, errors.PartialFailure), match="were lost"):
        await client.get_many(keys)

    await stage.dstk("accept-loss", "--all")
    await stage.served()

    async def none() -> bool:
        return client.losses() == []

    await until(none, "nothing is listed any more")
    for key in keys:
        assert await client.get(key) is None
        assert await client.put(key, b"anew", 0) > versions[key]
    assert not any(map(loss_of, await stage.partitions()))
    await client.close()


@pytest.mark.parametrize("asked", [{"onLoss": "Recreate"}], ids=["Recreate"])
async def test_what_a_partition_has_lost_its_children_tell(stage: Stage) -> None:
    """Else a split, which the Assigner makes by itself, would have it forgotten."""
    part = next(each for each in await stage.partitions() if each.spec.primary == HURT)
    [key] = keys_of([part], HURT)
    stage.cluster.kill_worker(HURT)
    client = await stage.connect()

    async def listed() -> bool:
        return part.metadata.name in {each.partition for each in client.losses()}

    await until(listed, "the client is told")
    await stage.dstk("split", part.metadata.name, "--at", f"0x{key.hex()}", "--names", "low,high")

    async def both() -> bool:
        return {"low", "high"} <= {each.partition for each in client.losses()}

    await until(both, "both children tell of it")
    await stage.dstk("merge", "low", "high", "--name", "whole")

    async def whole() -> bool:
        names = {each.partition for each in client.losses()}
        return "whole" in names and not {"low", "high"} & names

    await until(whole, "so does what they are merged into")
    await client.close()

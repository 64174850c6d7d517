"""The four operations through their objects, each step as the seed's tables have it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from harness import World, world

from dstk.api import MergeStatus, MoveStatus, NewStatus, SplitStatus
from dstk.control import commands


@pytest.fixture
async def cluster() -> AsyncIterator[World]:
    async with world() as made, made.operating():
        await made.keyspace()
        yield made


async def test_new(cluster: World) -> None:
    await cluster.served("part1", "a", "o", "pod1")

    assert cluster.specs("part1") == [(None, None, 0), ("pod1", None, 1)]
    assert cluster.steps("new-part1", "new")[-1] == NewStatus(status="completed")
    part = await cluster.partitions.get("part1")
    assert part.status.phase == "ready"
    assert cluster.workers["pod1"].held["part1"].role == "primary"
    # kopf takes the finalizer off a moment after the end.
    await cluster.until("new-part1", lambda item: item.status.phase == "Completed" and not item.metadata.finalizers)


async def test_split(cluster: World) -> None:
    await cluster.served("part", "a", "o", "pod1")
    cluster.workers["pod1"].put("part", b"b\0\0\0", b"1")
    params = {"partition": "part", "splitKey": "e", "names": ["subpart1", "subpart2"]}
    await cluster.assign("s1", "InWorkerSplit", splitParams=params)
    await cluster.ended("s1", "Completed")

    def step(status: str, parent: str, first: str, second: str) -> SplitStatus:
        return SplitStatus(status=status, from_part=parent, splits={"subpart1": first, "subpart2": second})

    assert cluster.steps("s1", "split") == [
        step("loading", "primary", "loading", "following"),
        step("following", "primary", "following", "following"),
        step("completed", "disconnected", "primary", "primary"),
    ]
    await cluster.gone("part")
    children = [await cluster.partitions.get(name) for name in ("subpart1", "subpart2")]
    assert [(child.spec.range.start, child.spec.range.end) for child in children] == [("a", "e"), ("e", "o")]
    assert [(child.spec.primary, child.spec.epoch, child.status.phase) for child in children] == [
        ("pod1", 2, "ready")
    ] * 2
    assert cluster.workers["pod1"].held["subpart1"].rows == {b"b\0\0\0": b"1"}


async def test_merge(cluster: World) -> None:
    for name, start, end in (("part1", "a", "e"), ("part2", "j", "o")):
        await cluster.served(name, start, end, "pod1")
    await cluster.assign("m1", "InWorkerMerge", mergeParams={"partitions": ["part1", "part2"], "name": "whole"})
    await cluster.ended("m1", "Completed")

    def step(status: str, merged: str, part: str) -> MergeStatus:
        return MergeStatus(status=status, merged_part=merged, sub_parts={"part1": part, "part2": part})

    assert cluster.steps("m1", "merge") == [
        step("loading", "loading", "primary"),
        step("following", "following", "primary"),
        step("proxying", "primary", "proxy"),
        step("completed", "primary", "disconnected"),
    ]
    assert cluster.specs("part1")[-1] == (None, "pod1", 1)
    await cluster.gone("part1")
    await cluster.gone("part2")
    whole = await cluster.partitions.get("whole")
    assert (whole.spec.range.start, whole.spec.range.end, whole.spec.primary) == ("a", "o", "pod1")


async def test_move(cluster: World) -> None:
    await cluster.served("part", "a", "o", "pod1")
    cluster.workers["pod1"].put("part", b"b\0\0\0", b"1")
    await cluster.assign("m1", "InterWorkerMove", moveParams={"partition": "part", "from": "pod1", "to": "pod2"})
    await cluster.ended("m1", "Completed")

    def step(status: str, source: str, destination: str) -> MoveStatus:
        return MoveStatus(status=status, from_pod=source, to_pod=destination)

    assert cluster.steps("m1", "move") == [
        step("loading", "primary", "loading"),
        step("following", "primary", "following"),
        step("proxying", "proxy", "primary"),
        step("completed", "disconnected", "primary"),
    ]
    assert cluster.specs("part")[1:] == [("pod1", None, 1), ("pod2", "pod1", 2), ("pod2", None, 2)]
    assert cluster.workers["pod2"].held["part"].rows == {b"b\0\0\0": b"1"}
    assert "part" not in cluster.workers["pod1"].held


async def test_between_fence_and_proxy_nothing_is_asked_twice(cluster: World) -> None:
    await cluster.served("part", "a", "o", "pod1")
    source, destination = cluster.workers["pod1"], cluster.workers["pod2"]
    source.calls.clear()
    arrived, go_on = source.gate(commands.Fence)
    await cluster.assign("m1", "InterWorkerMove", moveParams={"partition": "part", "from": "pod1", "to": "pod2"})
    await arrived.wait()
    asked = [source.asked, destination.asked]
    arrived, stop = source.gate(commands.Proxy)
    go_on.set()
    await arrived.wait()
    assert [source.asked, destination.asked] == asked
    stop.set()
    await cluster.ended("m1", "Completed")
    assert [call[0] for call in source.calls] == ["Fence", "Proxy", "Release"]
    assert [call[0] for call in destination.calls][:2] == ["Follow", "Promote"]

"""What goes wrong in the middle of an operation, and how it ends."""

from __future__ import annotations

import pytest
from harness import World, world

from dstk.api import MoveStatus, Partition
from dstk.control import commands
from waiting import until_true

MOVE = {"moveParams": {"partition": "part", "from": "pod1", "to": "pod2"}}
SPLIT = {"splitParams": {"partition": "part", "splitKey": "e", "names": ["low", "high"]}}
MERGE = {"mergeParams": {"partitions": ["part", "next"], "name": "whole"}}

# (type, params, the command at which the operator is stopped, the worker that gets it)
MIDDLES = [
    ("New", {"newParams": {"partition": "free", "primary": "pod1"}}, commands.Serve, "pod1"),
    ("InWorkerSplit", SPLIT, commands.Split, "pod1"),
    ("InWorkerMerge", MERGE, commands.Merge, "pod1"),
    ("InterWorkerMove", MOVE, commands.Follow, "pod2"),
    ("InterWorkerMove", MOVE, commands.Fence, "pod1"),
    ("InterWorkerMove", MOVE, commands.Promote, "pod2"),
    ("InterWorkerMove", MOVE, commands.Proxy, "pod1"),
    ("InterWorkerMove", MOVE, commands.Release, "pod1"),
]


async def prepared(cluster: World) -> None:
    await cluster.keyspace()
    async with cluster.operating():
        await cluster.served("part", "a", "o", "pod1")
        await cluster.served("next", "o", "t", "pod1")
        cluster.workers["pod1"].put("part", b"b\0\0\0", b"kept")
    await cluster.partition("free", "t", "z")


@pytest.mark.parametrize(("type_", "params", "command", "worker"), MIDDLES)
async def test_an_operator_that_stops_in_the_middle_is_followed_by_another(
    type_: str, params: dict[str, object], command: type, worker: str
) -> None:
    async with world() as cluster:
        await prepared(cluster)
        arrived, go_on = cluster.workers[worker].gate(command)
        async with cluster.operating():
            await cluster.assign("a1", type_, **params)
            await arrived.wait()
        go_on.set()
        async with cluster.operating():
            await cluster.ended("a1", "Completed")
        rows = [held.rows for fake in cluster.workers.values() for held in fake.held.values() if held.role == "primary"]
        assert {b"b\0\0\0": b"kept"} in rows
        assert not any(held.fenced for fake in cluster.workers.values() for held in fake.held.values())


async def test_a_split_whose_operator_stopped_when_the_parent_was_gone_already_is_completed() -> None:
    """All was done but for saying so, and only the Assignment's status still tells what was created."""
    async with world() as cluster:
        await cluster.keyspace()
        async with cluster.operating():
            await cluster.served("low", "a", "e", "pod1")
            await cluster.served("high", "e", "o", "pod1")
        split = await cluster.assign("a1", "InWorkerSplit", splitParams={"partition": "part", "splitKey": "e"})
        splits = {"low": "following", "high": "following"}
        status = {"phase": "Running", "split": {"status": "following", "fromPart": "primary", "splits": splits}}
        await cluster.assignments.patch_status(split.metadata.name, status)
        async with cluster.operating():
            await cluster.ended("a1", "Completed")


async def test_a_merge_whose_operator_stopped_when_the_parts_were_gone_already_is_completed() -> None:
    """Likewise; the merged partition was given no name, so nothing says which it is."""
    async with world() as cluster:
        await cluster.keyspace()
        async with cluster.operating():
            await cluster.served("whole", "a", "o", "pod1")
        merge = await cluster.assign("a1", "InWorkerMerge", mergeParams={"partitions": ["low", "high"]})
        parts = {"low": "proxy", "high": "proxy"}
        status = {"phase": "Running", "merge": {"status": "proxying", "mergedPart": "primary", "subParts": parts}}
        await cluster.assignments.patch_status(merge.metadata.name, status)
        async with cluster.operating():
            await cluster.ended("a1", "Completed")


async def test_a_move_that_is_deleted_before_the_commit_leaves_everything_as_it_was() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating():
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await cluster.until("m1", lambda item: item.status.move is not None)
            await cluster.assignments.delete("m1")
            aborted = await cluster.ended("m1", "Aborted")
            await cluster.gone("m1")
        assert aborted.status.reason == "Cancelled"
        assert aborted.status.move == MoveStatus(status="loading", from_pod="primary", to_pod="disconnected")
        assert cluster.specs("part")[-1] == ("pod1", None, 1)
        assert cluster.workers["pod1"].held["part"].role == "primary"
        assert "part" not in cluster.workers["pod2"].held


async def test_a_move_whose_finalizer_is_removed_by_force_stays_in_charge_until_it_has_ended() -> None:
    async with world() as cluster:
        await prepared(cluster)
        arrived, go_on = cluster.workers["pod2"].gate(commands.Promote)
        async with cluster.operating() as operator:
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await arrived.wait()
            await cluster.assignments.delete("m1")
            await cluster.assignments.patch("m1", {"metadata": {"finalizers": []}})
            await cluster.gone("m1")
            await cluster.assign("s1", "InWorkerSplit", **SPLIT)
            waiting = await cluster.until("s1", lambda item: "m1" in item.status.message)
            assert waiting.status.phase == "Pending"
            assert {each.metadata.name for each in operator.cluster.unfinished("part")} == {"m1", "s1"}
            go_on.set()
            await cluster.ended("s1", "Completed")
        assert not cluster.workers["pod1"].held.keys() & {"part", "low", "high"}
        assert {"low", "high"} <= cluster.workers["pod2"].held.keys()


async def test_a_move_that_is_deleted_after_the_commit_is_brought_to_its_end() -> None:
    async with world() as cluster:
        await prepared(cluster)
        arrived, go_on = cluster.workers["pod2"].gate(commands.Promote)
        async with cluster.operating():
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await arrived.wait()
            await cluster.assignments.delete("m1")
            go_on.set()
            await cluster.ended("m1", "Completed")
            await cluster.gone("m1")
        assert cluster.specs("part")[-1] == ("pod2", None, 2)


async def test_a_destination_that_loses_its_copy_aborts_the_move() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating():
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await cluster.until("m1", lambda item: item.status.move is not None)
            await until_true(lambda: "part" in cluster.workers["pod2"].held)
            await cluster.workers["pod2"].stop()
            await cluster.pods.delete("pod2")
            aborted = await cluster.ended("m1", "Aborted")
        assert aborted.status.reason == "DestinationLost"
        assert cluster.workers["pod1"].held["part"].role == "primary"
        assert not cluster.workers["pod1"].held["part"].fenced


async def test_a_destination_that_goes_while_it_is_being_told_to_follow_aborts_the_move() -> None:
    """Its channel is closed with the call under way."""
    async with world() as cluster:
        await prepared(cluster)
        arrived, _ = cluster.workers["pod2"].gate(commands.Follow)
        async with cluster.operating():
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await arrived.wait()
            await cluster.pods.delete("pod2")
            aborted = await cluster.ended("m1", "Aborted")
        assert aborted.status.reason == "DestinationLost"
        assert cluster.workers["pod1"].held["part"].role == "primary"


REFUSED = [
    ("InterWorkerMove", {"moveParams": {"partition": "nobody", "from": "pod1", "to": "pod2"}}, "UnknownPartition"),
    ("InterWorkerMove", {"moveParams": {"partition": "part", "from": "pod1", "to": "pod9"}}, "UnknownWorker"),
    ("InWorkerSplit", {"splitParams": {"partition": "part", "splitKey": "x"}}, None),
    ("InWorkerSplit", {"splitParams": {"partition": "part", "splitKey": "a"}}, None),
    ("New", {"newParams": {"partition": "part", "primary": "pod2"}}, None),
]


async def test_what_cannot_be_is_aborted_with_a_reason_and_touches_nothing() -> None:
    async with world() as cluster:
        await prepared(cluster)
        before = list(cluster.workers["pod1"].calls)
        async with cluster.operating():
            for number, (type_, params, reason) in enumerate(REFUSED):
                await cluster.assign(f"r{number}", type_, **params)
                aborted = await cluster.ended(f"r{number}", "Aborted")
                assert aborted.status.message
                assert reason in (None, aborted.status.reason)
        assert [call for call in cluster.workers["pod1"].calls if call not in before] == []
        assert cluster.specs("part")[-1] == ("pod1", None, 1)


async def test_what_no_other_assignment_can_mend_is_refused_while_others_go_first() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating():
            await cluster.assign("a-first", "InterWorkerMove", **MOVE)
            await cluster.until("a-first", lambda item: item.status.move is not None)
            nowhere = {"moveParams": {"partition": "part", "from": "pod1", "to": "pod9"}}
            await cluster.assign("b-nowhere", "InterWorkerMove", **nowhere)
            aborted = await cluster.ended("b-nowhere", "Aborted")
            assert aborted.status.reason == "UnknownWorker"
            # The first may well come to nothing, and the second be right then.
            elsewhere = {"moveParams": {"partition": "part", "from": "pod2", "to": "pod1"}}
            await cluster.assign("c-back", "InterWorkerMove", **elsewhere)
            waiting = await cluster.until("c-back", lambda item: item.status.phase is not None)
            assert (waiting.status.phase, waiting.status.reason) == ("Pending", "Waiting")
            cluster.workers["pod2"].copies = True
            await cluster.ended("a-first", "Completed")
            await cluster.ended("c-back", "Completed")


async def test_two_assignments_on_one_partition_go_one_after_the_other() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating():
            await cluster.assign("a-first", "InterWorkerMove", **MOVE)
            await cluster.until("a-first", lambda item: item.status.move is not None)
            await cluster.assign("b-second", "InWorkerSplit", **SPLIT)
            waiting = await cluster.until("b-second", lambda item: item.status.phase == "Pending")
            assert "a-first" in waiting.status.message
            cluster.workers["pod2"].copies = True
            await cluster.ended("a-first", "Completed")
            await cluster.ended("b-second", "Completed")
        assert set(cluster.workers["pod2"].held) == {"low", "high"}


def says_data_lost(item: Partition) -> bool:
    return any(condition.type == "DataLost" for condition in item.status.conditions)


async def test_a_restarted_worker_that_lost_its_rows_serves_again_and_says_so() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating():
            await cluster.restart("pod1")
            lost = await cluster.until("part", says_data_lost)
            # After the commit the object shows the old phase for a moment: the new one stands beside the condition.
            served = await cluster.until(
                "part",
                lambda item: item.spec.epoch > 1 and item.status.phase == "ready" and says_data_lost(item),
            )
        assert lost.status.phase == "unavailable" or served.status.phase == "ready"
        assert cluster.workers["pod1"].held["part"].epoch == served.spec.epoch
        assert cluster.workers["pod1"].held["part"].rows == {}

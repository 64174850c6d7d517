"""The Assigner over real objects: what it creates, refuses and says."""

from __future__ import annotations

from harness import World, world

from dstk.api import Keyspace
from dstk.api.conditions import find
from dstk.kube import EVENTS, Objects
from waiting import until

CUT = {"partitions": {"initial": 6}}


async def ready(cluster: World, name: str, count: int) -> Keyspace:
    def is_ready(keyspace: Keyspace) -> bool:
        return keyspace.status.ready == count and keyspace.status.partitions == count

    found: Keyspace = await cluster.until(name, is_ready)
    return found


async def test_a_new_keyspace_is_cut_and_placed_evenly() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace(policy={"mode": "Auto"}, **CUT)
        keyspace = await ready(cluster, "default", 6)
        assert [len(worker.held) for worker in cluster.workers.values()] == [3, 3]
        condition = find(keyspace.status.conditions, "Cut")
        assert condition is not None
        assert condition.status == "True"


async def test_a_new_keyspace_is_cut_at_its_bounds_once_they_are_right() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace(policy={"mode": "Auto"}, partitions={"bounds": ["z", "0x61"]})

        def refused(keyspace: Keyspace) -> bool:
            condition = find(keyspace.status.conditions, "Ready")
            return condition is not None and condition.reason == "InvalidBounds"

        keyspace = await cluster.until("default", refused)
        condition = find(keyspace.status.conditions, "Ready")
        assert condition is not None
        assert "bound a is below z before it" in condition.message
        events = Objects(cluster.connection, EVENTS, "default")

        async def said() -> list[str]:
            return [each.message for each in (await events.list_page()).items if each.reason == "InvalidBounds"]

        assert await until(said) == [condition.message]
        await cluster.keyspaces.patch("default", {"spec": {"partitions": {"bounds": ["a", "0x7a"]}}})
        await ready(cluster, "default", 3)


async def test_routes_reach_every_worker() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace(policy={"mode": "Auto"}, **CUT)
        await ready(cluster, "default", 6)
        expected = {
            name: (held.epoch, worker.name) for worker in cluster.workers.values() for name, held in worker.held.items()
        }
        for worker in cluster.workers.values():
            await worker.routed(lambda w: w.owners == expected)
            assert worker.addresses == {each.name: each.data_address for each in cluster.workers.values()}
            assert worker.routes_seen[0].full


async def test_proposals_wait_for_somebody_to_approve_them() -> None:
    async with world(("pod1",)) as cluster, cluster.operating():
        await cluster.keyspace(policy={"mode": "Propose"}, partitions={"initial": 1})
        created = await cluster.any_assignment()
        assert created.metadata.labels["dstk.io/proposed"] == "true"
        # An order of its own shows that the reconciler has been at work meanwhile.
        await cluster.keyspace("other")
        await cluster.partition("mine", "a", "b", keyspace="other")
        await cluster.assign("n1", "New", newParams={"partition": "mine", "primary": "pod1"})
        await cluster.ended("n1", "Completed")
        assert (await cluster.assignments.get(created.metadata.name)).status.phase is None
        await cluster.assignments.patch(
            created.metadata.name, {"metadata": {"annotations": {"dstk.io/approved": "true"}}}
        )
        await cluster.ended(created.metadata.name, "Completed")


async def test_of_two_partitions_that_overlap_the_younger_is_invalid_until_the_older_is_gone() -> None:
    async with world(("pod1",)) as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.partition("first", "a", "o")
        await cluster.partition("second", "e", "z")
        invalid = await cluster.until("second", lambda item: item.status.phase == "invalid")
        assert "first" in invalid.status.conditions[0].message
        await cluster.partitions.delete("first")
        await cluster.until("second", lambda item: item.status.phase == "unassigned")


async def test_one_that_is_served_comes_back_though_another_overlaps_it_that_nobody_has_served() -> None:
    async with world(("pod1",)) as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("first", "a", "o", "pod1")
        before = await cluster.partitions.get("first")
        await cluster.partition("second", "e", "z")
        await cluster.until("second", lambda item: item.status.phase == "invalid")
        await cluster.partitions.delete("first")
        back = await cluster.until(
            "first", lambda item: item.status.phase == "ready" and item.metadata.uid != before.metadata.uid
        )
        assert back.spec.primary == "pod1"
        assert cluster.workers["pod1"].held["first"].role == "primary"
        second = await cluster.partitions.get("second")
        assert (second.status.phase, second.spec.primary) == ("invalid", None)


async def test_a_partition_that_nobody_can_serve_has_a_warning_that_says_why() -> None:
    async with world(("pod1",)) as cluster, cluster.operating():
        events = Objects(cluster.connection, EVENTS, "default")
        await cluster.keyspace()
        await cluster.served("first", "a", "o", "pod1")
        await cluster.partition("overlaps", "e", "z")
        await cluster.partition("long", "zaaaa", "")
        await cluster.partition("backwards", "ü", "0x7e")
        await cluster.partition("lonely", "a", "b", keyspace="nowhere")

        async def told() -> dict[str, tuple[str, str]]:
            found = (await events.list_page()).items
            warnings = [event for event in found if event.type == "Warning"]
            return {event.involved_object.name: (event.reason, event.message) for event in warnings}

        async def complete() -> bool:
            return len(await told()) == 4

        await until(complete, "each of the four has a Warning")
        said = await told()
    assert {name: reason for name, (reason, _) in said.items()} == {
        "overlaps": "Overlap",
        "long": "InvalidRange",
        "backwards": "InvalidRange",
        "lonely": "UnknownKeyspace",
    }
    assert 'Partition "first"' in said["overlaps"][1]
    assert "zaaaa" in said["long"][1]


async def test_components_run_alone() -> None:
    async with world(("pod1",)) as cluster:
        async with cluster.operating(components=frozenset({"assigner"})):
            await cluster.keyspace(policy={"mode": "Auto"}, partitions={"initial": 1})
            created = await cluster.any_assignment()
        assert created.status.phase is None
        async with cluster.operating(components=frozenset({"reconciler"})):
            await cluster.ended(created.metadata.name, "Completed")


async def test_partitions_say_how_much_they_hold() -> None:
    async with world(("pod1",)) as cluster, cluster.operating(size_interval=0.05):
        await cluster.keyspace()
        await cluster.served("first", "a", "o", "pod1")
        for number in range(10):
            cluster.workers["pod1"].put("first", b"a%d" % number, b"value")
        await cluster.until("first", lambda item: item.status.rows == 10)
        cluster.workers["pod1"].held["first"].rows.clear()
        cluster.workers["pod1"].put("first", b"b", b"value")
        await cluster.until("first", lambda item: item.status.rows == 1)


async def test_what_somebody_has_cut_by_hand_is_merged_only_once_its_mark_is_gone() -> None:
    policy = {"mode": "Auto", "cooldownSeconds": 0, "mergeBelowRows": 1000, "mergeBelowOpsPerSecond": 1000}
    async with world(("pod1",)) as cluster, cluster.operating():
        await cluster.keyspace(policy=policy)
        await cluster.served("first", "a", "o", "pod1")
        split = {"partition": "first", "splitKeys": ["c", "e"], "names": ["one", "two", "three"]}
        await cluster.assign("by-hand", "InWorkerSplit", splitParams=split)
        await cluster.ended("by-hand", "Completed")
        two = await cluster.partitions.get("two")
        assert two.metadata.annotations["dstk.io/cut-by-hand"] == "by-hand"
        # What is lifted is merged, and with the other mark on it, which was there all the while, nothing else is.
        await cluster.partitions.patch("three", {"metadata": {"annotations": {"dstk.io/cut-by-hand": None}}})
        await cluster.gone("three")
        left = {item.metadata.name: item.spec.range for item in (await cluster.partitions.list_page()).items}
        assert (left["one"].start, left["one"].end) == ("a", "c")


async def test_keys_that_no_partition_has_are_named_until_one_has_them() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace(policy={"mode": "Auto"}, partitions={"bounds": ["g", "o"]})
        await ready(cluster, "default", 3)
        middle = next(each for each in await cluster.partitions.list_all() if each.spec.range.start == "g")
        owner = middle.spec.primary
        assert owner is not None
        # The rows go first: else the worker would have its object back.
        del cluster.workers[owner].held[middle.metadata.name]
        await cluster.partitions.delete(middle.metadata.name)

        def uncovered(keyspace: Keyspace) -> bool:
            condition = find(keyspace.status.conditions, "Ready")
            return condition is not None and condition.reason == "Uncovered"

        keyspace = await cluster.until("default", uncovered)
        condition = find(keyspace.status.conditions, "Ready")
        assert condition is not None
        assert condition.message == "no Partition has the keys [g, o): create Partitions with these ranges"
        await cluster.partition("middle", "g", "o")
        await cluster.until("default", lambda keyspace: keyspace.status.ready == 3 and not uncovered(keyspace))

"""Workers that stand still, are gone, or have no room: what objects say, and who is chosen instead."""

from __future__ import annotations

from typing import Any

from harness import World, world

from dstk.api import Assignment, Partition
from dstk.api.conditions import find
from dstk.control import commands
from dstk.control.views import Room
from dstk.lifecycle.observed import Limits
from waiting import until_true

QUICK = Limits(
    silence_seconds=1.5,
    destination_silent_seconds=0.5,
    wait_seconds=0.05,
    fence_retry_seconds=0.05,
    follow_retry_seconds=0.05,
)
MOVE = {"moveParams": {"partition": "part", "from": "pod1", "to": "pod2"}}
ROW = 1000
"""Bytes of the row that ``part`` has."""


async def prepared(cluster: World) -> None:
    """``part`` and ``next`` on pod1, ``other`` on pod2."""
    await cluster.keyspace()
    async with cluster.operating():
        await cluster.served("part", "a", "o", "pod1")
        await cluster.served("next", "o", "t", "pod1")
        await cluster.served("other", "t", "z", "pod2")
    cluster.workers["pod1"].put("part", b"b\0\0\0", bytes(ROW - 4))


def ready(item: Partition, phase: str) -> tuple[str, str]:
    """Status and reason of condition Ready, where the phase is such."""
    condition = find(item.status.conditions, "Ready")
    if item.status.phase != phase or condition is None:
        return ("", "")
    return (condition.status.value, condition.reason)


async def says(cluster: World, name: str, phase: str, status: str, reason: str) -> Partition:
    found: Partition = await cluster.until(name, lambda item: ready(item, phase) == (status, reason))
    return found


async def drain(cluster: World, worker: str) -> None:
    """The worker is told to stop, and the Assigner may move one partition at a time."""
    await cluster.keyspaces.patch("default", {"spec": {"policy": {"mode": "Auto", "maxConcurrentMoves": 1}}})
    cluster.workers[worker].draining = True


async def test_partitions_of_a_worker_that_stands_still_are_unavailable_until_it_answers() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK) as operator:
            cluster.workers["pod1"].freeze()
            for name in ("part", "next"):
                said = await says(cluster, name, "unavailable", "False", "WorkerSilent")
                assert "pod1" in find(said.status.conditions, "Ready").message  # type: ignore[union-attr]
            await cluster.until("default", lambda item: ready_keyspace(item) == "1 of 3 partitions are served")
            cluster.history.clear()
            calls = list(cluster.workers["pod1"].calls)
            cluster.workers["pod1"].thaw()
            for name in ("part", "next"):
                await says(cluster, name, "ready", "True", "Served")
            assert cluster.workers["pod1"].calls == calls, "it was away, and nothing has to be told"
            assert operator.cluster.partitions.by("away", "pod1") == {}
        assert not any(state.status.phase == "unavailable" for _, state in cluster.history.get("other", ()))


def ready_keyspace(item: Any) -> str:
    condition = find(item.status.conditions, "Ready")
    return condition.message if condition is not None else ""


async def test_each_partition_is_written_once_a_change() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK):
            cluster.history.clear()
            cluster.workers["pod1"].freeze()
            await says(cluster, "part", "unavailable", "False", "WorkerSilent")
            await says(cluster, "next", "unavailable", "False", "WorkerSilent")
            cluster.workers["pod1"].thaw()
            await says(cluster, "part", "ready", "True", "Served")
            await says(cluster, "next", "ready", "True", "Served")
        phases = {name: [state.status.phase for _, state in cluster.history[name]] for name in ("part", "next")}
        assert phases == {"part": ["unavailable", "ready"], "next": ["unavailable", "ready"]}


async def test_partitions_of_a_pod_that_is_gone_are_unavailable() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK):
            await cluster.workers["pod1"].stop()
            await says(cluster, "part", "unavailable", "False", "WorkerSilent")
            await cluster.pods.delete("pod1")
            await says(cluster, "part", "unavailable", "False", "WorkerGone")


async def test_an_operator_that_starts_when_a_pod_is_gone_says_so_too() -> None:
    async with world() as cluster:
        await prepared(cluster)
        await cluster.workers["pod1"].stop()
        await cluster.pods.delete("pod1")
        async with cluster.operating(limits=QUICK):
            await says(cluster, "part", "unavailable", "False", "WorkerGone")


async def test_rows_that_are_lost_while_a_worker_is_away_are_said_to_be_lost() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK):
            cluster.workers["pod1"].freeze()
            await says(cluster, "part", "unavailable", "False", "WorkerSilent")
            await cluster.restart("pod1")
            lost = await cluster.until("part", lambda item: find(item.status.conditions, "DataLost") is not None)
            assert lost.spec.primary == "pod1"
            await says(cluster, "part", "ready", "True", "Served")


async def test_a_worker_whose_reports_are_late_but_that_answers_is_not_silent() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK) as operator:
            await until_true(lambda: len([link for link in operator.workers if link.reachable]) == 2)
            seen: list[str] = []
            operator.workers.on_change(seen.append)
            cluster.workers["pod2"].reports = False
            # As long as it takes to find out that the other one does not answer.
            for turn in ("freeze", "thaw", "freeze"):
                getattr(cluster.workers["pod1"], turn)()
                away = turn == "freeze"
                await until_true(lambda away=away: bool(operator.workers.presence("pod1").away) is away)
            assert "pod1" in seen
            assert "pod2" not in seen


async def test_a_destination_that_stands_still_aborts_the_move_and_the_source_serves_on() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating(limits=QUICK):
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await until_true(lambda: "part" in cluster.workers["pod2"].held)
            cluster.workers["pod2"].freeze()
            aborted = await cluster.ended("m1", "Aborted")
            assert aborted.status.reason == "DestinationSilent"
            assert "pod2" in aborted.status.message
            assert not cluster.workers["pod1"].held["part"].fenced
            cluster.workers["pod2"].thaw()
            await until_true(lambda: "part" not in cluster.workers["pod2"].held)


async def test_a_destination_that_stands_still_from_the_start_is_not_waited_for_as_long_as_a_call_may_take() -> None:
    async with world() as cluster:
        await prepared(cluster)
        async with cluster.operating(limits=QUICK, control_timeout=3600.0):
            cluster.workers["pod2"].freeze()
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            aborted = await cluster.ended("m1", "Aborted")
        assert aborted.status.reason == "DestinationSilent"


async def test_a_drain_goes_past_a_worker_that_stands_still() -> None:
    async with world(["pod1", "pod2", "pod3"]) as cluster:
        await prepared(cluster)
        # Whichever is chosen first stands still as soon as it is.
        gates = {name: cluster.workers[name].gate(commands.Follow) for name in ("pod2", "pod3")}
        async with cluster.operating(limits=QUICK, control_timeout=3600.0):
            await drain(cluster, "pod1")
            await until_true(lambda: any(arrived.is_set() for arrived, _ in gates.values()))
            chosen = next(name for name, (arrived, _) in gates.items() if arrived.is_set())
            (other,) = gates.keys() - {chosen}
            cluster.workers[chosen].freeze()
            gates[other][1].set()
            refused = await cluster.any_assignment(lambda item: item.status.reason == "DestinationSilent")
            assert refused.spec.move_params is not None
            assert refused.spec.move_params.to == chosen
            for name in ("part", "next"):
                await cluster.until(name, lambda item: item.spec.primary == other)
        assert chosen not in {owner for name in ("part", "next") for owner, _, _ in cluster.specs(name)}


async def test_a_new_that_names_a_worker_that_stands_still_is_aborted_before_it_owns_anything() -> None:
    async with world() as cluster:
        await prepared(cluster)
        await cluster.partition("free", "0", "1")
        async with cluster.operating(limits=QUICK):
            cluster.workers["pod2"].freeze()
            await says(cluster, "other", "unavailable", "False", "WorkerSilent")
            await cluster.assign("n1", "New", newParams={"partition": "free", "primary": "pod2"})
            aborted = await cluster.ended("n1", "Aborted")
        assert aborted.status.reason == "WorkerSilent"
        assert cluster.specs("free")[-1] == (None, None, 0)


async def test_a_destination_without_room_ends_the_move_at_once_and_says_what_it_lacks() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].room = Room(limit=5000, used=4500, promised=0)
        async with cluster.operating(limits=QUICK):
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            aborted = await cluster.ended("m1", "Aborted")
        assert aborted.status.reason == "NoRoom"
        assert f"pod2 has room for 500 bytes, not {ROW}" in aborted.status.message
        assert cluster.workers["pod1"].held["part"].role == "primary"


async def test_a_drain_chooses_the_worker_that_has_room_and_says_so_when_none_has() -> None:
    async with world(["pod1", "pod2", "pod3"]) as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].room = Room(limit=5000, used=4500, promised=0)
        cluster.workers["pod3"].room = Room(limit=5000, used=4500, promised=0)
        async with cluster.operating(limits=QUICK) as operator:
            await drain(cluster, "pod1")
            await cluster.until("next", lambda item: item.spec.primary != "pod1")
            full = operator.metrics.registry
            await until_true(lambda: full.get_sample_value("dstk_operator_workers_stuck") == 1)
            assert cluster.specs("part")[-1][0] == "pod1"
            cluster.workers["pod3"].room = Room(limit=5000, used=0, promised=0)
            await cluster.until("part", lambda item: item.spec.primary == "pod3")
        last = [states[-1][1] for states in cluster.history.values()]
        moves = [each for each in last if isinstance(each, Assignment) and each.spec.move_params is not None]
        assert len(moves) == 2
        assert not [each.status.message for each in moves if each.status.reason == "NoRoom"], "it goes by what they say"


async def test_what_a_worker_refuses_for_good_is_said_at_once() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].wrong = "it has no data directory"
        async with cluster.operating(limits=QUICK):
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            aborted = await cluster.ended("m1", "Aborted")
        assert aborted.status.reason == "WorkerRefused"
        assert "pod2 refused to follow: it has no data directory" in aborted.status.message


async def test_a_move_that_waits_says_for_what() -> None:
    async with world() as cluster:
        await prepared(cluster)
        cluster.workers["pod2"].copies = False
        async with cluster.operating(limits=QUICK):
            await cluster.assign("m1", "InterWorkerMove", **MOVE)
            await cluster.until("m1", lambda item: item.status.message == "waits for the destination to catch up")

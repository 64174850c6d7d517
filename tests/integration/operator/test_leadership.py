"""Two operators, one of which leads."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from harness import LONG, World, world

from clocks import HandClock
from dstk.errors import Unavailable
from dstk.kube import LEASES, Election, ElectionSettings, Lease, Objects
from dstk.operator import Operator
from dstk.operator.reconciler import FINALIZER
from waiting import until_true

QUICK = ElectionSettings(15.0, 10.0, 0.02)


DAWN = datetime(2025, 1, 1, tzinfo=UTC)


class RunningClock(HandClock):
    """One that goes, but for the time of day."""

    def monotonic(self) -> float:
        return time.monotonic()


def candidate(cluster: World, name: str, seconds: float = 1.0) -> Election:
    """Its clock on the wall shows so many seconds of 2025."""
    clock = RunningClock(wall=(DAWN + timedelta(seconds=seconds)).timestamp())
    return Election(cluster.connection, "dstk-reconciler", "default", name, QUICK, clock)


async def leads(operator: Operator, component: str) -> None:
    found = operator.metrics.registry
    await until_true(lambda: found.get_sample_value("dstk_operator_leader_term", {"component": component}) is not None)


async def test_the_second_waits_until_the_first_lets_go_and_gets_a_higher_term() -> None:
    async with world(()) as cluster:
        first, second = candidate(cluster, "first"), candidate(cluster, "second")
        assert await first.acquire() == 1
        waiting = asyncio.create_task(second.acquire())
        assert not waiting.done()
        await first.release()
        async with asyncio.timeout(LONG):
            assert await waiting == 2


async def test_a_lease_that_nobody_renews_is_taken() -> None:
    clock = HandClock(0.0)
    async with world(()) as cluster:
        await candidate(cluster, "first").acquire()
        second = Election(cluster.connection, "dstk-reconciler", "default", "second", QUICK, clock)
        waiting = asyncio.create_task(second.acquire())
        while second._seen[0] == "":
            await asyncio.sleep(0)
        clock.steady = 15.1
        async with asyncio.timeout(LONG):
            assert await waiting == 2


async def test_taking_over_does_not_wait() -> None:
    async with world(()) as cluster:
        await candidate(cluster, "first").acquire()
        assert await candidate(cluster, "second").take_over() == 2


async def test_the_terms_of_a_lease_that_was_deleted_do_not_come_back() -> None:
    """Workers have seen them, and would refuse the operator."""
    async with world(()) as cluster:
        assert await candidate(cluster, "first", 100).acquire() == 100
        assert await candidate(cluster, "second", 101).take_over() == 101
        await Objects(cluster.connection, LEASES, "default").delete("dstk-reconciler")
        assert await candidate(cluster, "third", 200).acquire() == 200


async def test_who_holds_a_lease_that_was_set_back_gets_above_the_terms_that_were_given_out() -> None:
    async with world(()) as cluster:
        first = candidate(cluster, "first")
        assert await first.acquire() == 1
        assert await first.raise_above(7)
        assert first.term == 8
        assert await first.raise_above(7)
        assert first.term == 8
        second = candidate(cluster, "second")
        assert await second.take_over() == 9
        assert not await first.raise_above(9)
        assert (first.term, second.term) == (8, 9)


async def test_an_operator_whose_lease_was_set_back_is_not_locked_out() -> None:
    """Its workers have been told of a term that the Lease knows nothing of; a worker that comes later too."""
    async with world(("pod1",)) as cluster:
        cluster.workers["pod1"].term = 2**31 - 100
        async with cluster.operating():
            await cluster.keyspace()
            await cluster.served("low", "a", "e", "pod1")
            late = await cluster.worker("pod2")
            late.term = 2**31 - 50
            await cluster.served("high", "e", "o", "pod2")
            assert late.term == 2**31 - 49


async def test_an_operator_that_loses_its_lease_ends() -> None:
    async with world(()) as cluster:
        await cluster.keyspace()
        _, operator, task = cluster.start_operator(election=QUICK)
        leases: Objects[Lease] = Objects(cluster.connection, LEASES, "default")
        await leads(operator, "reconciler")
        async with asyncio.timeout(LONG):
            await leases.patch("dstk-reconciler", {"spec": {"holderIdentity": "usurper"}})
            with pytest.raises(Unavailable, match="taken by usurper"):
                await task


async def test_of_two_operators_one_works_and_the_other_follows_it() -> None:
    async with world() as cluster:
        await cluster.keyspace()
        async with cluster.operating():
            await cluster.served("one", "a", "b", "pod1")
            async with cluster.operating():
                await cluster.served("two", "b", "c", "pod1")
        calls = [call for call in cluster.workers["pod1"].calls if call[0] == "Serve"]
        assert calls == [("Serve", "one", 1), ("Serve", "two", 1)]
        async with cluster.operating():
            await cluster.served("three", "c", "d", "pod1")
        assert cluster.workers["pod1"].term > 1


async def test_what_was_deleted_while_no_operator_ran_is_brought_to_its_end() -> None:
    async with world() as cluster:
        await cluster.keyspace()
        async with cluster.operating():
            await cluster.served("one", "a", "c", "pod1")
        params = {"partition": "one", "splitKey": "b", "names": ["low", "high"]}
        await cluster.assign("half", "InWorkerSplit", splitParams=params)
        await cluster.assignments.patch("half", {"metadata": {"finalizers": [FINALIZER, "tests.dstk.io/kept"]}})
        await cluster.assignments.delete("half")
        async with cluster.operating():
            ended = await cluster.ended("half", "Aborted")
        assert ended.status.reason == "Cancelled"
        assert not [call for call in cluster.workers["pod1"].calls if call[0] == "Split"]


async def test_a_worker_may_have_heard_another_operator_until_this_one_leads() -> None:
    """However long this one was there before: else leases were thought to have run out that the other had renewed."""
    async with world(()) as cluster:
        first = candidate(cluster, "first")
        await first.acquire()
        async with cluster.operating(election=QUICK) as operator:
            await leads(operator, "assigner")
            led_by_the_first = time.monotonic()
            await first.release()
            await leads(operator, "reconciler")
            unheard = operator.workers.unheard_seconds("pod1")
            assert 0 <= unheard <= time.monotonic() - led_by_the_first


async def test_an_operator_whose_lease_may_be_over_pushes_no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would renew the leases of workers."""
    asked = 0

    def is_held(election: Election) -> bool:
        nonlocal asked
        asked += 1
        return False

    monkeypatch.setattr(Election, "is_held", property(is_held))
    async with world() as cluster:
        await cluster.keyspace()
        async with cluster.operating():
            await until_true(lambda: asked >= 4)
        assert [worker.routes_seen for worker in cluster.workers.values()] == [[], []]

"""What an operation costs the API server: writes, counted where they arrive."""

from __future__ import annotations

from collections import Counter

from harness import World, world

from dstk.api import Assignment, Keyspace
from dstk.operator.reconciler import FINALIZER

MOVE = {"moveParams": {"partition": "part", "from": "pod1", "to": "pod2"}}
SPLIT = {"splitParams": {"partition": "part", "splitKey": "e", "names": ["low", "high"]}}


async def writes(cluster: World, name: str, type_: str, **params: object) -> Counter[str]:
    """Versions that Assignments and Partitions go through after the creation, up to the end: kopf's writes included.

    The Assignment is created as the Assigner does it, with the finalizer that kopf would write otherwise.
    """
    await cluster.until("new-part", _is_over)
    before = {key: len(states) for key, states in cluster.history.items()}
    await cluster.assignments.create(
        {"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"type": type_, **params}}
    )
    await cluster.until(name, _is_over)
    if type_ == "InWorkerSplit":
        await cluster.gone("part")
    counted: Counter[str] = Counter()
    for key, states in cluster.history.items():
        for event, item in states[before.get(key, 0) :]:
            if (event, key) != ("ADDED", name) and not isinstance(item, Keyspace):
                counted[type(item).__name__] += 1
    return counted


def _is_over(assignment: Assignment) -> bool:
    return assignment.status.phase == "Completed" and not assignment.metadata.finalizers


async def test_a_move_costs_at_most_eight_writes() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        counted = await writes(cluster, "m1", "InterWorkerMove", **MOVE)
    # loading, following, proxying, completed, finalizer; commit, incarnation, end of the proxy
    assert counted == {"Assignment": 5, "Partition": 3}


async def test_a_split_writes_its_three_steps_and_each_partition() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        counted = await writes(cluster, "s1", "InWorkerSplit", **SPLIT)
    # loading, following, completed, finalizer; two children created and said to be ready, the parent deleted
    assert counted == {"Assignment": 4, "Partition": 5}

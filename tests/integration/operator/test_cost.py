"""What an operation costs the API server: writes, counted where they arrive."""

from __future__ import annotations

from collections import Counter

from harness import World, world

from dstk.api import API_VERSION

MOVE = {"moveParams": {"partition": "part", "from": "pod1", "to": "pod2"}}
SPLIT = {"splitParams": {"partition": "part", "splitKey": "e", "names": ["low", "high"]}}


async def writes(cluster: World, name: str, type_: str, finalizer: bool, **params: object) -> Counter[str]:
    """Versions that Assignments and Partitions went through from the creation to the end, kopf's writes included."""
    before = {key: len(states) for key, states in cluster.history.items()}
    await cluster.assignments.create(
        {
            "metadata": {"name": name, "finalizers": ["dstk.io/reconciler"] if finalizer else []},
            "spec": {"type": type_, **params},
        }
    )
    await cluster.ended(name, "Completed")
    await cluster.until(name, lambda item: item.status.phase == "Completed" and not item.metadata.finalizers)
    if type_ == "InWorkerSplit":
        await cluster.gone("part")
    counted: Counter[str] = Counter()
    for key, states in cluster.history.items():
        for _, item in states[before.get(key, 0) :]:
            counted[type(item).__name__] += 1
    counted["Assignment"] -= 1  # the creation itself
    return counted


async def test_a_move_costs_at_most_eight_writes() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        counted = await writes(cluster, "m1", "InterWorkerMove", finalizer=True, **MOVE)
    # loading, following, proxying, completed, finalizer; commit, incarnation, end of the proxy
    assert counted == {"Assignment": 5, "Partition": 3}, API_VERSION


async def test_a_split_writes_its_three_steps_and_each_partition() -> None:
    async with world() as cluster, cluster.operating():
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        counted = await writes(cluster, "s1", "InWorkerSplit", finalizer=True, **SPLIT)
    # loading, following, completed, finalizer; two children created and said to be ready, the parent deleted
    assert counted == {"Assignment": 4, "Partition": 5}

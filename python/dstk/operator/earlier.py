"""What is left of earlier Keyspaces on workers, and Keyspaces of which nothing is left anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from dstk.api import Condition, Durability, Keyspace, Mode
from dstk.api.conditions import Conditions, find
from dstk.lifecycle.fitness import misfit, what_to_do
from dstk.operator.cluster import KEYSPACE, Cluster
from dstk.operator.workers import WorkerLinks
from dstk.plan import is_cut

__all__ = ["Bare", "held_before", "misfits", "obstacle_of", "says"]

BARE_SECONDS = 10.0
"""A Keyspace whose Partitions are all gone is left alone for so long: somebody may be about to create others."""


def held_before(cluster: Cluster, workers: WorkerLinks) -> set[str]:
    """Keyspaces that are new, or have no Partition, of which workers serve some: those get their objects back first."""
    fresh = {each.metadata.name for each in cluster.keyspaces if not is_cut(each) or _is_bare(cluster, each)}
    if not fresh:
        return set()
    known = cluster.partitions.items
    loads = (load for link in workers for load in link.loads.values() if load.role == "primary")
    held = [load for load in loads if load.keyspace in fresh]
    # Of what was cut before, as its rows show, one that does not answer may have the rest. What is never cut waits for
    # nobody.
    cuts = {each.metadata.name for each in cluster.keyspaces if each.spec.partitions.count}
    silent = cuts if not all(link.reachable for link in workers) else set()
    return {load.keyspace for load in held if load.keyspace in silent or load.partition not in known}


def misfits(keyspaces: Iterable[Keyspace], workers: WorkerLinks) -> dict[str, str]:
    """What workers serve that is not as its Keyspace asks, in a sentence a Keyspace."""
    by_name = {keyspace.metadata.name: keyspace for keyspace in keyspaces}
    found: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for link in workers:
        for load in link.loads.values():
            keyspace = by_name.get(load.keyspace)
            if keyspace is None or load.role != "primary":
                continue
            if why := misfit(keyspace, load.key_length, load.durable):
                found[load.keyspace, why][link.name] += 1
    return {
        name: f"{_listed(counts)}: {what_to_do(why)}" for (name, why), counts in sorted(found.items(), reverse=True)
    }


def obstacle_of(
    name: str, unfit: Mapping[str, str], bare: Mapping[str, str], refused: Mapping[str, str]
) -> tuple[str, str] | None:
    """Reason and message of what somebody has to clear away before the Keyspace of that name is served; or None."""
    for reason, found in (("Misfit", unfit), ("Uncovered", bare), ("InvalidBounds", refused)):
        if message := found.get(name):
            return reason, message
    return None


def says(conditions: Conditions, condition: Condition) -> bool:
    """Whether it is said already, in the same words."""
    known = find(conditions, condition.type)
    return known is not None and (known.reason, known.message) == (condition.reason, condition.message)


def _listed(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    names = sorted(counts)
    named = ", ".join(names[:3]) + (f" and {len(names) - 3} more workers" if len(names) > 3 else "")
    return f"{named} {'holds' if len(names) == 1 else 'hold'} {total} partition{'s' if total > 1 else ''}"


def _is_bare(cluster: Cluster, keyspace: Keyspace) -> bool:
    return not cluster.partitions.by(KEYSPACE, keyspace.metadata.name)


class Bare:
    """Keyspaces that were cut, and of which no Partition is left, and no worker holds any."""

    def __init__(self, cluster: Cluster, workers: WorkerLinks, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._workers = workers
        self._now = now
        self._since: dict[str, float] = {}

    def look(self, held: Collection[str]) -> dict[str, str]:
        """To be cut again: ""; else what keeps it from that, by Keyspace. `held`: those that workers hold parts of."""
        bare = [
            each
            for each in self._cluster.keyspaces
            if is_cut(each) and each.spec.partitions.initial and _is_bare(self._cluster, each)
        ]
        now = self._now()
        self._since = {each.metadata.name: self._since.get(each.metadata.name, now) for each in bare}
        busy = {partition for each in self._cluster.open_assignments() for partition in each.spec.creates}
        return {
            each.metadata.name: self._obstacle(each)
            for each in bare
            if each.metadata.name not in held and not busy and now - self._since[each.metadata.name] >= BARE_SECONDS
        }

    def _obstacle(self, keyspace: Keyspace) -> str:
        if keyspace.spec.durability is Durability.DISK:
            return (
                "no Partition is left, and rows may be on volumes of workers that are away: bring those back, or "
                "delete the Keyspace and create it again to begin anew without them"
            )
        if keyspace.spec.policy.mode is Mode.OFF:
            return "no Partition is left, and policy.mode is Off: create Partitions, or set another mode"
        silent = [link.name for link in self._workers if not link.reachable]
        if silent:
            return f"no Partition is left, and {silent[0]}, which may hold rows, does not answer"
        return ""

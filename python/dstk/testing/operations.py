"""Splits, merges and moves, one after the other for as long as it is wanted, as Assignment objects."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dstk import api, keys, kube
from dstk.api.span import span_of
from dstk.errors import DstkError

__all__ = ["ASSIGNMENTS", "KEYSPACES", "PARTITIONS", "Held", "Operations", "held", "next_operation"]

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """A partition that a worker owns. Bounds are bytes, an empty end is +∞."""

    name: str
    start: bytes
    end: bytes
    primary: str


def held(partitions: Sequence[api.Partition], key_length: int) -> list[Held]:
    """The partitions that are served, in key order."""
    found = []
    for each in partitions:
        if each.spec.primary and each.status.phase is api.PartitionPhase.READY:
            span = span_of(each.spec.range, key_length)
            found.append(Held(each.metadata.name, span.start, span.end, each.spec.primary))
    return sorted(found, key=lambda one: one.start)


def next_operation(
    chance: random.Random,
    partitions: Sequence[Held],
    workers: Sequence[str],
    cuts: Sequence[bytes],
    *,
    busy: Collection[str] = (),
    fewest: int = 4,
    most: int = 16,
) -> dict[str, Any] | None:
    """The spec of another Assignment on partitions that are not `busy`; None when there is nothing to be done.

    `partitions` in key order; `cuts` are keys at which to split. Their number stays between `fewest` and `most`.
    """
    free = [one for one in partitions if one.name not in busy]
    pairs = [
        (one, other)
        for one, other in pairwise(partitions)
        if one.end == other.start and one.primary == other.primary and not {one.name, other.name} & set(busy)
    ]
    splits = [
        (one, cut) for one in free for cut in cuts if one.start < cut and (not one.end or cut < one.end)
    ]  # fmt: skip
    possible = []
    if splits and len(partitions) < most:
        possible += ["split"] * (1 if len(partitions) > fewest else 4)
    if pairs and len(partitions) > fewest:
        possible += ["merge"] * (1 if len(partitions) < most else 4)
    if free and len(workers) > 1:
        possible.append("move")
    if not possible:
        return None
    match chance.choice(possible):
        case "split":
            one, cut = chance.choice(splits)
            params = {"partition": one.name, "splitKey": keys.format_bound(cut)}
            return {"type": "InWorkerSplit", "splitParams": params}
        case "merge":
            pair = chance.choice(pairs)
            return {"type": "InWorkerMerge", "mergeParams": {"partitions": [one.name for one in pair]}}
        case _:
            one = chance.choice(free)
            to = chance.choice([name for name in workers if name != one.primary])
            params = {"partition": one.name, "from": one.primary, "to": to}
            return {"type": "InterWorkerMove", "moveParams": params}


@dataclass(slots=True)
class Operations:
    """Creates Assignments until told to stop, a few of them at a time, and keeps account of all that there are.

    What has ended is deleted, and so is now and then one that runs: it then has to abort, or to finish.
    """

    connection: kube.Connection
    key_length: int
    workers: Callable[[], Sequence[str]]
    cuts: Sequence[bytes]
    seed: int
    at_once: int = 3
    most: int = 16
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    created: int = 0
    cancelled: int = 0
    phases: dict[str, str] = field(default_factory=dict)
    """The last phase of each Assignment that was seen, with its reason where it has one."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. An API server that does not answer is asked again."""
        chance = random.Random(f"operations/{self.seed}")
        answered = True
        while not stop.is_set():
            try:
                await self._look(chance)
                answered = True
            except DstkError as error:
                if answered:
                    self.say(f"operations wait: {error}")
                answered = False
            await asyncio.sleep(_LOOK_SECONDS)

    async def unfinished(self) -> list[api.Assignment]:
        """What has not ended. Raises DstkError when the API server does not answer."""
        objects = kube.Objects(self.connection, ASSIGNMENTS, self.connection.namespace)
        found = await objects.list_all()
        for each in found:
            self._note(each)
        present = {each.metadata.name for each in found}
        for name, phase in self.phases.items():
            if name not in present and phase.split()[0] in ("Pending", "Running", "Stalled"):
                self.phases[name] = "Deleted"
        return [each for each in found if not each.finished]

    def totals(self) -> dict[str, int]:
        """How many Assignments are, or were last seen, in each phase."""
        return dict(Counter(phase.split()[0] for phase in self.phases.values()))

    async def _look(self, chance: random.Random) -> None:
        objects = kube.Objects(self.connection, ASSIGNMENTS, self.connection.namespace)
        found = await objects.list_all()
        for each in found:
            self._note(each)
            if each.finished and each.metadata.name.startswith("soak-"):
                await self._delete(objects, each)
        running = [each for each in found if not each.finished]
        if running and chance.random() < 0.005:
            await self._delete(objects, chance.choice(running))
            self.cancelled += 1
        if len(running) >= self.at_once:
            return
        partitions = await kube.Objects(self.connection, PARTITIONS, self.connection.namespace).list_all()
        busy = {name for each in running for name in each.spec.partitions}
        spec = next_operation(
            chance, held(partitions, self.key_length), self.workers(), self.cuts, busy=busy, most=self.most
        )
        if spec is not None:
            self.created += 1
            name = f"soak-{self.created:05}"
            self.phases[name] = "Pending"
            await objects.create({"metadata": {"name": name}, "spec": spec})

    async def _delete(self, objects: kube.Objects[api.Assignment], each: api.Assignment) -> None:
        try:
            await objects.delete(each.metadata.name, uid=each.metadata.uid)
        except DstkError as error:
            if not kube.is_not_found(error):
                raise

    def _note(self, each: api.Assignment) -> None:
        status = each.status
        self.phases[each.metadata.name] = f"{status.phase or 'Pending'} {status.reason}".strip()

"""What holds at any moment, as far as it can be seen from outside: by asking the workers, again and again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from dstk import api
from dstk.api.span import span_of
from dstk.control.views import Status
from dstk.errors import DstkError
from dstk.span import Span
from dstk.wire import ControlClient

__all__ = ["Owners", "Watcher", "uncovered"]

_ASK_SECONDS = 0.2
_ANSWER_SECONDS = 5.0


@dataclass(slots=True)
class Owners:
    """Who said to be primary of what: at most one worker of a key in an epoch. Terms do not go back in a life."""

    violations: list[str] = field(default_factory=list)
    observations: int = 0
    _claims: dict[tuple[str, int], dict[Span, tuple[str, str]]] = field(default_factory=lambda: defaultdict(dict))
    """By keyspace and epoch: each range that was claimed, by which worker and as which partition."""
    _terms: dict[str, int] = field(default_factory=dict)

    def observe(self, status: Status) -> None:
        """What a worker has just said."""
        self.observations += 1
        before = self._terms.get(status.incarnation, 0)
        if status.term < before:
            self._violated(f"{status.worker} went back from term {before} to {status.term}")
        self._terms[status.incarnation] = status.term
        for name, part in status.partitions.items():
            if part.role == "primary":
                self._claim(status.worker, name, part.keyspace, part.epoch, part.span)

    def _claim(self, worker: str, name: str, keyspace: str, epoch: int, span: Span) -> None:
        claims = self._claims[keyspace, epoch]
        if claims.get(span) == (worker, name):
            return
        for other, (owner, claimed) in claims.items():
            if owner != worker and other.overlaps(span):
                self._violated(f"{worker} as {name} and {owner} as {claimed} were primary of {span} in epoch {epoch}")
        claims[span] = (worker, name)

    def _violated(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)


@dataclass(slots=True)
class Watcher:
    """Asks every worker what it holds, a few times a second. `addresses` gives their control addresses."""

    addresses: Callable[[], Mapping[str, str]]
    owners: Owners = field(default_factory=Owners)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Owners]:
        """While the block runs."""
        task = asyncio.create_task(self._run(), name="watch the workers")
        try:
            yield self.owners
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        clients: dict[str, ControlClient] = {}
        asking: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for address in self.addresses().values():
                    if address not in clients:
                        clients[address] = ControlClient(address, timeout_seconds=_ANSWER_SECONDS)
                    # A worker that is stopped holds up nobody else's answer.
                    if address not in asking or asking[address].done():
                        asking[address] = asyncio.create_task(self._ask(clients[address]))
                for address in clients.keys() - set(self.addresses().values()):
                    if asking[address].done():
                        await clients.pop(address).close()
                        del asking[address]
                await asyncio.sleep(_ASK_SECONDS)
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)
            for client in clients.values():
                await client.close()

    async def _ask(self, client: ControlClient) -> None:
        try:
            status = await client.status()
        except DstkError:
            return
        self.owners.observe(status)


def uncovered(partitions: Sequence[api.Partition], key_length: int) -> list[str]:
    """What is wrong with the partitions of a keyspace at rest: each key has to have exactly one, that is ready."""
    wrong = [
        f"partition {each.metadata.name} is {each.status.phase}"
        for each in partitions
        if each.status.phase is not api.PartitionPhase.READY
    ]
    spans = sorted((span_of(each.spec.range, key_length), each.metadata.name) for each in partitions)
    if not spans:
        return ["there is no partition"]
    for (one, name), (other, following) in pairwise(spans):
        if one.overlaps(other):
            wrong.append(f"partitions {name} and {following} overlap")
        elif one.end != other.start:
            wrong.append(f"no partition between {name} and {following}")
    if any(spans[0][0].start):
        wrong.append(f"no partition before {spans[0][1]}")
    if spans[-1][0].end:
        wrong.append(f"no partition after {spans[-1][1]}")
    return wrong

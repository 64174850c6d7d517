"""Clients: they write, read, and write on condition of a version, to wherever they believe that a key lives."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from .checker import KEYS
from .clock import Failed, Process, Reply, Steps
from .pod import Answer, Operation

if TYPE_CHECKING:
    from .world import World

__all__ = ["Client"]

PATIENCE = 4.0
"""How long a client tries."""
TIMEOUT = 2.0
"""For one answer."""

_UNKNOWN = Answer("unknown")


class Client(Process):
    """One thread of requests. What was not applied it tries again; what may have been, only on condition."""

    def __init__(self, world: World, numbers: count[int]) -> None:
        super().__init__()
        self._world = world
        self._numbers = numbers
        self._homes: dict[bytes, str] = {}
        self._versions: dict[bytes, int] = {}

    def run(self) -> Steps:
        random = self._world.clock.random
        while True:
            yield random.choice((0.02, 0.1, 0.3, 0.6))
            key = random.choice(KEYS)
            kind = random.random()
            if kind < 0.4:
                yield from self._request(key, None, None)
            elif kind < 0.75 or key not in self._versions:
                yield from self._request(key, next(self._numbers), None)
            else:
                yield from self._request(key, next(self._numbers), self._versions[key])

    def may_repeat(self, value: int | None, version: int | None) -> bool:
        """Whether a request may be sent again when nobody knows what came of it."""
        return value is None or version is not None

    def _request(self, key: bytes, value: int | None, version: int | None) -> Steps:
        world, clock = self._world, self._world.clock
        until = clock.now + PATIENCE
        while clock.now < until:
            number = next(self._numbers)
            reply = Reply()
            operation = Operation(number, key, value, version, lambda answer, to=reply: world.to_client(to, answer))
            clock.after(TIMEOUT, reply.fail, Failed("no answer"))
            world.to_pod(self._homes.get(key) or clock.random.choice(world.names), operation)
            yield reply
            try:
                answer = reply.result()
            except Failed:
                answer = _UNKNOWN
            if answer.by:
                self._homes[key] = answer.by
            if answer.said in ("ok", "mismatch"):
                self._versions[key] = answer.version
                if answer.said == "ok":
                    world.checker.answered(number, answer.version, value is not None)
                return
            self._homes.pop(key, None)
            if answer is _UNKNOWN and not self.may_repeat(value, version):
                return
            yield 0.05 + 0.2 * clock.random.random()

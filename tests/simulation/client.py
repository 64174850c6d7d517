"""Clients: they write, read, and write on condition of a version, to wherever they believe that a key lives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .checker import KEYS
from .pod import Answer, Operation

if TYPE_CHECKING:
    from .world import World

__all__ = ["Client"]

PATIENCE = 4.0
"""How long a client tries."""
TIMEOUT = 2.0
"""For one answer."""

_UNKNOWN = Answer("unknown")


class Client:
    """One thread of requests. What was not applied it tries again; what may have been, only on condition."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._homes: dict[bytes, str] = {}
        self._versions: dict[bytes, int] = {}

    async def run(self) -> None:
        random, world = self._world.random, self._world
        while True:
            await asyncio.sleep(random.choice((0.02, 0.1, 0.3, 0.6)))
            key = random.choice(world.hot if world.hot and random.random() < 0.9 else KEYS)
            kind = random.random()
            if kind < 0.4:
                await self._request(key, None, None)
            elif kind < 0.75 or key not in self._versions:
                await self._request(key, next(world.numbers), None)
            else:
                await self._request(key, next(world.numbers), self._versions[key])

    def may_repeat(self, value: int | None, version: int | None) -> bool:
        """Whether a request may be sent again when nobody knows what came of it."""
        return value is None or version is not None

    async def _request(self, key: bytes, value: int | None, version: int | None) -> None:
        world, loop = self._world, self._world.loop
        until = loop.time() + PATIENCE
        while loop.time() < until:
            number = next(world.numbers)
            reply: asyncio.Future[Answer] = loop.create_future()
            operation = Operation(number, key, value, version, lambda answer, to=reply: world.to_client(to, answer))  # type: ignore[misc]
            world.to_pod(self._homes.get(key) or world.random.choice(world.names), operation)
            try:
                async with asyncio.timeout(TIMEOUT):
                    answer = await reply
            except TimeoutError:
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
            await asyncio.sleep(0.05 + 0.2 * world.random.random())

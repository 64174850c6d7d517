"""Operator processes: the operator that ships, with simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from dstk.errors import DstkError
from dstk.kube import CacheSettings, ElectionSettings
from dstk.lifecycle.observed import Limits
from dstk.operator import Operator, Ports
from dstk.operator.settings import OperatorSettings

from .api_server import ApiPort
from .kopf import Daemons
from .loop import LoopClock, Process
from .network import CONTROL_TIMEOUT, Client

if TYPE_CHECKING:
    from .world import World

__all__ = ["LIMITS", "OperatorProcess"]

LIMITS = Limits(
    deadline_seconds=200.0,
    stall_seconds=4.0,
    fence_lag_writes=5,
    fence_max_seconds=1.0,
    fence_tries=20,
    fence_retry_seconds=1.0,
    follow_tries=20,
    follow_retry_seconds=0.5,
    chunk=3,
)
"""Tries are many here: what ends an operation early is what the matrix tests are for."""

ELECTION = ElectionSettings(1.5, 1.0, 0.2)

SETTINGS = OperatorSettings(
    namespace="default",
    limits=LIMITS,
    election=ELECTION,
    cache=CacheSettings(watch_seconds=60, idle_seconds=3.0, relist_seconds=15.0, backoff_longest=1.0),
    control_timeout=CONTROL_TIMEOUT,
    reconnect_longest=0.5,
    relook_interval=10.0,
    load_interval=1.0,
    floor_interval=2.0,
)


class OperatorProcess(Process):
    """One life of an operator. `forced`: it takes the lease at once and for good, being the only one; else it waits."""

    def __init__(self, world: World, *, forced: bool, on_end: Callable[[OperatorProcess], None]) -> None:
        super().__init__()
        world.lives += 1
        self._world = world
        self.forced = forced
        self._on_end = on_end
        self._port = ApiPort(world.api)
        components = frozenset({"reconciler", "assigner"} if world.plans else {"reconciler"})
        settings = replace(world.operator_settings, leader_election=not forced, components=components)
        name = f"operator{world.lives}"
        ports = Ports(
            LoopClock(world.loop),
            lambda address, meant, timeout_seconds: Client(
                world.network, address, meant, timeout_seconds=timeout_seconds
            ),
            Daemons,
            lambda: name,
            lambda: f"{next(world.numbers):x}",
        )
        self.operator = self.context.run(Operator, self._port, settings, None, ports)
        self.spawn(world.loop, self._run())

    async def _run(self) -> None:
        try:
            await self.operator.run(asyncio.Event())
        except DstkError as error:
            self._world.note("operator ends: %s", error)
        except BaseException as error:
            self._world.fail(error)
        self.alive = False
        self._world.loop.outside(0.0, self._on_end, self)

    def cut_off(self, seconds: float) -> None:
        """For so long it does not reach the API server. Workers it does."""
        self._port.cut_off_until = self._world.loop.time() + seconds

    def end(self) -> None:
        """It is killed, in the middle of whatever it was doing."""
        self.alive = False
        self._port.hang_up()

"""The order in which the actions of one decision are carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from dstk.lifecycle import actions

__all__ = ["run_lane"]


async def run_lane(steps: Iterable[actions.Action], act: Callable[[actions.Action], Awaitable[None]]) -> None:
    """Has each action carried out by ``act``, one after the other, up to the first failure, which is raised.

    A Partition's status tells people and nobody waits for it: it is written while workers are being told what
    follows, so that writers are not held for it, and done before the Assignment's own status is.
    """
    beside: list[asyncio.Future[None]] = []
    try:
        for step in steps:
            match step:
                case actions.Wait():
                    pass
                case actions.Parallel():
                    await _all(run_lane(lane, act) for lane in step.lanes)
                case actions.SetPartitionStatus():
                    beside.append(asyncio.ensure_future(act(step)))
                case actions.SetStatus():
                    await _all(beside)
                    beside = []
                    await act(step)
                case _:
                    await act(step)
    finally:
        await _all(beside)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Await all of it; the first failure is raised when everything has ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result

"""What kopf does for an operator: a daemon for each Assignment that is to run, and the finalizer that goes with it."""

from __future__ import annotations

import asyncio

from dstk.api import Assignment, to_dict
from dstk.errors import DstkError
from dstk.kube import Api, Backoff, Cache, Objects, raise_if_cancelled
from dstk.operator.cluster import ASSIGNMENTS
from dstk.operator.kopf_thread import is_to_run
from dstk.operator.reconciler import FINALIZER, Reconciler
from dstk.operator.settings import OperatorSettings

from .loop import LoopClock

__all__ = ["Daemons"]

AGAIN_SECONDS = 1.0


class Daemons:
    """It watches by itself, so it may be ahead of the operator's cache or behind it (:class:`dstk.operator.run.Daemons`)."""

    def __init__(self, reconciler: Reconciler, api: Api, namespace: str, settings: OperatorSettings) -> None:
        self._reconciler = reconciler
        clock = LoopClock(asyncio.get_running_loop())
        self._seen: Cache[Assignment] = Cache(
            Objects(api, ASSIGNMENTS, namespace), settings=settings.cache, clock=clock
        )
        self._seen.on_change(self._on_change)
        self._daemons: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        """Whose daemon has ended by itself: it is not begun again."""
        self._touched: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._seen.run())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    names, self._touched = list(self._touched), {}
                    for name in names:
                        tasks.create_task(self._settle(name, tasks))
        finally:
            await self._reconciler.stop()

    def _on_change(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        self._look_at(assignment.metadata.name)

    def _look_at(self, name: str) -> None:
        self._touched[name] = None
        self._wake.set()

    async def _settle(self, name: str, tasks: asyncio.TaskGroup) -> None:
        """A finalizer for what is to run; none for what is deleted and runs no more."""
        backoff = Backoff(longest=5.0)
        while (assignment := self._seen.get(name)) is not None:
            meta, uid = assignment.metadata, assignment.metadata.uid
            ours = FINALIZER in meta.finalizers
            deleted = meta.deletion_timestamp is not None
            runs = is_to_run(to_dict(assignment))
            if runs and uid not in self._daemons and uid not in self._ended and (ours or not deleted):
                self._daemons[uid] = tasks.create_task(self._drive(name, uid))
            if ours == (runs if not deleted else uid in self._daemons):
                return
            if not deleted and ours:
                return
            wanted = [each for each in meta.finalizers if each != FINALIZER] + ([] if deleted else [FINALIZER])
            try:
                self._seen.learn(
                    await self._seen.objects.patch(
                        name, {"metadata": {"finalizers": wanted}}, resource_version=meta.resource_version
                    )
                )
                return
            except DstkError:
                await asyncio.sleep(backoff.next())

    async def _drive(self, name: str, uid: str) -> None:
        try:
            while True:
                try:
                    await self._reconciler.start(name, uid)
                    self._ended.add(uid)
                    return
                except asyncio.CancelledError:
                    raise_if_cancelled()
                    # The reconciler stops; what has come to no end keeps its finalizer.
                    await asyncio.Event().wait()
                except Exception:
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._daemons.pop(uid, None)
            self._look_at(name)

"""Drives one Assignment to its end: takes the steps that its machine says, one after the other."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from dstk.api import Assignment, Partition
from dstk.errors import DstkError
from dstk.kube import Backoff, Term, raise_if_cancelled
from dstk.lifecycle import actions
from dstk.lifecycle.machine import Act, Known, Look, Machine, ReadBack
from dstk.lifecycle.outcome import Outcome
from dstk.operator.cluster import Cluster
from dstk.operator.executor import ActionExecutor
from dstk.operator.lanes import run_lane
from dstk.operator.moments import Moments
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLinks

__all__ = ["Driver"]

log = logging.getLogger(__name__)


class Driver:
    """The loop around one ``lifecycle.machine.Machine``: it asks, waits and has things done; it decides nothing."""

    def __init__(
        self, assignment: Assignment, cluster: Cluster, workers: WorkerLinks, spans: Spans, executor: ActionExecutor,
        settings: OperatorSettings, term: Term, moments: Moments,
    ) -> None:  # fmt: skip
        self.machine = Machine(assignment, settings.limits, settings.progress_interval)
        self._cluster, self._workers, self._spans, self._executor = cluster, workers, spans, executor
        self._term, self._moments = term, moments
        self._changed = asyncio.Event()
        # Small partitions are copied within milliseconds: look soon at first, then ever more seldom.
        self._patience = Backoff(first=0.01, factor=1.5, longest=60.0)

    def wake(self) -> None:
        """Something that this Assignment depends on may have changed."""
        self._changed.set()

    def look_anew(self) -> None:
        """The API server has begun another history: nothing that was seen of objects counts."""
        self.machine.look_anew()
        self._changed.set()

    def partition_changed(self, new: Partition | None, name: str) -> None:
        """A Partition changed; ignored when it is what this driver wrote itself."""
        if self.machine.partition_changed(name, new):
            self._changed.set()

    async def run(self) -> None:
        """Until the Assignment is finished. Errors are tried again with back-off."""
        backoff, name = Backoff(longest=5.0), self.machine.assignment.metadata.name
        while not self.machine.is_finished:
            raise_if_cancelled()
            try:
                pause = await self._step()
                backoff.reset()
            except Exception as error:  # What ended here would hold up its partitions for ever.
                self.machine.look_anew()
                pause, expected = backoff.next(), isinstance(error, DstkError)
                level = logging.INFO if expected else logging.ERROR
                log.log(level, "assignment %s: %s; again in %.2f s", name, error, pause, exc_info=not expected)
            if pause is not None and not self.machine.is_finished:
                try:
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                except TimeoutError:
                    self.machine.look_anew()

    async def _step(self) -> float | None:
        """One step. Seconds to wait before the next one, or None for at once. Raises the first failure."""
        step = self.machine.next(self._known())
        match step:
            case ReadBack(names):
                self.machine.was_read([name for name in names if await self._cluster.read_back(name)])
            case Look(workers, partitions):
                self._changed.clear()
                asked = None if partitions is None else list(partitions)
                views = await asyncio.gather(*(self._workers.look(name, asked) for name in workers))
                self.machine.looked(views, self._known())
            case Act(decided, pause, progresses):
                if progresses:
                    self._patience.reset()
                outcome = self.machine.begin()
                try:
                    await run_lane(decided, partial(self._act, outcome))
                finally:
                    self.machine.came_of(outcome, self._term())
                return pause if pause is None or not decided else min(pause, self._patience.next())
        return None

    def _known(self) -> Known:
        cluster, assignment = self._cluster, self.machine.assignment
        return Known(
            cluster.assignments.get(assignment.metadata.name), cluster.keyspace_of(assignment),
            cluster.partitions.items, cluster.keyspaces.items, self._workers.labels, self._spans.overlapping,
            partial(cluster.ahead, assignment), self._workers.unheard_seconds, self._term(), self._moments.now(),
            self._moments.ahead_of_day(),
        )  # fmt: skip

    async def _act(self, outcome: Outcome, action: actions.Action) -> None:
        machine, status = self.machine, action.status if isinstance(action, actions.SetStatus) else None
        if status is not None and not machine.is_news(status, self._moments.now()):
            return
        try:
            await self._executor.carry_out(machine.assignment, action, outcome)
        except BaseException as error:
            machine.acted(action, self._moments.now(), error)
            raise
        machine.acted(action, self._moments.now())
        if status is not None:
            current = self._cluster.assignments.get(machine.assignment.metadata.name)
            machine.wrote_status(status, current, self._moments.now())

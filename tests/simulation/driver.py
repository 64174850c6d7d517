"""The loop around ``decide`` for one Assignment; see ``dstk.operator.driver``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec.structs import replace as with_

from dstk.api import Assignment, Durability, Partition
from dstk.control.views import WorkerView
from dstk.lifecycle import actions, decide, touched
from dstk.lifecycle.memory import Memory
from dstk.lifecycle.observed import Limits, Observed

from .api_server import NotFound
from .clock import Failed, Reply, Steps
from .hands import Outcome, Uncertain

if TYPE_CHECKING:
    from .operator import Operator

__all__ = ["LIMITS", "Driver", "is_final"]

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


def is_final(assignment: Assignment) -> bool:
    phase = assignment.status.phase
    return phase is not None and phase.final


class Driver:
    """The loop around ``decide`` for one Assignment; see ``dstk.operator.driver``."""

    def __init__(self, operator: Operator, assignment: Assignment) -> None:
        self.assignment = assignment
        self.named = set(assignment.partitions)
        self.worker_names: tuple[str, ...] = ()
        self._operator = operator
        self._memory = Memory()
        self._uncertain: set[str] = set()
        self._partitions: dict[str, Partition] = {}
        self._views: dict[str, WorkerView] = {}
        self._lives: dict[str, str] = {}
        self._outcome = Outcome()
        self._fresh = False
        self._last: list[actions.Action] = []
        self._changed = Reply()

    def wake(self) -> None:
        self._changed.succeed()

    def partition_changed(self, new: Partition | None, name: str) -> None:
        """A Partition changed; ignored when it is what this driver wrote itself."""
        known = self._partitions.get(name)
        if name in self._outcome.written:
            known = self._outcome.written[name]
        if new is None and known is None:
            return
        if new is not None and known is not None:
            ours = int(known.metadata.resource_version) >= int(new.metadata.resource_version)
            if ours and known.metadata.uid == new.metadata.uid:
                return
        self._fresh = False
        self.wake()

    def run(self) -> Steps:
        clock = self._operator.clock
        while not is_final(self.assignment):
            self._changed = Reply()
            try:
                pause = yield from self._step()
            except Failed as failed:
                self._operator.world.note("[%s] failed: %s", self._operator.term, failed)
                pause, self._fresh = 0.1, False
            if pause is not None and not is_final(self.assignment):
                pause = max(pause, 0.01)
                changed = self._changed
                clock.after(pause, changed.succeed, "over")
                yield changed
                if changed.result() == "over":
                    self._fresh = False
        self._operator.driver_ended(self.assignment)
        current = self._operator.assignments.get(self.assignment.metadata.name)
        if current is not None and current.metadata.deletion_timestamp is not None and is_final(current):
            yield from self._operator.finalize(current)

    def _step(self) -> Steps:
        """One decision; how long to wait before the next one."""
        operator = self._operator
        observed = yield from self._observe()
        decided = decide(observed, operator.clock.now)
        if decided == self._last:
            self._fresh = False
        self._last = decided
        waits = [action.seconds for action in decided if isinstance(action, actions.Wait)]
        outcome = self._outcome = Outcome()
        try:
            for action in decided:
                if isinstance(action, actions.Parallel):
                    yield from self._lanes(action, outcome)
                elif not isinstance(action, actions.Wait):
                    yield from self._act(action, outcome)
        finally:
            self._take_in(outcome)
        if not waits:
            return None if decided else LIMITS.wait_seconds
        self._fresh = False
        return min(waits)

    def _lanes(self, parallel: actions.Parallel, outcome: Outcome) -> Steps:
        failed = None
        for lane in parallel.lanes:
            try:
                for action in lane:
                    yield from self._act(action, outcome)
            except Failed as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _act(self, action: actions.Action, outcome: Outcome) -> Steps:
        operator, failed = self._operator, True
        try:
            yield from operator.hands.carry_out(self.assignment, action, outcome)
            failed = False
        except Uncertain:
            assert isinstance(action, actions.Commit)
            self.doubt(action.partition)
            raise
        finally:
            self._memory = self._memory.after(action, operator.clock.now, failed)
        if isinstance(action, actions.SetStatus):
            current = operator.assignments.get(self.assignment.metadata.name)
            if current is not None and current.metadata.uid == self.assignment.metadata.uid:
                self.assignment = current
            else:
                self.assignment = with_(self.assignment, status=action.status)

    def doubt(self, partition: str) -> None:
        """It is not known whether the commit has happened."""
        self._uncertain.add(partition)

    def _take_in(self, outcome: Outcome) -> None:
        for name, partition in outcome.written.items():
            if partition is None:
                self._partitions.pop(name, None)
            else:
                self._partitions[name] = partition
        for worker, states in outcome.states:
            view = self._views.get(worker)
            if view is not None:
                merged = {**view.parts, **states}
                parts = {name: part for name, part in merged.items() if part.role != "disconnected"}
                self._views[worker] = replace(view, term=max(view.term, self._operator.term), parts=parts)
        if outcome.stale:
            self._fresh = False

    def _observe(self) -> Steps:
        operator = self._operator
        name, uid = self.assignment.metadata.name, self.assignment.metadata.uid
        current = operator.assignments.get(name)
        deleted = current is None or current.metadata.uid != uid
        if not deleted:
            self.assignment = current
        if not self._fresh:
            yield from self._look()
        assignment = self.assignment
        if assignment.status.step is not None:
            self._memory = self._memory.began(operator.clock.now)
        return Observed(
            assignment=assignment,
            keyspace=operator.keyspace,
            partitions=dict(self._partitions),
            workers=dict(self._views),
            ahead=operator.ahead(assignment, self.partition_names),
            cancelled=deleted or assignment.metadata.deletion_timestamp is not None,
            refusal=operator.refusal(assignment),
            uncertain=bool(self._uncertain),
            term=operator.term,
            limits=LIMITS,
            memory=self._memory,
        )

    def _look(self) -> Steps:
        """Objects first, workers after them."""
        operator = self._operator
        if self._uncertain:
            yield from self._read_back()
        names = touched(self.assignment, operator.partitions.items, operator.keyspace)
        self.partition_names, self.worker_names = names.partitions, names.workers
        self._partitions = {
            name: partition for name in names.partitions if (partition := operator.partitions.get(name)) is not None
        }
        views = []
        for worker in names.workers:
            view = yield from operator.look(worker, list(names.partitions))
            views.append(view)
        self._views = {view.name: self._with_life(view) for view in views}
        silent = (view.name for view in views if not view.reachable)
        self._memory = self._memory.saw(silent, operator.clock.now)
        self._fresh = True

    def _read_back(self) -> Steps:
        api = self._operator.world.api
        for name in sorted(self._uncertain):
            reply = api.request(lambda name=name: api.get("partitions", name))
            yield reply
            try:
                self._operator.partitions.learn(reply.result())
            except NotFound:
                pass
            except Failed:
                return
            self._uncertain.discard(name)

    def _with_life(self, view: WorkerView) -> WorkerView:
        """In another life than it was first seen in, a worker that keeps nothing on disk is gone."""
        if self._operator.keyspace.spec.durability is Durability.DISK:
            return view
        if view.reachable and view.parts:
            self._lives[view.name] = view.incarnation
        seen = self._lives.get(view.name, view.incarnation)
        return view if seen == view.incarnation else replace(view, gone=True)

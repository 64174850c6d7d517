"""Brings workers in line with the objects where no Assignment is in charge; see ``dstk.operator.worker_reconciler``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstk.api import Assignment, AssignmentPhase
from dstk.lifecycle import actions, recover

from .clock import Failed, Steps
from .hands import Outcome, Uncertain

if TYPE_CHECKING:
    from .operator import Operator

__all__ = ["Recovery"]

RELOOK_SECONDS = 10.0
"""Every worker is looked at anew so often, for what arrived too late to be noticed."""


class Recovery:
    """Brings workers in line with the objects where no Assignment is in charge; see ``dstk.operator.worker_reconciler``."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lives: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._running: set[str] = set()

    def look_again(self) -> Steps:
        while True:
            yield RELOOK_SECONDS
            for name in list(self._lives):
                self.look_at(name)

    def look_at(self, name: str) -> None:
        self._waiting.add(name)
        if name not in self._running:
            self._running.add(name)
            self._operator.spawn(self._settle(name))

    def on_worker(self, name: str) -> None:
        link = self._operator.links.get(name)
        if link is None or not link.reachable:
            self._lives.pop(name, None)
        elif self._lives.get(name) != link.incarnation:
            self._lives[name] = link.incarnation
            self.look_at(name)

    def on_assignment(self, old: Assignment | None, new: Assignment | None) -> None:
        assignment = new or old
        assert assignment is not None
        phase = assignment.status.phase
        if phase is AssignmentPhase.COMPLETED or (new is not None and phase is not AssignmentPhase.ABORTED):
            return
        if old is None or (new is not None and old.status.phase is phase):
            return
        spec = assignment.spec
        names = {spec.move_params.source, spec.move_params.to} if spec.move_params is not None else set()
        for name in spec.partitions:
            partition = self._operator.partitions.get(name)
            if partition is not None:
                names.update(filter(None, (partition.spec.primary, partition.spec.proxy)))
        for name in sorted(names):
            self.look_at(name)

    def _settle(self, name: str) -> Steps:
        while name in self._lives:
            self._waiting.discard(name)
            try:
                found = yield from self._step(name)
            except Failed as failed:
                self._operator.world.note("[%s] recovery of %s failed: %s", self._operator.term, name, failed)
                yield 0.3
            else:
                if found:
                    yield 0.1
                elif name not in self._waiting:
                    break
        self._running.discard(name)

    def _step(self, name: str) -> Steps:
        """Whether there was anything to do."""
        operator = self._operator
        charged = operator.busy()
        objects = dict(operator.partitions.items)
        view = yield from operator.look(name, None)
        if not view.reachable:
            return False
        mine = {
            each: partition
            for each, partition in objects.items()
            if name in (partition.spec.primary, partition.spec.proxy) or each in view.parts
        }
        addresses = {link.name: f"{link.name}:7" for link in operator.links.values()}
        busy = charged | operator.busy()
        for each in {*mine, *view.parts}:
            before, after = objects.get(each), operator.partitions.get(each)
            if (before and before.spec, before and before.status) != (after and after.spec, after and after.status):
                busy.add(each)
        decided = recover(mine, view, operator.keyspace, busy, addresses, operator.over)
        lanes = [lane for each in decided if isinstance(each, actions.Parallel) for lane in each.lanes]
        failed = None
        for lane in lanes:
            try:
                yield from self._lane(lane)
            except Failed as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return bool(lanes)

    def _lane(self, steps: tuple[actions.Action, ...]) -> Steps:
        operator = self._operator
        for step in steps:
            partition = step.partition
            if partition and operator.taken(partition):
                return
            try:
                yield from operator.hands.carry_out(None, step, Outcome())
            except Uncertain:
                assert isinstance(step, actions.Commit)
                api = operator.world.api
                reply = api.request(lambda api=api, name=step.partition: api.get("partitions", name))
                yield reply
                operator.partitions.learn(reply.result())
                raise

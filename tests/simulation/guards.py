"""What keeps the promises: every guard of the design, and how it is taken away so that the simulation can miss it.

A guard is taken away by other methods of the model that has it, or other rows or effects of the life cycle, put there
while worlds run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from dstk.control import commands
from dstk.control.commands import Request
from dstk.errors import ApiError
from dstk.kube import is_conflict
from dstk.lifecycle import actions, machine, operation
from dstk.lifecycle.machine import Machine
from dstk.lifecycle.merge import Merging
from dstk.lifecycle.move import Move, caught_up, drained, stream_broken
from dstk.lifecycle.move import fenced as fenced_
from dstk.lifecycle.operation import Operation
from dstk.lifecycle.outcome import Outcome
from dstk.lifecycle.recovery import facts, rules
from dstk.lifecycle.recovery.facts import RecoveredPartition
from dstk.lifecycle.transitions import Row, Transitions, always
from dstk.operator import worker_reconciler
from dstk.operator import workers as workers_module
from dstk.operator.cluster import Cluster
from dstk.operator.executor import ActionExecutor
from dstk.operator.worker_reconciler import WorkerReconciler
from dstk.operator.workers import WorkerLinks
from dstk.plan import place
from dstk.worker import control
from dstk.worker.control import Control
from dstk.worker.terms import TermGate

from . import world as world_module
from .api_server import ApiServer
from .client import Client
from .operators import SETTINGS
from .pod import Pod
from .weather import WEATHERS, Weather

__all__ = ["GUARDS", "SPARE", "UNMISSED", "Guard", "without"]


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard, and the worlds in which its absence shows: as one of `promises`, within `seeds` worlds."""

    name: str
    removed: Callable[[], AbstractContextManager[Any]]
    story: str
    weather: str
    promises: str
    """Letters, any of which may be broken."""
    seeds: int = 300
    changes: dict[str, float] | None = None
    """Weather that brings it out."""

    @property
    def blown(self) -> Weather:
        return replace(WEATHERS[self.weather], **(self.changes or {}))


def without(owner: Any, **methods: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Other methods in the place of an owner's."""

    @contextmanager
    def removed() -> Iterator[None]:
        with patch.multiple(owner, **methods):
            yield

    return removed


def rows(
    operation: type[Operation], change: Callable[[Row[Any]], Row[Any]]
) -> Callable[[], AbstractContextManager[Any]]:
    """Other rows of an operation's table."""
    return lambda: patch.object(operation, "table", Transitions(*map(change, operation.table)))


def both(*removed: Callable[[], AbstractContextManager[Any]]) -> Callable[[], AbstractContextManager[Any]]:
    """Several at once."""

    @contextmanager
    def all_of_them() -> Iterator[None]:
        with ExitStack() as stack:
            for each in removed:
                stack.enter_context(each())
            yield

    return all_of_them


def nothing(*_: Any, **__: Any) -> None:
    """Instead of a check that raises."""


# Worker: the node is told what it cannot refuse

CARRY_OUT = control.carry_out


def told(change: Callable[[Any, Request], Request]) -> Callable[[], AbstractContextManager[Any]]:
    """Every command as somebody would have to give it whom the node's check does not stop."""

    def carry_out(node: Any, request: Request) -> Any:
        return CARRY_OUT(node, change(node, request))

    return without(control, carry_out=carry_out)


def state(node: Any, request: Request) -> Any:
    return next(iter(node.states([request.partition])), None)


def in_the_epoch_held(node: Any, request: Request) -> Request:
    held = state(node, request)
    if held is None or request.epoch >= held.epoch:
        return request
    return replace(request, epoch=held.epoch + isinstance(request.command, (commands.Proxy, commands.Promote)))


def of_what_is_there(node: Any, request: Request) -> Request:
    held = state(node, request)
    if not isinstance(request.command, commands.Promote) or held is None:
        return request
    return replace(request, command=commands.Promote(held.sequence, held.digest))


def with_any_token(node: Any, request: Request) -> Request:
    held = state(node, request)
    match request.command:
        case commands.Fence(token) if held is not None:
            return replace(request, command=commands.Fence(max(token, held.fence_token + 1)))
        case commands.Unfence(token) if held is not None and token:
            return replace(request, command=commands.Unfence(max(token, held.fence_token)))
    return request


ACT = Control.act


async def act_in_any_life(self: Control, request: Request) -> Any:
    return await ACT(self, replace(request, incarnation=self._incarnation))


START = Pod.__init__


def start_unfenced(self: Pod, *arguments: Any) -> None:
    """Serve what was on disk before anybody has said so."""
    START(self, *arguments)
    for name, held in self.parts().items():
        if held.role == "primary" and held.fenced:
            self.node.unfence("default", name, held.epoch, held.fence_token)


def told_at_once(self: Pod, after: int, answer: Callable[[], None]) -> None:
    answer()


# Life cycle


def commit_unfenced(row: Row[Any]) -> Row[Any]:
    """Commit as soon as nothing is missing, whether the source holds its writers or not."""
    return replace(row, guard=drained) if row.when == "fenced & drained" else row


def commit_undrained(row: Row[Any]) -> Row[Any]:
    """Commit behind a fence, whether the destination has everything or not."""
    return replace(row, guard=fenced_ & caught_up) if row.when == "fenced & drained" else row


def promote_first(row: Row[Any]) -> Row[Any]:
    """Promote before the API server holds the epoch."""
    names = [each.name for each in row.effects]
    if names[:2] != ["commit", "promote"]:
        return row
    commit, promote, *rest = row.effects
    return replace(row, effects=(promote, commit, *rest))


def hasty(row: Row[Any]) -> Row[Any]:
    """Take the parts out of the routing table before the merged partition is in it."""
    return replace(row, effects=row.effects[::-1]) if row.when == "flipped" else row


def untouched(self: Operation, worker: Any, part: Any, partition: Any) -> Iterator[actions.Action]:
    """Lift a fence without moving the object's resourceVersion on."""
    found = list(LIFT(self, worker, part, partition))
    return (each for each in found if not isinstance(each, actions.Touch))


LIFT = Operation.lift


def lift_broken_untouched(row: Row[Any]) -> Row[Any]:
    """The same, but only where it is lifted because the stream broke."""
    if row.when != "fenced & fence_in_vain":
        return row
    (lift,) = row.effects

    def actions_of(move: Move) -> list[actions.Action]:
        found = list(lift.actions(move))
        return [each for each in found if not (stream_broken.holds(move) and isinstance(each, actions.Touch))]

    return replace(row, effects=(replace(lift, actions=actions_of),))


def any_fence(row: Row[Any]) -> Row[Any]:
    """Commit behind whatever fence there is, whoever was granted it."""
    return replace(row, guard=~always) if row.when == "fenced & ~fence_is_ours" else row


# Operator

FOUND = Cluster.unfinished


def unfinished_as_written(self: Cluster, partition: str) -> Iterator[Any]:
    """An Assignment that is gone is in charge of nothing, whether its driver has ended or not."""
    gone = {each.metadata.uid for each in self._vanished.values()}
    return (each for each in FOUND(self, partition) if each.metadata.uid not in gone)


ACTED = Machine.acted


def acted_without_doubt(self: Machine, action: Any, now: float, error: BaseException | None = None) -> None:
    ACTED(self, action, now, error)
    self._uncertain.clear()


# Recovery


def served_blindly(self: RecoveredPartition) -> list[Any]:
    """Recovery that does not ask what lies over a partition."""
    return []


async def not_there(self: WorkerLinks, name: str) -> bool:
    """Take the watch's word for a pod's end."""
    return False


def uneven(row: Row[Any]) -> Row[Any]:
    """Merge parts of whatever epochs."""
    return replace(row, guard=~always) if row.when == "parts_uneven" else row


COMMIT = ActionExecutor._commit


async def commit_of_anybody(self: ActionExecutor, commit: actions.Commit, outcome: Outcome) -> None:
    """Take what an object says already for one's own doing."""
    try:
        await COMMIT(self, commit, outcome)
    except ApiError as error:
        live = self._cluster.partitions.get(commit.partition)
        if not is_conflict(error) or live is None:
            raise
        said = live.spec.primary or "", live.spec.proxy or "", live.spec.epoch
        if said != (commit.primary, commit.proxy, commit.epoch):
            raise
        outcome.stale = True
        self._learn(live, outcome)


def as_it_stands(view: Any, partitions: Any) -> Any:
    """Take what a disk has for the latest."""
    return view


def lapsed_at_once(view: Any) -> set[str]:
    """Take who has been silent for a second for one whose lease has run out."""
    silent = ((worker.name, worker.silent_since) for worker in view.workers)
    return {name for name, since in silent if since is not None and view.now - since >= 1.0}


LAG = {"operator_lingers": 0.9, "operator_crash": 10}
"""Operators that were deposed and do not know it."""

GUARDS: tuple[Guard, ...] = (
    Guard("worker: epoch", told(in_the_epoch_held), "there_and_back", "calls", "ABCDEF", changes={"call_delayed": 0.2}),
    Guard("worker: incarnation", without(Control, act=act_in_any_life), "new_and_on", "calls", "F",
          changes={"call_delayed": 0.4, "call_twice": 0.3, "worker_crash": 30}),
    Guard("worker: the copy is complete, and so says the life cycle",
          both(told(of_what_is_there), rows(Move, commit_undrained)), "there_and_back", "calls", "AD",
          600, {"stream_broken": 60}),
    Guard("worker: version of a conditional write", without(Pod, condition=lambda self, operation: 0),
          "move", "calls", "AF"),
    Guard("life cycle: fence before commit", rows(Move, commit_unfenced), "move", "calm", "B"),
    Guard("life cycle: merged partition before its parts", rows(Merging, hasty), "merge", "calm", "C"),
    Guard("life cycle: promote after commit", rows(Move, promote_first), "there_and_back", "api", "AB"),
    Guard("life cycle: no epoch is used twice after a loss",
          both(without(facts, epoch_after_loss=lambda epoch: epoch), without(rules, epoch_after_loss=lambda epoch: epoch)),
          "there_and_back", "workers", "BF", 600),
    Guard("recovery: what lies over a partition", without(RecoveredPartition, outlived=property(served_blindly)), "reshape",
          "everything", "ABCE"),
    Guard("operator: recovery keeps off",
          both(without(WorkerReconciler, _busy=lambda self: set()), without(Cluster, unfinished=lambda self, partition: iter(()))),
          "there_and_back", "calls", "A", changes={"call_delayed": 0.3}),
    Guard("operator: looks again", without(world_module, SETTINGS=replace(SETTINGS, relook_interval=1e9)), "there_and_back",
          "calls", "E", 600, {"call_delayed": 0.3, "cancelled": 8}),
    Guard("operator: waits until the lease of an earlier pod has run out",
          without(WorkerLinks, _before_earlier_ended=lambda self, name, pod: 0.0), "move", "forced", "ABF"),
    Guard("operator: waits until a lease has run out, and so does the Assigner",
          both(without(place, _lapsed=lapsed_at_once),
               *(without(module, lapse_seconds=lambda lease: lease and 0.5)
                 for module in (operation, machine, worker_reconciler, workers_module))),
          "planned", "leases", "ABF", changes={"unreachable": 30}),
    Guard("operator: an older disk is not the present", without(machine, without_older=as_it_stands), "there_and_back",
          "disk-set-back", "A"),
    Guard("API server: uid of a deletion", without(ApiServer, is_same=lambda self, item, uid: True), "reshape", "api",
          "C"),
    Guard("disk: a restarted primary is fenced", without(Pod, __init__=start_unfenced), "move",
          "disk-operators", "ABD", changes={"api_late": 0.4, "worker_crash": 40, "operator_crash": 0}),
    Guard("disk: synced before it is said", without(Pod, answered_when_durable=told_at_once),
          "there_and_back", "disk", "ABDF"),
    Guard("client: repeats nothing that may have been applied",
          without(Client, may_repeat=lambda self, value, version: True), "move", "calls", "F"),
)  # fmt: skip

SPARE: tuple[Guard, ...] = (
    # The token of the fence, the object's version and the epochs do what it was there for.
    Guard("worker: term", without(TermGate, _enter=nothing), "there_and_back", "rivals", ""),
    # Whatever is done instead of waiting has the object's version as its condition.
    Guard("operator: outcome read back", without(Machine, acted=acted_without_doubt), "there_and_back", "api", ""),
    # Two moves of one partition cannot both commit; each takes the other's fence over.
    Guard("operator: older Assignment first", without(Cluster, ahead=lambda self, assignment, names: ()), "two_moves",
          "calls", ""),
    # A commit was sent only where the copy lacked nothing, and it lacks nothing then for as long as the fence stands.
    Guard("life cycle: touch before unfence where the stream broke", rows(Move, lift_broken_untouched), "move",
          "disk-operators", "", changes={"api_late": 0.4, "worker_crash": 40, "operator_lingers": 0.9}),
)  # fmt: skip
"""Guards that another one stands behind: without one of these alone every promise holds as well."""

UNMISSED: tuple[Guard, ...] = (
    Guard("operator: in charge until the driver ends",
          both(without(Cluster, unfinished=unfinished_as_written), without(Cluster, _note_vanished=nothing)), "seed",
          "vanishing", "BC", 600,
          {"vanished": 20, "api_unanswered": 0.15, "call_unanswered": 0.15, "watch_slow": 0.3}),
    Guard("worker: token of the fence", told(with_any_token),
          "two_moves", "rivals", "ABD", changes={"call_delayed": 0.6, "cancelled": 20, "worker_slow": 20}),
    Guard("life cycle: touch before unfence", without(Operation, lift=untouched), "two_moves", "rivals", "ABD",
          changes={"call_delayed": 0.4, "cancelled": 10, "worker_slow": 20}),
    Guard("life cycle: the fence is ours", rows(Move, any_fence), "two_moves", "rivals", "ABD",
          changes={"call_delayed": 0.4, "cancelled": 10, "worker_slow": 20}),
    Guard("operator: asks the API server itself whether a pod is gone", without(WorkerLinks, _is_there=not_there), "planned",
          "workers", "BC", changes={**LAG, "pod_deleted": 12, "watch_slow": 0.6, "watch_lost": 0.1}),
    Guard("operator: what another has committed is not its own", without(ActionExecutor, _commit=commit_of_anybody),
          "planned", "workers", "F", changes={**LAG, "pod_deleted": 8, "watch_slow": 0.3, "watch_lost": 0.05}),
    Guard("life cycle: parts of one epoch are merged", rows(Merging, uneven), "planned", "lagging", "C",
          changes={"call_delayed": 0.2, "call_unanswered": 0.2}),
    Guard("API server: version of a commit", without(ApiServer, is_current=lambda self, item, version: True),
          "there_and_back", "rivals", "ABD"),
)  # fmt: skip
"""Guards that no world has missed so far. What they stop comes from operators that act when their lease is over, or from
what watches tell late; the operator that ships does nothing once its lease may be over, and looks again. Models that did
not have that missed every one of them. Each has tests of its own beside this."""

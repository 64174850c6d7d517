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

from dstk.lifecycle import actions
from dstk.lifecycle.merge import Merging
from dstk.lifecycle.move import Move, caught_up, drained, stream_broken
from dstk.lifecycle.move import fenced as fenced_
from dstk.lifecycle.operation import Operation
from dstk.lifecycle.recovery import facts, rules
from dstk.lifecycle.recovery.facts import RecoveredPartition
from dstk.lifecycle.transitions import Row, Transitions, always

from . import recovery as recovery_module
from . import worker as worker_module
from .api_server import ApiServer, Conflict
from .client import Client
from .clock import Steps
from .driver import Driver, is_final
from .hands import Hands, Outcome
from .operator import Operator
from .pod import Pod
from .weather import WEATHERS, Weather
from .worker import Part, Worker

__all__ = ["GUARDS", "SPARE", "Guard", "without"]


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


# Worker


def fence_without_token(self: Worker, part: Part, token: int) -> None:
    part.fenced, part.token = True, max(part.token, token)


def unfence_without_token(self: Worker, part: Part, token: int) -> None:
    part.fenced, part.token = False, max(part.token, token)


def serve_restarted(self: Pod, part: Part) -> None:
    part.fenced, part.token = False, 1


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


def in_charge_while_there(self: Operator) -> Iterator[Any]:
    """An Assignment that is gone is in charge of nothing, whether its driver has ended or not."""
    return (each for each in self.assignments if not is_final(each))


# Recovery


def served_blindly(self: RecoveredPartition) -> list[Any]:
    """Recovery that does not ask what lies over a partition."""
    return []


def not_there(self: Operator, name: str) -> Steps:
    """Take the watch's word for a pod's end."""
    yield from ()
    return False


def uneven(row: Row[Any]) -> Row[Any]:
    """Merge parts of whatever epochs."""
    return replace(row, guard=~always) if row.when == "parts_uneven" else row


COMMIT = Hands._commit


def commit_of_anybody(self: Hands, commit: actions.Commit, outcome: Outcome) -> Steps:
    """Take what an object says already for one's own doing."""
    try:
        yield from COMMIT(self, commit, outcome)
    except Conflict:
        live = self.partitions.get(commit.partition)
        if live is None or (live.spec.primary or "", live.spec.proxy or "", live.spec.epoch) != (
            commit.primary, commit.proxy, commit.epoch,
        ):  # fmt: skip
            raise
        outcome.stale = True
        self._learn(live, outcome)


LAG = {"operator_lingers": 0.9, "operator_crash": 10}
"""Operators that were deposed and do not know it."""

GUARDS: tuple[Guard, ...] = (
    Guard("worker: epoch", without(Worker, check_epoch=nothing), "there_and_back", "calls", "ABCDE"),
    Guard("worker: incarnation", without(Worker, check_incarnation=nothing), "new_and_on", "calls", "F",
          changes={"call_delayed": 0.1, "call_twice": 0.3, "worker_crash": 12}),
    Guard("worker: the copy is complete, and so says the life cycle",
          both(without(Worker, check_complete=nothing), rows(Move, commit_undrained)), "there_and_back", "calls", "AD",
          600, {"stream_broken": 60}),
    Guard("worker: token of the fence", without(Worker, fence=fence_without_token, unfence=unfence_without_token),
          "two_moves", "rivals", "ABD", changes={"call_delayed": 0.6, "cancelled": 20, "worker_slow": 20}),
    Guard("worker: what it let go is not served from empty", without(Worker, check_not_let_go=nothing), "new_and_on",
          "calls", "AB", changes={"call_delayed": 0.3}),
    Guard("worker: version of a conditional write", without(Pod, has_version=lambda self, version, wanted: True),
          "move", "calls", "F"),
    Guard("life cycle: fence before commit", rows(Move, commit_unfenced), "move", "calm", "B"),
    Guard("life cycle: merged partition before its parts", rows(Merging, hasty), "merge", "calm", "C"),
    Guard("life cycle: promote after commit", rows(Move, promote_first), "there_and_back", "api", "AB"),
    Guard("life cycle: touch before unfence", without(Operation, lift=untouched), "two_moves", "rivals", "ABD",
          changes={"call_delayed": 0.4, "cancelled": 10, "worker_slow": 20}),
    Guard("life cycle: the fence is ours", rows(Move, any_fence), "two_moves", "rivals", "ABD",
          changes={"call_delayed": 0.4, "cancelled": 10, "worker_slow": 20}),
    Guard("life cycle: no epoch is used twice after a loss", both(without(facts, epoch_after_loss=lambda epoch: epoch), without(rules, epoch_after_loss=lambda epoch: epoch)),
          "there_and_back", "workers", "BF", 600),
    Guard("recovery: what lies over a partition", without(RecoveredPartition, outlived=property(served_blindly)), "reshape",
          "everything", "ABCE"),
    Guard("operator: recovery keeps off",
          without(Operator, busy=lambda self: set(), taken=lambda self, partition: False), "there_and_back", "calls", "A"),
    Guard("operator: in charge until the driver ends", without(Operator, _in_charge=in_charge_while_there), "seed",
          "vanishing", "BC", 600,
          {"vanished": 20, "api_unanswered": 0.15, "call_unanswered": 0.15, "watch_slow": 0.3}),
    Guard("worker: an epoch begins above the numbers of those before", without(worker_module, sequence_before=lambda epoch: 0),
          "there_and_back", "workers", "F", 600),
    Guard("operator: looks again", without(recovery_module, RELOOK_SECONDS=1e9), "there_and_back", "calls", "E", 600,
          {"call_delayed": 0.3, "cancelled": 8}),
    Guard("operator: asks the API server itself whether a pod is gone", without(Operator, is_there=not_there), "planned",
          "workers", "BC", changes={**LAG, "pod_deleted": 12, "watch_slow": 0.6, "watch_lost": 0.1}),
    Guard("operator: what another has committed is not its own", without(Hands, _commit=commit_of_anybody), "planned",
          "workers", "F", changes={**LAG, "pod_deleted": 8, "watch_slow": 0.3, "watch_lost": 0.05}),
    Guard("life cycle: parts of one epoch are merged", rows(Merging, uneven), "planned", "lagging", "C",
          changes={"call_delayed": 0.2, "call_unanswered": 0.2}),
    Guard("API server: version of a commit", without(ApiServer, is_current=lambda self, item, version: True),
          "there_and_back", "rivals", "ABD"),
    Guard("API server: uid of a deletion", without(ApiServer, is_same=lambda self, item, uid: True), "reshape", "api",
          "C"),
    Guard("disk: a restarted primary is fenced", without(Pod, fence_restarted=serve_restarted), "move",
          "disk-operators", "ABD", changes={"api_late": 0.4, "worker_crash": 40, "operator_crash": 0}),
    Guard("disk: synced before it is said", without(Pod, answered_when_synced=lambda self, then: then()),
          "there_and_back", "disk", "ABDF"),
    Guard("client: repeats nothing that may have been applied",
          without(Client, may_repeat=lambda self, value, version: True), "move", "calls", "F"),
)  # fmt: skip

SPARE: tuple[Guard, ...] = (
    # The token of the fence, the object's version and the epochs do what it was there for.
    Guard("worker: term", without(Worker, check_term=nothing), "there_and_back", "rivals", ""),
    # Refused as not held, the operator looks, sees the parts, and goes on.
    Guard("worker: repeated splits and merges", without(Worker, repeated=lambda self, flip: False), "reshape", "calls", ""),
    # Whatever is done instead of waiting has the object's version as its condition.
    Guard("operator: outcome read back", without(Driver, doubt=nothing), "there_and_back", "api", ""),
    # Two moves of one partition cannot both commit; each takes the other's fence over.
    Guard("operator: older Assignment first", without(Operator, ahead=lambda self, assignment, names: ()), "two_moves",
          "calls", ""),
    # A commit was sent only where the copy lacked nothing, and it lacks nothing then for as long as the fence stands.
    Guard("life cycle: touch before unfence where the stream broke", rows(Move, lift_broken_untouched), "move",
          "disk-operators", "", changes={"api_late": 0.4, "worker_crash": 40, "operator_lingers": 0.9}),
)  # fmt: skip
"""Guards that another one stands behind: without one of these alone every promise holds as well."""

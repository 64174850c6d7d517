"""What keeps the promises: every guard of the design, and how it is taken away so that the simulation can miss it.

A guard is taken away by another class of the part that has it (``pod``, ``operator``, ``api_server``, ``client``), or
by other rows or effects of the life cycle, put there while worlds run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from dstk.lifecycle import actions, recovery
from dstk.lifecycle.merge import Merging
from dstk.lifecycle.move import Move, caught_up, drained
from dstk.lifecycle.move import fenced as fenced_
from dstk.lifecycle.operation import Operation
from dstk.lifecycle.split import Splitting
from dstk.lifecycle.transitions import Row, Transitions

from . import operator as operator_module
from .api_server import ApiServer, Item
from .client import Client
from .operator import Driver, Operator
from .pod import Pod
from .weather import WEATHERS, Weather
from .worker import Flip, Part, Worker
from .world import World

__all__ = ["GUARDS", "Guard", "without"]


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


def rows(operation: type[Operation], change: Callable[[Row[Any]], Row[Any]]) -> Callable[[], AbstractContextManager[Any]]:
    """Other rows of an operation's table."""
    return lambda: patch.object(operation, "table", Transitions(*map(change, operation.table)))


def both(*removed: Callable[[], AbstractContextManager[Any]]) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def all_of_them() -> Iterator[None]:
        from contextlib import ExitStack

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
    part.fenced = False


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


def any_fence(row: Row[Any]) -> Row[Any]:
    """Commit behind whatever fence there is, whoever was granted it."""
    from dstk.lifecycle.transitions import Guard as Condition

    never = Condition("never", lambda facts: False)
    return replace(row, guard=never) if row.when == "fenced & ~fence_is_ours" else row


# Guards that are one class in the place of another


def served_blindly(self: Any, object_: Any) -> list[Any]:
    """Recovery that does not ask what lies over a partition."""
    return []


GUARDS: tuple[Guard, ...] = (
    Guard("worker: epoch", without(Worker, check_epoch=nothing), "there_and_back", "calls", "ABCDE"),
    Guard("worker: term", without(Worker, check_term=nothing), "move", "rivals", "ABDE", 1500),
    Guard("worker: incarnation", without(Worker, check_incarnation=nothing), "there_and_back", "workers", "ABDEF", 1500),
    Guard("worker: copy is complete, and so says the life cycle",
          both(without(Worker, check_complete=nothing), rows(Move, commit_undrained)), "move", "calls", "ABD"),
    Guard("worker: token of the fence", without(Worker, fence=fence_without_token, unfence=unfence_without_token),
          "there_and_back", "calls", "ABD", 3000),
    Guard("worker: what it let go", without(Worker, check_not_let_go=nothing), "there_and_back", "calls", "ABCDE", 3000),
    Guard("worker: repeated splits and merges", without(Worker, repeated=lambda self, flip: False), "reshape", "calls",
          "ABCDE", 1500),
    Guard("life cycle: fence before commit", rows(Move, commit_unfenced), "move", "calm", "ABD"),
    Guard("life cycle: merged partition before its parts", rows(Merging, hasty), "merge", "calm", "C"),
    Guard("life cycle: promote after commit", rows(Move, promote_first), "there_and_back", "api", "AB"),
    Guard("life cycle: touch before unfence", without(Operation, lift=untouched), "there_and_back", "rivals", "ABD", 3000),
    Guard("life cycle: fence is ours", rows(Move, any_fence), "there_and_back", "rivals", "ABD", 3000),
    Guard("operator: outcome read back", without(Driver, doubt=nothing), "there_and_back", "api", "ABDE", 3000),
    Guard("operator: older Assignment first", without(Operator, ahead=lambda self, assignment, names: ()), "two_moves",
          "calls", "ABCDE", 1500),
    Guard("operator: recovery keeps off", without(Operator, busy=lambda self: set(), taken=lambda self, partition: False), "there_and_back", "calls",
          "ABCDE", 1500),
    Guard("operator: looks again", without(operator_module, RELOOK_SECONDS=1e9), "there_and_back", "calls", "E", 1500),
    Guard("API server: version of a commit", without(ApiServer, is_current=lambda self, item, version: True),
          "there_and_back", "rivals", "ABCDE", 1500),
    Guard("API server: uid of a deletion", without(ApiServer, is_same=lambda self, item, uid: True), "reshape", "api",
          "ABCDE", 1500),
    Guard("recovery: what lies over a partition", without(recovery._Recovery, _outlived=served_blindly), "reshape",
          "everything", "ABCDE", 3000),
    Guard("disk: a restarted primary is fenced", without(Pod, fence_restarted=serve_restarted), "there_and_back",
          "disk-operators", "ABCDE", 1500),
    Guard("disk: synced before it is said", without(Pod, answered_when_synced=lambda self, then: then()),
          "there_and_back", "disk", "ABDEF", 1500),
    Guard("client: repeats nothing that may have been applied",
          without(Client, may_repeat=lambda self, value, version: True), "move", "calls", "F"),
    Guard("worker: version of a conditional write", without(Pod, has_version=lambda self, version, wanted: True),
          "move", "calls", "F"),
)  # fmt: skip

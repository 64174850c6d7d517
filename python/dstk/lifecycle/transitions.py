"""Tables of transitions: one table an operation, which is its code, its documentation and its test matrix.

::

    TABLE = Transitions(
        at(LOADING).when(caught_up).go(FOLLOWING),
        at(FOLLOWING).when(lag_small & ~fenced).do(fence_source).stay(),
        at(LOADING, FOLLOWING).when(late | cancelled).do(drop).end(ABORTED, "Cancelled"),
    )

The first row of the current step whose guard holds is the one that is taken. Guards and effects are named
functions over the facts of one decision, so a table prints as it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dstk.api import AssignmentPhase, Step
from dstk.lifecycle.actions import Action

__all__ = ["Effect", "Guard", "Row", "Transitions", "always", "at", "effect", "guard"]

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Guard(Generic[F]):
    """A named condition. ``&``, ``|`` and ``~`` combine guards and their names."""

    name: str
    holds: Callable[[F], bool]
    loose: bool = False
    """Whether the name needs parentheses beside ``&`` and ``~``."""
    says: str = ""
    """What it means, where the name does not say it all."""
    parts: tuple[Guard[F], ...] = ()
    """What it is made of."""

    def __and__(self, other: Guard[F]) -> Guard[F]:
        name = f"{self._tight} & {other._tight}"
        return Guard(name, lambda facts: self.holds(facts) and other.holds(facts), parts=(self, other))

    def __or__(self, other: Guard[F]) -> Guard[F]:
        name = f"{self.name} | {other.name}"
        return Guard(name, lambda facts: self.holds(facts) or other.holds(facts), loose=True, parts=(self, other))

    def __invert__(self) -> Guard[F]:
        name = f"~({self.name})" if self.loose or " & " in self.name else f"~{self.name}"
        return Guard(name, lambda facts: not self.holds(facts), parts=(self,))

    def named(self, name: str) -> Guard[F]:
        """The same condition under a name of its own."""
        return Guard(name, self.holds, says=self.name, parts=(self,))

    def __iter__(self) -> Iterator[Guard[F]]:
        """All named guards in it, this one first."""
        yield self
        for part in self.parts:
            yield from part

    @property
    def _tight(self) -> str:
        return f"({self.name})" if self.loose else self.name


@dataclass(frozen=True, slots=True)
class Effect(Generic[F]):
    """A named group of actions."""

    name: str
    actions: Callable[[F], Iterable[Action]]
    says: str = ""
    """What it does, where the name does not say it all."""


def guard(holds: Callable[[F], bool]) -> Guard[F]:
    """A guard named like the function."""
    return Guard(holds.__name__, holds, says=_sentence(holds))


def effect(actions: Callable[[F], Iterable[Action]]) -> Effect[F]:
    """An effect named like the function."""
    return Effect(actions.__name__, actions, _sentence(actions))


def _sentence(function: Callable[..., object]) -> str:
    return " ".join((function.__doc__ or "").split())


@dataclass(frozen=True, slots=True)
class Row(Generic[F]):
    """One transition. `to`, `phase` and `waits_for` say how it goes on; none of them: look again at once."""

    steps: tuple[Hashable, ...]
    guard: Guard[F]
    effects: tuple[Effect[F], ...] = ()
    to: Step | None = None
    phase: AssignmentPhase | None = None
    reason: str = ""
    waits_for: str = ""

    @property
    def when(self) -> str:
        """The guard as printed."""
        return self.guard.name

    @property
    def does(self) -> str:
        """The effects as printed."""
        return ", ".join(each.name for each in self.effects)

    @property
    def then(self) -> str:
        """What comes after it, as printed."""
        if self.phase is not None:
            return f"{self.phase.value}: {self.reason}" if self.reason else self.phase.value
        if self.to is not None:
            return self.to.value
        return f"wait for {self.waits_for}" if self.waits_for else "look again"


@dataclass(frozen=True, slots=True)
class _At(Generic[F]):
    """A row under construction."""

    steps: tuple[Hashable, ...]
    guard: Guard[F]
    effects: tuple[Effect[F], ...] = ()

    def do(self, *effects: Effect[F]) -> _At[F]:
        """What to do, in this order."""
        return _At(self.steps, self.guard, (*self.effects, *effects))

    def go(self, step: Step) -> Row[F]:
        """Then be at `step`; COMPLETED ends the Assignment well."""
        phase = AssignmentPhase.COMPLETED if step is Step.COMPLETED else None
        return Row(self.steps, self.guard, self.effects, to=step, phase=phase)

    def stay(self) -> Row[F]:
        """Then look again."""
        return Row(self.steps, self.guard, self.effects)

    def wait(self, what: str) -> Row[F]:
        """Then nothing can be done until `what`."""
        return Row(self.steps, self.guard, self.effects, waits_for=what)

    def stall(self, reason: str) -> Row[F]:
        """Say Stalled and why, and keep looking: it goes on by itself once the guard no longer holds."""
        return Row(self.steps, self.guard, self.effects, phase=AssignmentPhase.STALLED, reason=reason)

    def queue(self, reason: str) -> Row[F]:
        """Stay Pending and say why."""
        return Row(self.steps, self.guard, self.effects, phase=AssignmentPhase.PENDING, reason=reason)

    def abort(self, reason: str) -> Row[F]:
        """Then it is over, and whoever owned what still does."""
        return Row(self.steps, self.guard, self.effects, phase=AssignmentPhase.ABORTED, reason=reason)


class at:
    """The steps that a row is for; None is an Assignment that has not begun. Recovery's steps are roles: what a worker
    holds of the partition."""

    def __init__(self, *steps: Hashable) -> None:
        self._steps = steps

    def when(self, guard: Guard[F]) -> _At[F]:
        """The condition."""
        return _At(self._steps, guard)


class Transitions(Generic[F]):
    """Rows in order of precedence."""

    def __init__(self, *rows: Row[F]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Row[F]]:
        return iter(self.rows)

    def pick(self, step: Hashable, facts: F) -> Row[F]:
        """The row to take. Every step ends with a row that always holds, so there is one."""
        return next(row for row in self.rows if step in row.steps and row.guard.holds(facts))


def _true(facts: object) -> bool:
    return True


always: Guard[Any] = Guard("always", _true)
"""For the last row of a step."""

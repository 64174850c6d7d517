"""Is the history of one key linearizable? A checker after Wing and Gong, with Lowe's memory of states already tried.

The key is a register with versions: a put gives the row a version above all earlier ones of the key, a delete takes one
too, and a condition names the version that the row must have (0: no row). A history is linearizable when every
operation can be given a moment between its invocation and its answer at which it alone took effect, such that every
answer is what the register says at that moment.

- "Testing and verifying concurrent objects", J. M. Wing and C. Gong, 1993: the search over what may come next.
- "Testing for linearizability", G. Lowe, 2017, and Porcupine: never look twice at the same state.
- Versions prune it to nearly nothing: writes whose version is known come in its order, a read that fits is taken at
  once, because it changes nothing. What is left to try are the writes of which nobody knows whether they happened.

The search is iterative and bounded: when the bound is reached the verdict is ``UNDECIDED``, never a pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Judgement", "Operation", "Outcome", "Verb", "Verdict", "check"]

Verb: TypeAlias = Literal["get", "put", "delete"]
Outcome: TypeAlias = Literal["ok", "mismatch", "failed", "unknown"]

STEPS = 2_000_000
"""Candidates that are looked at for one key before the verdict is UNDECIDED: some seconds."""

_NEVER = 1 << 62
_UNSEEN = -1
"""The row is of a put whose version nobody was told."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on the key as its caller saw it. Moments are of one clock, in any unit.

    ``ok``: answered. ``mismatch``: answered that the condition does not hold. ``failed``: certainly not applied.
    ``unknown``: it may take effect at any moment after its invocation, long after its caller gave up too, or never.
    """

    verb: Verb
    invoked: int
    returned: int
    outcome: Outcome = "ok"
    value: Hashable = None
    """What a put wrote, another one in every put, or what a get read; None: no row."""
    version: int | None = None
    """What a write or read was told; of a mismatch the row's present version, 0 for no row. None: there was no row."""
    if_version: int | None = None
    """The condition; 0: there must be no row."""
    who: str = ""
    """For people."""

    def __str__(self) -> str:
        said = f" {self.value!r}" if self.value is not None else ""
        condition = f" if version {self.if_version}" if self.if_version is not None else ""
        version = "no row" if self.version in (None, 0) else f"version {self.version}"
        answer = {"ok": version, "mismatch": f"mismatch, {version}"}.get(self.outcome, self.outcome)
        who = f" by {self.who}" if self.who else ""
        return f"{self.verb}{said}{condition}: {answer} [{self.invoked}, {self.returned}]{who}"


class Judgement(StrEnum):
    """What the checker says."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement, and why."""

    judgement: Judgement
    reason: str = ""

    def __bool__(self) -> bool:
        return self.judgement is Judgement.LINEARIZABLE


def check(operations: Iterable[Operation], *, steps: int = STEPS) -> Verdict:
    """Whether the operations of one key, which had no row at first, are linearizable.

    Raises ValueError when two puts wrote the same value: then nobody can tell which one was read.
    """
    history = _History(operations)
    wrong = _misfits(history) or _backwards(history)
    if wrong:
        return Verdict(Judgement.VIOLATION, wrong)
    return _Search(history, steps).run()


class _History:
    """The operations, with what is known of each write from anybody's answer."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.all = sorted(operations, key=lambda operation: (operation.invoked, operation.returned))
        self.puts: dict[Hashable, Operation] = {}
        for each in self.all:
            if each.verb == "put":
                if each.value in self.puts:
                    raise ValueError(f"two puts wrote {each.value!r}; every put takes a value of its own")
                self.puts[each.value] = each
        self.seen: dict[Hashable, int] = {}
        """The version of each value, as the first who saw both said."""
        for each in self.all:
            if each.verb in ("get", "put") and each.outcome == "ok" and each.version is not None:
                self.seen.setdefault(each.value, each.version)

    def version(self, operation: Operation) -> int | None:
        """The version at which the operation wrote or what it read, as far as anybody was told; 0: no row."""
        match operation:
            case Operation(verb="put", outcome="ok" | "unknown"):
                return self.seen.get(operation.value)
            case Operation(outcome="ok" | "mismatch"):
                return operation.version or 0
        return None

    def writes(self, operation: Operation) -> bool:
        """Whether it certainly wrote, at a version that is known."""
        if operation.verb == "get" or operation.outcome in ("failed", "mismatch"):
            return False
        return bool(self.version(operation))


def _misfits(history: _History) -> str:
    """What no order can explain: answers that contradict one another, whenever they were given."""
    values: dict[int, Hashable] = {}
    removals: dict[int, Operation] = {}
    for each in history.all:
        if each.verb == "delete" and each.outcome == "ok" and each.version:
            if each.version in removals:
                return f"two deletes got version {each.version}: {each}; {removals[each.version]}"
            removals[each.version] = each
    for each in history.all:
        if each.outcome == "mismatch" and each.if_version == each.version:
            return f"refused although its condition held: {each}"
        if each.outcome == "mismatch" and each.version in removals:
            return f"the version of a delete was that of a row: {each}; {removals[each.version]}"
        if each.verb == "get" and each.outcome == "ok" and (each.value is None) != (not each.version):
            return f"a value without a version, or a version without a value: {each}"
        if each.verb not in ("get", "put") or each.outcome != "ok" or each.version is None:
            continue
        put = history.puts.get(each.value)
        if put is None:
            return f"a value that nobody wrote: {each}"
        if put.outcome in ("failed", "mismatch"):
            return f"a write that was said not to be applied was: {put}; {each}"
        if each.returned < put.invoked:
            return f"read before it was written: {each}; {put}"
        if history.seen[each.value] != each.version:
            return f"one write had two versions, {history.seen[each.value]} and {each.version}: {put}; {each}"
        if values.setdefault(each.version, each.value) != each.value:
            return f"version {each.version} had two values, {values[each.version]!r} and {each.value!r}: {each}"
        if each.version in removals:
            return f"the version of a delete was that of a row: {each}; {removals[each.version]}"
    return ""


def _backwards(history: _History) -> str:
    """The first operation that was told an older version than one that had ended before it began."""
    known = [(each, version) for each in history.all if (version := history.version(each))]
    answered = sorted((pair for pair in known if pair[0].outcome != "unknown"), key=lambda pair: pair[0].returned)
    newest: tuple[Operation | None, int] = (None, 0)
    ended = 0
    for each, version in known:
        while ended < len(answered) and answered[ended][0].returned < each.invoked:
            if answered[ended][1] > newest[1]:
                newest = answered[ended]
            ended += 1
        if version < newest[1] or (version == newest[1] and history.writes(each)):
            kind = "a write" if history.writes(each) else "a read"
            return f"{kind} went back, to version {version} after {newest[1]}: {each}; before it {newest[0]}"
    return ""


class _State(NamedTuple):
    """How far an attempt is. ``head`` is the first certain operation not yet placed; bits of ``placed`` those after."""

    head: int
    placed: int
    row: int
    """Version of the row; 0: none."""
    floor: int
    """No version up to this is given again."""
    removals: int
    """So many of the uncertain deletes were used, and so many of the uncertain puts."""
    unseen: int
    conditional: int
    """Bits: the uncertain conditional writes that were used."""


@dataclass(frozen=True, slots=True)
class _Certain:
    """An operation that must be placed: a write at its version, or a read of what the row's version was."""

    invoked: int
    returned: int
    writes: bool
    removes: bool
    version: int
    if_version: int | None
    said: Operation


class _Search:
    """Places the operations one after the other, going back where it cannot go on."""

    def __init__(self, history: _History, steps: int) -> None:
        self._steps = steps
        self._certain: list[_Certain] = []
        removals: list[int] = []
        unseen: list[int] = []
        self._conditional: list[Operation] = []
        for each in history.all:
            version = history.version(each)
            if each.outcome == "failed" or (each.outcome == "unknown" and each.verb == "get"):
                continue
            if each.outcome == "unknown" and version is None:
                if each.if_version is not None:
                    self._conditional.append(each)
                else:
                    (removals if each.verb == "delete" else unseen).append(each.invoked)
                continue
            writes = history.writes(each)
            returned = _NEVER if each.outcome == "unknown" else each.returned
            condition = each.if_version if writes else None
            removes = writes and each.verb == "delete"
            self._certain.append(_Certain(each.invoked, returned, writes, removes, version or 0, condition, each))
        # Equal effects and no latest moment: the one that was invoked first does as well as any other.
        self._removals: Sequence[int] = sorted(removals)
        self._unseen: Sequence[int] = sorted(unseen)
        self._versions = sorted(each.version for each in self._certain if each.writes)
        self._by_condition: dict[int, list[int]] = defaultdict(list)
        for index, each in enumerate(self._conditional):
            self._by_condition[each.if_version or 0].append(index)

    def run(self) -> Verdict:
        """Depth first, on a stack of its own."""
        tried: set[_State] = set()
        stack = [_State(0, 0, 0, 0, 0, 0, 0)]
        furthest, stuck = -1, stack[0]
        while stack:
            state = self._take_reads(stack.pop())
            if state.head == len(self._certain):
                return Verdict(Judgement.LINEARIZABLE)
            if self._steps < 0:
                return Verdict(
                    Judgement.UNDECIDED,
                    f"given up after the bound of steps, {len(tried)} states of {len(self._certain)} operations",
                )
            if state in tried:
                continue
            tried.add(state)
            done = state.head + state.placed.bit_count()
            if done > furthest:
                furthest, stuck = done, state
            stack.extend(self._choices(state))
        return Verdict(Judgement.VIOLATION, self._explain(stuck))

    def _candidates(self, state: _State) -> tuple[list[int], int]:
        """The certain operations that may come next, and the moment before which the next one has to come."""
        found: list[int] = []
        latest = _NEVER
        certain = self._certain
        for index in range(state.head, len(certain)):
            self._steps -= 1
            if state.placed >> (index - state.head) & 1:
                continue
            each = certain[index]
            if each.invoked > latest:
                break
            found.append(index)
            latest = min(latest, each.returned)
        return found, latest

    def _take_reads(self, state: _State) -> _State:
        """Place every read that fits now: it changes nothing, so no later moment is a better one."""
        while True:
            candidates, _ = self._candidates(state)
            fitting = [
                index
                for index in candidates
                if not self._certain[index].writes and self._certain[index].version == state.row
            ]
            if not fitting:
                return state
            for index in fitting:
                state = _placed(state, index)

    def _choices(self, state: _State) -> list[_State]:
        """The states after what may come next; the last one is the best."""
        candidates, latest = self._candidates(state)
        fitting = {index: after for index in candidates if (after := self._after(state, index)) is not None}
        usable = self._usable(state, latest)
        useful = [
            after
            for after in self._doubtful(state, latest)
            # What nobody was told of is of use only just before what would not fit without it.
            if any(index not in fitting and self._after(after, index) is not None for index in candidates)
            or any(index not in usable for index in self._usable(after, latest))
        ]
        return useful + list(fitting.values())

    def _after(self, state: _State, index: int) -> _State | None:
        """The state after the certain operation `index`, None where it does not fit."""
        each = self._certain[index]
        if not each.writes:
            if state.row == each.version:
                return _placed(state, index)
            # A row whose version nobody had been told: this is it.
            if state.row == _UNSEEN and state.floor < each.version < self._next_version(state):
                return _placed(state, index, row=each.version, floor=each.version)
            return None
        if each.version != self._next_version(state) or each.version <= state.floor:
            return None
        if not self._holds(state, each.if_version) or (each.removes and state.row == 0):
            return None
        return _placed(state, index, row=0 if each.removes else each.version, floor=each.version)

    def _next_version(self, state: _State) -> int:
        """The lowest version of a known write that is not placed."""
        at = bisect_left(self._versions, state.floor + 1)
        return self._versions[at] if at < len(self._versions) else _NEVER

    def _holds(self, state: _State, condition: int | None) -> bool:
        if condition is None or condition == state.row:
            return True
        return state.row == _UNSEEN and state.floor < condition < self._next_version(state)

    def _doubtful(self, state: _State, latest: int) -> Iterable[_State]:
        """The states after an uncertain write that nobody has seen."""
        if state.row != 0 and state.removals < len(self._removals) and self._removals[state.removals] <= latest:
            yield state._replace(row=0, removals=state.removals + 1)
        if state.row != _UNSEEN and state.unseen < len(self._unseen) and self._unseen[state.unseen] <= latest:
            yield state._replace(row=_UNSEEN, unseen=state.unseen + 1)
        for index in self._usable(state, latest):
            each = self._conditional[index]
            yield state._replace(
                row=0 if each.verb == "delete" else _UNSEEN,
                floor=max(state.floor, each.if_version or 0),
                conditional=state.conditional | 1 << index,
            )

    def _usable(self, state: _State, latest: int) -> list[int]:
        """The uncertain conditional writes whose condition holds."""
        indexes = self._by_condition.get(state.row, ()) if state.row != _UNSEEN else range(len(self._conditional))
        return [
            index
            for index in indexes
            if not state.conditional >> index & 1
            and self._conditional[index].invoked <= latest
            and self._holds(state, self._conditional[index].if_version)
            and not (state.row == 0 and self._conditional[index].verb == "delete")
        ]

    def _explain(self, state: _State) -> str:
        candidates, _ = self._candidates(state)
        first = min(candidates, key=lambda index: self._certain[index].returned)
        row = {0: "there was no row", _UNSEEN: "the row was of a put with unknown outcome"}.get(
            state.row, f"the row had version {state.row}"
        )
        others = "; ".join(str(self._certain[index].said) for index in candidates if index != first)
        beside = f"; beside it {others}" if others else ""
        return f"no order explains {self._certain[first].said}, when {row}{beside}"


def _placed(state: _State, index: int, *, row: int | None = None, floor: int | None = None) -> _State:
    head, placed = state.head, state.placed | 1 << (index - state.head)
    if index == head:
        along = (~placed & (placed + 1)).bit_length() - 1
        head, placed = head + along, placed >> along
    return _State(
        head,
        placed,
        state.row if row is None else row,
        state.floor if floor is None else floor,
        state.removals,
        state.unseen,
        state.conditional,
    )

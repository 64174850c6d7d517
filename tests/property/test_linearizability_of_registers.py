"""The checker against a register that really is one, and against a search without any cleverness.

Histories are made by clients that run side by side on one register: whatever comes of them is linearizable. Then
one answer is changed; now and then that makes another history that is right too, so the judge is a search that tries
every order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dstk.testing.linearizability import Judgement, Operation, check


@dataclass
class Register:
    """The register itself: one row, versions that grow."""

    value: str | None = None
    version: int = 0
    last: int = 0

    def apply(self, operation: Operation) -> Operation:
        """The operation with its answer."""
        if operation.if_version is not None and operation.if_version != self.version:
            return replace(operation, outcome="mismatch", version=self.version)
        match operation.verb:
            case "get":
                return replace(operation, value=self.value, version=self.version or None)
            case "put":
                self.last += 1
                self.value, self.version = str(operation.value), self.last
                return replace(operation, version=self.version)
            case "delete":
                if not self.version:
                    return replace(operation, version=None)
                self.last += 1
                self.value, self.version = None, 0
                return replace(operation, version=self.last)


def run(chance: random.Random, clients: int, operations: int) -> list[Operation]:
    """Clients that each do one operation after the other on one register; each takes effect once at a moment between
    its invocation and its answer. Some answers are lost: such a write happens in time, late, or not at all."""
    register = Register()
    history: list[Operation] = []
    free = [0] * clients
    plans: list[tuple[int, int, Operation, str]] = []
    for number in range(operations):
        client = min(range(clients), key=free.__getitem__)
        invoked = free[client] + chance.randrange(4)
        effect = invoked + chance.randrange(6)
        returned = effect + chance.randrange(6)
        free[client] = returned + 1
        verb = chance.choice(["get", "get", "put", "put", "delete"])
        condition = chance.randrange(4) if verb != "get" and chance.random() < 0.4 else None
        value = f"v{number}" if verb == "put" else None
        fate = chance.choice(["answered"] * 7 + ["lost", "late", "never", "refused"]) if verb != "get" else "answered"
        if fate == "late":
            effect += chance.randrange(20)
        operation = Operation(verb, 2 * invoked, 2 * returned + 1, "ok", value, None, condition, f"client {client}")
        plans.append((effect, number, operation, fate))
    for _, _, operation, fate in sorted(plans, key=lambda plan: plan[:2]):
        if fate == "answered":
            history.append(register.apply(operation))
            continue
        if fate in ("lost", "late"):
            register.apply(operation)
        history.append(replace(operation, outcome="failed" if fate == "refused" else "unknown"))
    return history


def mutate(chance: random.Random, history: Sequence[Operation]) -> list[Operation]:
    """The history with one answer changed."""
    changed = list(history)
    at = chance.randrange(len(changed))
    each = changed[at]
    rows = [(put.value, put.version) for put in history if put.verb == "put" and put.version] or [(None, None)]
    match chance.randrange(5):
        case 0 if each.verb == "get":
            value, version = chance.choice([*rows, (None, None)])
            changed[at] = replace(each, value=value, version=version)
        case 1 if each.version is not None:
            changed[at] = replace(each, version=max(0, each.version + chance.choice([-2, -1, 1, 2])))
        case 2:
            changed[at] = replace(each, outcome=chance.choice(["failed", "ok", "unknown"]))
        case 3:
            length = each.returned - each.invoked
            moved = max(0, each.invoked + chance.randrange(-30, 30))
            changed[at] = replace(each, invoked=moved, returned=moved + length)
        case _ if each.verb == "delete" and each.outcome == "ok":
            changed[at] = replace(each, version=None if each.version else 50)
        case _:
            changed[at] = replace(each, outcome="failed")
    return [
        replace(each, outcome="unknown") if each.outcome == "ok" and each.verb == "put" and not each.version else each
        for each in changed
    ]


def exhaustive(history: Sequence[Operation]) -> bool:
    """Every order of every choice of what happened; nothing is remembered, nothing is left out.

    The row is (value, version or None where nobody was told); `floor` is the highest version so far.
    """
    certain = [each for each in history if each.outcome in ("ok", "mismatch")]
    doubtful = [each for each in history if each.outcome == "unknown" and each.verb != "get"]

    def go(todo: list[Operation], maybe: list[Operation], row: tuple[object, int | None], floor: int) -> bool:
        if not todo:
            return True
        latest = min(each.returned for each in todo)
        for index, each in enumerate(todo):
            if each.invoked <= latest:
                for after, above in step(each, row, floor):
                    if go(todo[:index] + todo[index + 1 :], maybe, after, above):
                        return True
        for index, each in enumerate(maybe):
            if each.invoked <= latest:
                for after, above in guess(each, row, floor):
                    if go(todo, maybe[:index] + maybe[index + 1 :], after, above):
                        return True
        return False

    def has(row: tuple[object, int | None], version: int, floor: int) -> bool:
        """Can the row's version be this one? One that nobody was told can be any above the floor."""
        return row[1] == version or (row[1] is None and version > floor)

    def step(
        each: Operation, row: tuple[object, int | None], floor: int
    ) -> list[tuple[tuple[object, int | None], int]]:
        version = each.version or 0
        if each.outcome == "mismatch":
            same = has(row, version, floor) and each.if_version != version
            return [((row[0], version), max(floor, version))] if same else []
        if each.verb == "get":
            same = has(row, version, floor) and row[0] == each.value
            return [((row[0], version), max(floor, version))] if same else []
        if each.if_version is not None and version and not has(row, each.if_version, floor):
            return []
        floor = max(floor, each.if_version or 0) if version else floor
        if each.verb == "delete":
            if not version:
                return [(row, floor)] if row[1] == 0 else []
            return [((None, 0), version)] if row[1] != 0 and version > floor else []
        return [((each.value, version), version)] if version > floor else []

    def guess(
        each: Operation, row: tuple[object, int | None], floor: int
    ) -> list[tuple[tuple[object, int | None], int]]:
        if each.if_version is not None:
            if not has(row, each.if_version, floor):
                return []
            floor = max(floor, each.if_version)
        if each.verb == "delete":
            return [((None, 0), floor)] if row[1] != 0 else []
        return [((each.value, None), floor)]

    seen = {(each.value, each.version) for each in certain if each.version and each.value is not None}
    versions = [each.version for each in certain if each.verb != "get" and each.outcome == "ok" and each.version]
    if len({value for value, _ in seen}) != len(seen) or len(versions) != len(set(versions)):
        return False
    return go(certain, doubtful, (None, 0), 0)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 60))
def test_what_a_register_answers_is_linearizable(seed: int, clients: int, operations: int) -> None:
    verdict = check(run(random.Random(seed), clients, operations))
    assert verdict, verdict.reason


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(3, 8))
def test_a_changed_answer_is_judged_as_by_trying_every_order(seed: int, clients: int, operations: int) -> None:
    chance = random.Random(seed)
    history = mutate(chance, run(chance, clients, operations))
    verdict = check(history)
    assert verdict.judgement is not Judgement.UNDECIDED
    assert bool(verdict) == exhaustive(history), (verdict.reason, [str(each) for each in history])


def test_changed_answers_are_mostly_wrong() -> None:
    """Else the test above would compare passes with passes."""
    rejected = 0
    for seed in range(300):
        chance = random.Random(seed)
        rejected += not check(mutate(chance, run(chance, 3, 8)))
    assert rejected > 60

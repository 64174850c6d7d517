"""Histories of one key that are known to be right, and known to be wrong.

One operation a line: client, verb, [invoked, returned], what came of it. The checker must tell the two kinds apart, and
must say aloud when it cannot.
"""

from __future__ import annotations

import pytest

from dstk.testing.linearizability import Judgement, Operation, Verdict, check


def put(
    value: str, at: int, end: int, version: int | None = None, if_version: int | None = None, outcome: str = "ok"
) -> Operation:
    return Operation("put", at, end, outcome, value, version, if_version)  # type: ignore[arg-type]


def got(value: str | None, at: int, end: int, version: int | None = None) -> Operation:
    return Operation("get", at, end, "ok", value, version)


def delete(
    at: int, end: int, version: int | None = None, if_version: int | None = None, outcome: str = "ok"
) -> Operation:
    return Operation("delete", at, end, outcome, None, version, if_version)  # type: ignore[arg-type]


RIGHT = {
    "nothing": [],
    "no row at first": [got(None, 0, 1)],
    "one after the other": [put("a", 0, 1, 1), got("a", 2, 3, 1), delete(4, 5, 2), got(None, 6, 7)],
    "a read beside a write may come before it": [put("a", 0, 10, 1), got(None, 2, 3)],
    "a read beside a write may come after it": [put("a", 0, 10, 1), got("a", 2, 3, 1)],
    "two reads beside a write, in order": [put("a", 0, 10, 1), got(None, 1, 2), got("a", 3, 4, 1)],
    "writes side by side, in either order": [put("a", 0, 10, 2), put("b", 0, 10, 1), got("a", 11, 12, 2)],
    "versions have gaps": [put("a", 0, 1, 7), put("b", 2, 3, 100)],
    "a delete that finds nothing": [delete(0, 1), put("a", 2, 3, 1)],
    "a delete beside a write that finds nothing": [put("a", 0, 9, 1), delete(0, 9), got("a", 10, 11, 1)],
    "a delete beside a write that finds it": [put("a", 0, 9, 1), delete(0, 9, 2), got(None, 10, 11)],
    "a condition that holds": [put("a", 0, 1, 1, 0), put("b", 2, 3, 2, 1), delete(4, 5, 3, 2), put("c", 6, 7, 4, 0)],
    "a condition that does not hold": [
        put("a", 0, 1, 3),
        put("b", 2, 3, 3, 1, "mismatch"),
        put("c", 4, 5, 3, 0, "mismatch"),
        delete(6, 7, 3, 2, "mismatch"),
    ],
    "a condition on a row that is not there": [put("a", 0, 1, 0, 5, "mismatch")],
    "of two creations at once one wins": [put("a", 0, 9, 1, 0), put("b", 0, 9, 1, 0, "mismatch")],
    "of two updates at once one wins": [put("a", 0, 1, 1), put("b", 2, 9, 2, 1), put("c", 2, 9, 2, 1, "mismatch")],
    "a failed write is not there": [put("a", 0, 1, 1), put("b", 2, 3, outcome="failed"), got("a", 4, 5, 1)],
    "an unknown write that never happened": [put("a", 0, 1, 1), put("b", 2, 3, outcome="unknown"), got("a", 4, 5, 1)],
    "an unknown write that happened": [put("a", 0, 1, outcome="unknown"), got("a", 2, 3, 1)],
    "an unknown write that appears late": [
        put("a", 0, 1, outcome="unknown"),
        got(None, 2, 3),
        put("b", 4, 5, 1),
        got("b", 6, 7, 1),
        got("a", 8, 9, 2),
    ],
    "an unknown write that was overwritten at once": [
        put("a", 0, 1, outcome="unknown"),
        put("b", 0, 2, 2),
        got("b", 3, 4, 2),
    ],
    "an unknown delete that happened": [put("a", 0, 1, 1), delete(2, 3, outcome="unknown"), got(None, 4, 5)],
    "an unknown delete that happened late": [
        put("a", 0, 1, 1),
        delete(2, 3, outcome="unknown"),
        got("a", 4, 5, 1),
        put("b", 6, 7, 2),
        got(None, 8, 9),
    ],
    "an unknown delete that happened before a creation": [
        put("a", 0, 1, 1),
        delete(2, 3, outcome="unknown"),
        put("b", 4, 5, 3, 0),
    ],
    "an unknown write that only a refusal tells of": [
        put("a", 0, 1, outcome="unknown"),
        put("b", 2, 3, 4, 0, "mismatch"),
        put("c", 4, 5, 5, 4),
    ],
    "an unknown write that only a delete tells of": [put("a", 0, 1, outcome="unknown"), delete(2, 3, 2)],
    "an unknown delete, then an unknown creation": [
        put("a", 0, 1, 1),
        delete(2, 3, outcome="unknown"),
        put("b", 2, 3, None, 0, "unknown"),
        put("c", 4, 5, 9, 1, "mismatch"),
    ],
    "two unknown deletes, each of use": [
        put("a", 0, 1, 1),
        delete(2, 3, outcome="unknown"),
        delete(2, 3, outcome="unknown"),
        got(None, 4, 5),
        put("b", 6, 7, 3),
        got(None, 8, 9),
    ],
    "a read whose answer was lost says nothing": [Operation("get", 0, 1, "unknown"), put("a", 2, 3, 1)],
}

WRONG = {
    "stale read": ([put("a", 0, 1, 1), put("b", 2, 3, 2), got("a", 4, 5, 1)], "a read went back"),
    "a reader sees the old row after another saw the new one": (
        [put("a", 0, 1, 1), put("b", 2, 20, 2), got("b", 3, 4, 2), got("a", 5, 6, 1)],
        "a read went back",
    ),
    "lost write": ([put("a", 0, 1, 1), got(None, 2, 3)], "no order explains"),
    "lost write, with a delete before it": (
        [put("a", 0, 1, 1), delete(2, 3, 2), put("b", 4, 5, 3), got(None, 6, 7)],
        "no order explains",
    ),
    "lost delete": ([put("a", 0, 1, 1), delete(2, 3, 2), got("a", 4, 5, 1)], "a read went back"),
    "a delete that finds nothing though there was a row": ([put("a", 0, 1, 1), delete(2, 3)], "no order explains"),
    "a delete that finds a row though there was none": ([delete(0, 1, 1)], "no order explains"),
    "lost update: two of the same version were taken": (
        [put("a", 0, 1, 1), put("b", 2, 9, 2, 1), put("c", 2, 9, 3, 1)],
        "no order explains",
    ),
    "two creations at once, both taken": ([put("a", 0, 9, 1, 0), put("b", 0, 9, 2, 0)], "no order explains"),
    "a creation over a row": ([put("a", 0, 1, 1), put("b", 2, 3, 2, 0)], "no order explains"),
    "an update of a version that is gone": (
        [put("a", 0, 1, 1), put("b", 2, 3, 2), put("c", 4, 5, 3, 1)],
        "no order explains",
    ),
    "refused although it held": ([put("a", 0, 1, 1), put("b", 2, 3, 1, 1, "mismatch")], "its condition held"),
    "refused over a row that is not there": ([put("a", 0, 1, 5, 0, "mismatch")], "no order explains"),
    "refused for an older version": (
        [put("a", 0, 1, 1), put("b", 2, 3, 2), put("c", 4, 5, 1, 9, "mismatch")],
        "a read went back",
    ),
    "a value nobody wrote": ([got("a", 0, 1, 1)], "nobody wrote"),
    "a value without a version": ([put("a", 0, 1, 1), got("a", 2, 3)], "without a version"),
    "a value read before it was written": ([got("a", 0, 1, 1), put("a", 2, 3, 1)], "before it was written"),
    "a failed write that was there": ([put("a", 0, 1, outcome="failed"), got("a", 2, 3, 1)], "said not to be applied"),
    "a refused write that was there": (
        [put("a", 0, 1, 0, 7, "mismatch"), got("a", 2, 3, 1)],
        "said not to be applied",
    ),
    "versions go backwards": ([put("a", 0, 1, 2), put("b", 2, 3, 1)], "a write went back"),
    "a version is given twice": ([put("a", 0, 1, 1), put("b", 2, 3, 1)], "had two values"),
    "a delete takes the version of a row": ([put("a", 0, 1, 1), delete(2, 3, 1)], "version of a delete"),
    "two deletes take one version": (
        [put("a", 0, 1, 1), delete(2, 3, 2), put("b", 4, 9, 3), delete(4, 9, 2)],
        "two deletes",
    ),
    "a write that was applied twice": (
        [put("a", 0, 1, outcome="unknown"), got("a", 2, 3, 1), put("b", 4, 5, 2), got("a", 6, 7, 3)],
        "two versions",
    ),
    "an unknown write that appears, then vanishes": (
        [put("a", 0, 1, 1), put("b", 2, 3, outcome="unknown"), got("b", 4, 5, 2), got("a", 6, 7, 1)],
        "a read went back",
    ),
    "an unknown first write that appears, then vanishes": (
        [put("a", 0, 1, outcome="unknown"), got("a", 2, 3, 1), got(None, 4, 5)],
        "no order explains",
    ),
    "an unknown delete that appears, then vanishes": (
        [put("a", 0, 1, 1), delete(2, 3, outcome="unknown"), got(None, 4, 5), got("a", 6, 7, 1)],
        "no order explains",
    ),
    "an unknown delete cannot have happened twice": (
        [put("a", 0, 1, 1), delete(2, 3, outcome="unknown"), got(None, 4, 5), put("b", 6, 7, 3), got(None, 8, 9)],
        "no order explains",
    ),
    "an unknown delete cannot come before its invocation": (
        [put("a", 0, 1, 1), got(None, 2, 3), delete(4, 5, outcome="unknown")],
        "no order explains",
    ),
    "an unknown conditional delete of another version explains nothing": (
        [put("a", 0, 1, 1), delete(2, 3, None, 7, "unknown"), got(None, 4, 5)],
        "no order explains",
    ),
    "an unknown conditional write that appears though its version was gone": (
        [put("a", 0, 1, 1), put("b", 2, 3, 2), put("c", 4, 5, None, 1, "unknown"), got("c", 6, 7, 3)],
        "no order explains",
    ),
    "an unknown write cannot take a version below one that was acknowledged before it": (
        [put("a", 0, 1, 5), put("b", 2, 3, outcome="unknown"), got("b", 4, 5, 4)],
        "went back",
    ),
}


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT.keys())
def test_right(history: list[Operation]) -> None:
    assert check(history) == Verdict(Judgement.LINEARIZABLE)
    assert check(reversed(history))


@pytest.mark.parametrize(("history", "reason"), WRONG.values(), ids=WRONG.keys())
def test_wrong(history: list[Operation], reason: str) -> None:
    verdict = check(history)
    assert verdict.judgement is Judgement.VIOLATION
    assert reason in verdict.reason
    assert not verdict


def test_a_verdict_that_would_take_too_long_is_no_pass() -> None:
    history = [put(str(n), 0, 100, n + 1) for n in range(30)]
    verdict = check(history, steps=10)
    assert verdict.judgement is Judgement.UNDECIDED
    assert not verdict
    assert "bound" in verdict.reason
    assert check(history)


def test_two_puts_of_one_value_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="'a'"):
        check([put("a", 0, 1, 1), put("a", 2, 3, 2)])


def test_a_long_history_with_many_at_once_is_decided() -> None:
    """Ten thousand operations, twenty at a time, of which every fiftieth has an unknown outcome."""
    history: list[Operation] = []
    version = 0
    for at in range(10_000):
        moment = 10 * at
        if at % 50 == 0:
            history.append(put(f"lost {at}", moment, moment + 5, outcome="unknown"))
        elif at % 3 == 0:
            version = moment
            history.append(put(f"put {at}", moment - 100, moment + 100, version))
        elif version:
            history.append(got(f"put {version // 10}", moment - 100, moment + 100, version))
    assert check(history)
    history.append(got(None, 200_000, 200_001))
    assert check(history).judgement is Judgement.VIOLATION


def test_a_violation_names_the_operations() -> None:
    verdict = check([Operation("put", 0, 1, "ok", "a", 1, who="client 1"), Operation("get", 2, 3, who="client 2")])
    assert verdict.reason == "no order explains get: no row [2, 3] by client 2, when the row had version 1"

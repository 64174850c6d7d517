"""What the operator refuses because of other objects. Each refusal has a reason for programs and a message for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dstk.api import Assignment, Keyspace, Partition, decode
from dstk.api.span import span_of
from dstk.api.validation import check, check_partition
from dstk.span import Span

KEYSPACES = {
    "default": decode(Keyspace, {"metadata": {"name": "default"}, "spec": {"keyLength": 4}}),
    "picky": decode(
        Keyspace,
        {
            "metadata": {"name": "picky"},
            "spec": {"keyLength": 4, "workers": {"selector": {"matchLabels": {"app": "kv"}}}},
        },
    ),
}
WORKERS: dict[str, dict[str, str]] = {"w-0": {}, "w-1": {}}


def partition(name: str, start: str, end: str, primary: str | None = None, **more: Any) -> Partition:
    created = more.pop("created", "2026-01-01T00:00:00Z")
    spec = {"range": {"start": start, "end": end}, **more, **({"primary": primary} if primary else {})}
    return decode(Partition, {"metadata": {"name": name, "creationTimestamp": created}, "spec": spec})


PARTITIONS = {
    found.metadata.name: found
    for found in (
        partition("a-e", "a", "e", "w-0", epoch=1),
        partition("e-j", "e", "j", "w-0", epoch=1),
        partition("j-o", "j", "o", "w-1", epoch=1),
        # [o, s) is in no partition.
        partition("s-t", "s", "t", "w-0", epoch=1),
        partition("t-z", "t", "z"),
        partition("x-y", "x", "y", created="2026-01-02T00:00:00Z"),
        partition("orphan", "0x01", "0x02", "w-9", epoch=5),
        partition("long", "abcdefgh", "b"),
        partition("upside-down", "0x62", "a"),
        partition("lost", "a", "b", keyspace="nowhere"),
        partition("choosy", "a", "b", keyspace="picky"),
        partition("hex", "0x7a", "0x7c", "w-0", epoch=1),
    )
}


def overlapping(keyspace: str, start: bytes, end: bytes) -> Iterator[str]:
    for name, found in PARTITIONS.items():
        sound = found.spec.keyspace == keyspace and name not in ("long", "upside-down")
        if sound and span_of(found.spec.range, 4).overlaps(Span(start, end)):
            yield name


def new(*names: str, primary: str = "w-0") -> dict[str, Any]:
    which: dict[str, Any] = {"partition": names[0]} if len(names) == 1 else {"partitions": list(names)}
    return {"type": "New", "newParams": {**which, "primary": primary}}


def split(name: str, *keys: str, names: list[str] | None = None) -> dict[str, Any]:
    params: dict[str, Any] = {"partition": name, "splitKeys": list(keys)}
    return {"type": "InWorkerSplit", "splitParams": {**params, **({"names": names} if names else {})}}


def merge(*names: str, name: str | None = None) -> dict[str, Any]:
    params: dict[str, Any] = {"partitions": list(names)}
    return {"type": "InWorkerMerge", "mergeParams": {**params, **({"name": name} if name else {})}}


def move(name: str, source: str, to: str) -> dict[str, Any]:
    return {"type": "InterWorkerMove", "moveParams": {"partition": name, "from": source, "to": to}}


ALLOWED = {
    "serve what nobody serves": new("t-z"),
    "serve what a pod served that is gone": new("orphan"),
    "split inside": split("a-e", "b"),
    "split at several keys in any order": split("a-e", "d", "b", "c"),
    "split into free names": split("a-e", "b", names=["x1", "x2"]),
    "merge neighbours in any order": merge("e-j", "a-e"),
    "move": move("j-o", "w-1", "w-0"),
}

REFUSED = {
    "two params": (
        {**new("t-z"), **{k: v for k, v in move("t-z", "w-0", "w-1").items() if k != "type"}},
        "InvalidSpec", "exactly one",
    ),
    "no params": ({"type": "New"}, "InvalidSpec", "exactly one"),
    "an unknown partition": (new("nix"), "UnknownPartition", '"nix"'),
    "an unknown pod": (new("t-z", primary="w-7"), "UnknownWorker", "known: w-0, w-1"),
    "a pod that the keyspace does not select": (new("choosy"), "WorkerNotSelected", "app=kv"),
    "an unknown keyspace": (new("lost"), "UnknownKeyspace", '"nowhere"'),
    "bounds longer than the keys": (new("long"), "InvalidRange", '"long"'),
    "start not below end in bytes": (new("upside-down"), "InvalidRange", "not below"),
    "what a pod serves already": (new("a-e"), "AlreadyAssigned", "it is there already"),
    "what another pod serves": (new("a-e", primary="w-1"), "AlreadyAssigned", "InterWorkerMove"),
    "what overlaps an older one": (new("x-y"), "Overlap", '"t-z"'),
    "one of several": (new("t-z", "nix"), "UnknownPartition", '"nix"'),
    "split what nobody serves": (split("t-z", "u"), "NotAssigned", "New comes first"),
    "split on the lower bound": (split("a-e", "a"), "SplitKeyOutside", "must lie between"),
    "split on the upper bound": (split("a-e", "e"), "SplitKeyOutside", "must lie between"),
    "split outside": (split("a-e", "f"), "SplitKeyOutside", '"f"'),
    "split outside, told as the bounds were written": (split("hex", "a"), "SplitKeyOutside", "[0x7a, 0x7c)"),
    "split at one key written twice": (split("a-e", "b", "0x62"), "InvalidSplitKey", "the same key"),
    "split at a key that is too long": (split("a-e", "bbbbb"), "InvalidSplitKey", '"bbbbb"'),
    "split into a name in use": (split("a-e", "b", names=["x1", "j-o"]), "NameTaken", '"j-o"'),
    "split into too few names": (split("a-e", "b", "c", names=["x1", "x2"]), "InvalidSpec", "3 pieces"),
    "merge across workers": (merge("e-j", "j-o"), "AcrossWorkers", "w-1"),
    "merge over somebody's keys": (merge("a-e", "s-t"), "GapOwned", '"e-j"'),
    "merge what nobody serves": (merge("s-t", "t-z"), "NotAssigned", '"t-z"'),
    "merge into a name in use": (merge("a-e", "e-j", name="t-z"), "NameTaken", '"t-z"'),
    "move to where it is": (move("a-e", "w-1", "w-0"), "AlreadyThere", '"w-0"'),
    "move from where it is not": (move("j-o", "w-0", "w-0"), "NotTheOwner", '"w-1"'),
    "move to nowhere": (move("a-e", "w-0", "w-7"), "UnknownWorker", "w-7"),
    "move what nobody serves": (move("t-z", "w-0", "w-1"), "NotAssigned", '"t-z"'),
}  # fmt: skip


LASTING_FIRST = {
    "a pod that does not exist, for what nobody serves": (move("t-z", "w-0", "w-7"), "UnknownWorker"),
    "a pod that does not exist, for what does not exist": (move("nix", "w-0", "w-7"), "UnknownWorker"),
    "a pod that does not exist, for what it could not have": (new("nix", primary="w-7"), "UnknownWorker"),
    "one that the pod may not serve, after one that is in the way": (new("x-y", "choosy"), "WorkerNotSelected"),
    "a key that is too long, of what nobody serves": (split("t-z", "bbbbb"), "InvalidSplitKey"),
    "a key that is too long, after one that is outside": (split("a-e", "f", "bbbbb"), "InvalidSplitKey"),
    "too few names, and a key that is outside": (split("a-e", "f", names=["x1", "x2", "x3"]), "InvalidSpec"),
}


def asked(spec: dict[str, Any]) -> Assignment:
    return decode(Assignment, {"metadata": {"name": "asked"}, "spec": spec})


@pytest.mark.parametrize("spec", ALLOWED.values(), ids=ALLOWED)
def test_allowed(spec: dict[str, Any]) -> None:
    assert check(asked(spec), PARTITIONS, KEYSPACES, WORKERS, overlapping) is None


@pytest.mark.parametrize(("spec", "reason", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(spec: dict[str, Any], reason: str, says: str) -> None:
    refusal = check(asked(spec), PARTITIONS, KEYSPACES, WORKERS, overlapping)
    assert refusal is not None
    assert refusal.reason == reason
    assert says in refusal.message


@pytest.mark.parametrize(("spec", "reason"), LASTING_FIRST.values(), ids=LASTING_FIRST)
def test_what_no_other_assignment_can_mend_is_said_first(spec: dict[str, Any], reason: str) -> None:
    refusal = check(asked(spec), PARTITIONS, KEYSPACES, WORKERS, overlapping)
    assert refusal is not None
    assert (refusal.reason, refusal.lasting) == (reason, True)


@pytest.mark.parametrize("case", ["what overlaps an older one", "an unknown partition", "split what nobody serves"])
def test_what_the_assignments_ahead_may_change_does_not_last(case: str) -> None:
    refusal = check(asked(REFUSED[case][0]), PARTITIONS, KEYSPACES, WORKERS, overlapping)
    assert refusal is not None
    assert not refusal.lasting


def test_a_gap_that_nobody_owns_may_be_merged_over() -> None:
    parts = {name: PARTITIONS[name] for name in ("e-j", "s-t")}
    found = check(asked(merge("e-j", "s-t", name="whole")), parts, KEYSPACES, WORKERS, lambda *_: ())
    assert found is None


def test_what_an_earlier_try_created_is_no_obstacle() -> None:
    halves = {"x1": partition("x1", "a", "b", "w-0", epoch=2), "x2": partition("x2", "b", "e")}
    refusal = check(asked(split("a-e", "b", names=["x1", "x2"])), PARTITIONS | halves, KEYSPACES, WORKERS, overlapping)
    assert refusal is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [("t-z", None), ("x-y", "Overlap"), ("long", "InvalidRange"), ("lost", "UnknownKeyspace"), ("choosy", None)],
)
def test_a_partition_by_itself(name: str, reason: str | None) -> None:
    refusal = check_partition(PARTITIONS[name], KEYSPACES, overlapping, PARTITIONS)
    assert (refusal.reason if refusal else None) == reason

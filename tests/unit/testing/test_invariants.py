"""What is seen of owners and ranges, and what must not be."""

from __future__ import annotations

import pytest

from dstk import api
from dstk.control.views import PartitionView, Role, Status
from dstk.span import Span
from dstk.testing.invariants import Owners, uncovered


def says(worker: str, name: str, epoch: int, start: bytes, end: bytes, role: Role = "primary", term: int = 1) -> Status:
    part = PartitionView(role, epoch, Span(start, end))
    return Status(worker, f"{worker}/1", "", term, False, {name: part})


@pytest.fixture
def owners() -> Owners:
    owners = Owners()
    owners.observe(says("worker-0", "p", 5, b"a", b"m"))
    return owners


def test_one_owner_an_epoch_is_right(owners: Owners) -> None:
    owners.observe(says("worker-0", "p", 5, b"a", b"m"))
    owners.observe(says("worker-1", "p", 6, b"a", b"m"))
    owners.observe(says("worker-1", "q", 5, b"m", b""))
    owners.observe(says("worker-1", "p", 5, b"a", b"m", "following"))
    assert owners.violations == []
    assert owners.observations == 5


@pytest.mark.parametrize(("name", "start", "end"), [("p", b"a", b"m"), ("q", b"k", b""), ("q", b"", b"b")])
def test_two_owners_of_a_key_in_one_epoch_are_wrong(owners: Owners, name: str, start: bytes, end: bytes) -> None:
    owners.observe(says("worker-1", name, 5, start, end))
    owners.observe(says("worker-1", name, 5, start, end))
    assert len(owners.violations) == 1
    assert "epoch 5" in owners.violations[0]


def test_a_term_that_goes_back_is_wrong(owners: Owners) -> None:
    owners.observe(says("worker-0", "p", 5, b"a", b"m", term=3))
    owners.observe(says("worker-0", "p", 5, b"a", b"m", term=2))
    assert owners.violations == ["worker-0 went back from term 3 to 2"]


def partition(name: str, start: str, end: str, phase: str = "ready") -> api.Partition:
    return api.Partition(
        metadata=api.ObjectMeta(name=name),
        spec=api.PartitionSpec(range=api.KeyRange(start=start, end=end), primary="worker-0", epoch=1),
        status=api.PartitionStatus(phase=api.PartitionPhase(phase)),
    )


CUTS = {
    "whole": ([("a", "", "m"), ("b", "m", "")], []),
    "whole, by zeros": ([("a", "0x00", "")], []),
    "nothing": ([], ["there is no partition"]),
    "a gap": ([("a", "", "m"), ("b", "n", "")], ["no partition between a and b"]),
    "an overlap": ([("a", "", "n"), ("b", "m", "")], ["partitions a and b overlap"]),
    "one inside another": ([("a", "", ""), ("b", "m", "n")], ["partitions a and b overlap", "no partition after b"]),
    "no beginning": ([("a", "c", "")], ["no partition before a"]),
    "no end": ([("a", "", "c")], ["no partition after a"]),
    "not ready": ([("a", "", "", "loading")], ["partition a is loading"]),
}


@pytest.mark.parametrize(("ranges", "wrong"), CUTS.values(), ids=CUTS.keys())
def test_a_keyspace_at_rest_is_covered_once(ranges: list[tuple[str, ...]], wrong: list[str]) -> None:
    assert uncovered([partition(*one) for one in ranges], 16) == wrong

"""Which partitions `dstk status` shows, and what it sums up for workers."""

from __future__ import annotations

from typing import Any

import pytest

from dstk import api
from dstk.cli.overview import Choice, WorkerSum, choose, per_worker
from dstk.errors import InvalidRequest


def partition(name: str, start: str, primary: str | None, keyspace: str = "default", **status: Any) -> api.Partition:
    proxy = status.pop("proxy", None)
    spec = api.PartitionSpec(keyspace=keyspace, range=api.KeyRange(start=start), primary=primary, proxy=proxy)
    status.setdefault("phase", api.PartitionPhase.READY)
    return api.Partition(metadata=api.ObjectMeta(name=name), spec=spec, status=api.PartitionStatus(**status))


THERE = [
    partition("c", "0x80", "w1", operations_per_second=5, rows=1, bytes=10, bytes_per_second=7),
    partition("a", "", "w0", operations_per_second=9, rows=2, bytes=30, bytes_per_second=1),
    partition("b", "k", "w1", proxy="w0", rows=3, bytes=20),
    partition("d", "", None, "other", phase=api.PartitionPhase.UNASSIGNED),
    partition("e", "", None, proxy="w2", phase=api.PartitionPhase.PROXYING),
]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(), "aebcd"),
        (Choice(keyspaces=["other"]), "d"),
        (Choice(keyspaces=["other", "default"], phases=["ready"]), "abc"),
        (Choice(workers=["w0"]), "ab"),
        (Choice(workers=["w2"]), "e"),
        (Choice(phases=["unassigned", "proxying"]), "ed"),
        (Choice(sort="ops"), "acebd"),
        (Choice(sort="bytes-per-second"), "caebd"),
        (Choice(sort="rows"), "bac" + "ed"),
        (Choice(sort="bytes", workers=["w1"]), "bc"),
    ],
)
def test_choosing_and_sorting(choice: Choice, names: str) -> None:
    assert "".join(item.metadata.name for item in choose(THERE, choice)) == names


def test_what_there_is_not_is_said_with_what_there_is() -> None:
    Choice(keyspaces=["a"], workers=["w"]).check(["a"], ["w"])
    with pytest.raises(InvalidRequest, match="no keyspace 'b'; there are a, c"):
        Choice(keyspaces=["b"]).check(["c", "a"], [])
    with pytest.raises(InvalidRequest, match="no worker 'w'; there are none"):
        Choice(workers=["w"]).check([], [])


def test_workers_are_summed_up_with_those_that_have_nothing() -> None:
    assert per_worker(THERE, {"w0": "cordoned", "w3": ""}) == {
        "(nobody)": WorkerSum(partitions=1),
        "w0": WorkerSum(1, 2, 30, 9, 1, "cordoned"),
        "w1": WorkerSum(2, 4, 30, 5, 7, "no pod"),
        "w3": WorkerSum(),
    }

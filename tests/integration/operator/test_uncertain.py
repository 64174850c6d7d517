"""A commit whose answer is lost: done or not, the operator finds out before it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from harness import world

from dstk.api import Partition
from dstk.errors import OutcomeUnknown, Unavailable
from dstk.kube import Objects


class LosesAnAnswer(Objects[Partition]):
    """Loses the answer to the first patch that changes the owner, and finds no API server for the next reads."""

    def __init__(self, real: Objects[Partition], applied: bool) -> None:
        super().__init__(real._api, real.kind, real.namespace, real._on_write)
        self.applied = applied
        self.lost = 0
        self.unreadable = 2

    async def patch(self, name: str, body: Mapping[str, Any], *, resource_version: str = "") -> Partition:
        if not self.lost and body.get("spec", {}).get("primary") == "pod2":
            self.lost += 1
            if self.applied:
                await super().patch(name, body, resource_version=resource_version)
            raise OutcomeUnknown("the connection broke")
        return await super().patch(name, body, resource_version=resource_version)

    async def find(self, name: str) -> Partition | None:
        if self.lost and self.unreadable:
            self.unreadable -= 1
            raise Unavailable("no API server")
        return await super().find(name)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_commit_without_an_answer_is_read_back(applied: bool) -> None:
    async with world() as cluster, cluster.operating() as operator:
        await cluster.keyspace()
        await cluster.served("part", "a", "o", "pod1")
        losing = LosesAnAnswer(operator.cluster.partitions.objects, applied)
        operator.cluster.partitions.objects = losing
        await cluster.assign("m1", "InterWorkerMove", moveParams={"partition": "part", "from": "pod1", "to": "pod2"})
        await cluster.ended("m1", "Completed")
    assert losing.lost == 1
    assert losing.unreadable == 0
    assert [(primary, epoch) for primary, _, epoch in cluster.specs("part")][1:] == [
        ("pod1", 1),
        ("pod2", 2),
        ("pod2", 2),
    ]
    assert cluster.workers["pod2"].held["part"].role == "primary"
    assert not any(held.fenced for worker in cluster.workers.values() for held in worker.held.values())

"""What the Assigner sees and plans, by ``dstk.plan``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace as with_

from dstk.api import Assignment
from dstk.plan import Cluster, Load, Worker, plan

if TYPE_CHECKING:
    from .operator import Operator

__all__ = ["plan_for"]


def plan_for(operator: Operator, absent: dict[str, float]) -> list[Assignment]:
    """The Assignments that should be next, as this operator sees the cluster."""
    workers = []
    for name in sorted(operator.pods.items):
        link = operator.links.get(name)
        ready = link is not None and link.reachable
        workers.append(Worker(name, {}, ready=ready, leaving=name in operator.world.leaving))
    loads = {
        name: Load(
            rows=part.rows,
            operations_per_second=operator.world.heat(part.span.start, part.span.end),
            median_key=operator.world.middle(part.span.start, part.span.end),
        )
        for link in operator.links.values()
        for name, part in link.loads.items()
        if part.role == "primary"
    }
    seen = Cluster(
        keyspaces=[operator.keyspace],
        partitions=list(operator.partitions),
        workers=workers,
        assignments=list(operator.assignments),
        loads=loads,
        absent=absent,
    )
    now = operator.clock.now
    created = datetime.fromtimestamp(now, UTC)
    return [
        with_(each, metadata=with_(each.metadata, creation_timestamp=created)) for each in plan(seen, now).assignments
    ]

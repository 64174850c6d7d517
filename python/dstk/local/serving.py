"""Whether all keys of a cluster are served: asked of its workers, not of what objects say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dstk import api, errors, kube
from dstk.api.conditions import find
from dstk.api.span import span_of
from dstk.client import ClientSettings
from dstk.client.asyncio import connect
from dstk.span import Span

__all__ = ["Served", "look"]

_KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
_PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)

_ANSWER_SECONDS = 1.0
"""A worker that has not answered by then is asked again at the next look."""


@dataclass(frozen=True, slots=True)
class Served:
    """How many partitions answer, of how many."""

    partitions: int
    total: int
    uncut: tuple[str, ...] = ()
    """Keyspaces whose first partitions do not exist yet."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.partitions == self.total and not self.uncut

    def __str__(self) -> str:
        cut = "".join(f"; keyspace {name!r} is not cut yet" for name in self.uncut)
        return f"{self.partitions} of {self.total} partitions are served{cut}"


async def look(connection: kube.Connection, namespace: str, addresses: Sequence[str]) -> Served:
    """Ask each worker at these addresses for a key of every partition. Raises what the Kubernetes API says."""
    keyspaces = await kube.Objects(connection, _KEYSPACES, namespace).list_all()
    partitions = await kube.Objects(connection, _PARTITIONS, namespace).list_all()
    served = total = 0
    uncut: list[str] = []
    for keyspace in keyspaces:
        held = [item for item in partitions if item.spec.keyspace == keyspace.metadata.name]
        spans = [span for item in held if (span := _span(item, keyspace.spec.key_length)) is not None]
        keys = [span.start or bytes(keyspace.spec.key_length) for span in spans]
        if _is_to_be_cut(keyspace) and not _covers_all(spans):
            uncut.append(keyspace.metadata.name)
        total += len(keys)
        counts = await asyncio.gather(*(_answered(address, keyspace.metadata.name, keys) for address in addresses))
        served += min(counts, default=0)
    return Served(served, total, tuple(uncut))


def _is_to_be_cut(keyspace: api.Keyspace) -> bool:
    spec, cut = keyspace.spec, find(keyspace.status.conditions, api.Keyspace.CUT)
    done = cut is not None and cut.status is api.ConditionStatus.TRUE
    return spec.policy.mode is not api.Mode.OFF and spec.partitions.count > 0 and not done


def _span(partition: api.Partition, key_length: int) -> Span | None:
    """The keys that it serves; None for one that serves none, and need not."""
    if partition.spec.merged_away:
        return None
    try:
        return span_of(partition.spec.range, key_length)
    except errors.InvalidRequest:
        return None


def _covers_all(spans: Sequence[Span]) -> bool:
    reached = b""
    for span in sorted(spans):
        if span.start > reached:
            return False
        if not span.end:
            return True
        reached = max(reached, span.end)
    return False


async def _answered(address: str, keyspace: str, keys: Sequence[bytes]) -> int:
    """How many of the keys this worker answers for, itself or through another."""
    if not keys:
        return 0
    settings = ClientSettings(timeout_seconds=_ANSWER_SECONDS, connect_seconds=_ANSWER_SECONDS)
    try:
        async with connect(address, keyspace, settings=settings) as client:
            return len(await client.get_many(list(keys)))
    except errors.PartialFailure as failure:
        # What is refused for good, such as rows that were lost, is an answer.
        return sum(not isinstance(result, errors.Unavailable) for result in failure.results)
    except errors.DstkError:
        return 0

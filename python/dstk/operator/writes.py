"""Merge patches (RFC 7386) that hold only what differs, and how a Partition's status is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from dstk.api import Partition, PartitionStatus, to_dict
from dstk.errors import ApiError
from dstk.kube import Cache, is_conflict

__all__ = ["difference", "write_status"]


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest merge patch that makes ``new`` of ``old``: what is not in ``new`` becomes null."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = difference(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


async def write_status(
    partitions: Cache[Partition],
    partition: Partition,
    change: Callable[[PartitionStatus], PartitionStatus],
    writes: asyncio.Semaphore,
) -> Partition:
    """The Partition with what ``change`` makes of its status, written if that differs. Raises ApiError 404.

    A merge patch replaces all conditions at once. So it is for the version that they were read from: what others have
    put there since is read, and stays.
    """
    while True:
        meta = partition.metadata
        patch = difference(to_dict(partition.status), to_dict(change(partition.status)))
        if not patch:
            return partition
        try:
            async with writes:
                written = await partitions.objects.patch_status(
                    meta.name, patch, resource_version=meta.resource_version
                )
        except ApiError as error:
            if not is_conflict(error):
                raise
            partition = partitions.learn(await partitions.objects.get(meta.name))
            if partition.metadata.uid != meta.uid:
                raise
        else:
            return partitions.learn(written)

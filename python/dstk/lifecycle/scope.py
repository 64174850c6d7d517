"""What an Assignment touches: what the driver has to look at before each decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dstk.api import Assignment, Keyspace, Partition
from dstk.errors import InvalidRequest
from dstk.lifecycle.children import children_of, merged_name

__all__ = ["Touched", "touched"]


@dataclass(frozen=True, slots=True)
class Touched:
    """Names of Partition objects, there or not, and of workers; sorted."""

    partitions: tuple[str, ...]
    workers: tuple[str, ...]


def touched(assignment: Assignment, partitions: Mapping[str, Partition], keyspace: Keyspace) -> Touched:
    """What `decide` wants to see of `assignment`, as far as it follows from the Partitions that are known.

    `partitions` may hold any number of objects besides. The names of what a split or merge creates follow
    from those that it works on; the workers are those that it names and those that its Partitions name.
    """
    spec = assignment.spec
    names = set(assignment.partitions)
    try:
        if spec.split_params is not None:
            parent = partitions.get(spec.split_params.partition)
            names.update(child.name for child in children_of(assignment, parent, keyspace))
        if spec.merge_params is not None:
            parts = [partitions.get(name) for name in spec.merge_params.partitions]
            merged = merged_name(assignment, parts, keyspace)
            names.update((merged,) if merged else ())
    except InvalidRequest:
        pass  # Bounds that make no sense name nothing; validation says so.
    workers: set[str] = set()
    if spec.new_params is not None:
        workers.add(spec.new_params.primary)
    if spec.move_params is not None:
        workers.update((spec.move_params.source, spec.move_params.to))
    for name in names:
        partition = partitions.get(name)
        if partition is not None:
            workers.update(owner for owner in (partition.spec.primary, partition.spec.proxy) if owner)
    return Touched(tuple(sorted(names)), tuple(sorted(workers)))

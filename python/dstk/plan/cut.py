"""The first Partitions of a new keyspace."""

from __future__ import annotations

from dstk.api import KEYSPACE_LABEL, KeyRange, Keyspace, ObjectMeta, Partition, PartitionSpec
from dstk.api.conditions import ConditionStatus, find
from dstk.api.names import initial_name
from dstk.api.span import span_of
from dstk.keys import bounds_at, even_bounds, parse_bound
from dstk.plan.coverage import Coverage
from dstk.plan.view import View

__all__ = ["initial_partitions", "is_cut", "missing_partitions"]


def is_cut(keyspace: Keyspace) -> bool:
    """Whether the keyspace's condition Cut says that its initial Partitions were created."""
    condition = find(keyspace.status.conditions, Keyspace.CUT)
    return condition is not None and condition.status is ConditionStatus.TRUE


def initial_partitions(keyspace: Keyspace) -> list[Partition]:
    """The Partitions that an empty keyspace is cut into: at its bounds or evenly, without gaps, named in key order.

    Raises InvalidRange or KeyLengthError for bounds that cut nothing.
    """
    wanted, name, key_length = keyspace.spec.partitions, keyspace.metadata.name, keyspace.spec.key_length
    if wanted.count == 0:
        return []
    if wanted.bounds:
        bounds_at([parse_bound(bound, key_length) for bound in wanted.bounds], key_length)
        ranges = list(zip(["", *wanted.bounds], [*wanted.bounds, ""], strict=True))
    else:
        ranges = [(_hex(start), _hex(end)) for start, end in even_bounds(wanted.count, key_length)]
    return [
        Partition(
            metadata=ObjectMeta(
                name=initial_name(name, index), namespace=keyspace.metadata.namespace, labels={KEYSPACE_LABEL: name}
            ),
            spec=PartitionSpec(keyspace=name, range=KeyRange(start=start, end=end)),
        )
        for index, (start, end) in enumerate(ranges)
    ]


def _hex(bound: bytes) -> str:
    """Always hex: a cut that happens to be printable would look odd between the others."""
    return f"0x{bound.rstrip(bytes(1)).hex()}" if bound else ""


def missing_partitions(view: View) -> list[Partition]:
    """Those of the initial Partitions that are still to be created.

    None when the keyspace has Partitions that somebody else cut and none of ours. After an interrupted cut, where
    some of ours are there, what anything else covers by now is left out. Raises what :func:`initial_partitions` does.
    """
    if is_cut(view.keyspace):
        return []
    wanted = initial_partitions(view.keyspace)
    present = {part.name for part in view.parts}
    if present and not any(partition.metadata.name in present for partition in wanted):
        return []
    covered = Coverage(part.span for part in view.parts)
    key_length = view.keyspace.spec.key_length
    return [
        partition
        for partition in wanted
        if partition.metadata.name not in present and not covered.overlaps(span_of(partition.spec.range, key_length))
    ]

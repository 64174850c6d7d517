"""What a split and a merge create: names, ranges and epochs, the same at every look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dstk.api import Assignment, KeyRange, Keyspace, Partition, child_name
from dstk.api.span import span_of
from dstk.control.commands import Serve
from dstk.keys import parse_bound
from dstk.span import Span

__all__ = ["Child", "children_of", "epoch_after_loss", "in_key_order", "merged_name", "serve", "whole_of"]


@dataclass(frozen=True, slots=True)
class Child:
    """One child of a split. `range` is spelled as the parent and the split keys are; `span` is the same in bytes."""

    name: str
    range: KeyRange
    span: Span


def children_of(assignment: Assignment, parent: Partition | None, keyspace: Keyspace) -> tuple[Child, ...]:
    """The children of a split in key order; none while the parent is not there to be cut.

    Their names are those that the Assignment gives, else a hash of parent, range and the epoch they will
    have.
    """
    params = assignment.spec.split_params
    if params is None or parent is None:
        return ()
    key_length, range_ = keyspace.spec.key_length, parent.spec.range
    texts = sorted(params.keys, key=lambda text: parse_bound(text, key_length))
    children = []
    for index, (start, end) in enumerate(pairwise([range_.start, *texts, range_.end])):
        child_range = KeyRange(start=start, end=end)
        span = span_of(child_range, key_length)
        if params.names is not None:
            name = params.names[index]
        else:
            parents, epoch = [params.partition], parent.spec.epoch + 1
            name = child_name(parent.spec.keyspace, parents, span.start, span.end, epoch)
        children.append(Child(name, child_range, span))
    return tuple(children)


def epoch_after_loss(epoch: int) -> int:
    """For a partition whose rows were lost with their worker.

    The worker may have split or merged it before it died, and a request that creates what came of that, in the epoch
    after, may still be under way: this is above theirs. One that was never served has no children.
    """
    return epoch + 2 if epoch else 1


def serve(keyspace: Keyspace, span: Span) -> Serve:
    """What a worker is told that is to serve these keys."""
    spec = keyspace.spec
    return Serve(span.start, span.end, spec.key_length, spec.durable, spec.worker_lease)


def in_key_order(parts: Sequence[Partition], keyspace: Keyspace) -> list[Partition]:
    """The parts of a merge, lowest first."""
    return sorted(parts, key=lambda part: span_of(part.spec.range, keyspace.spec.key_length))


def whole_of(parts: Sequence[Partition], keyspace: Keyspace) -> KeyRange:
    """From the lowest key of the parts to the highest."""
    ordered = in_key_order(parts, keyspace)
    return KeyRange(start=ordered[0].spec.range.start, end=ordered[-1].spec.range.end)


def merged_name(assignment: Assignment, parts: Sequence[Partition | None], keyspace: Keyspace) -> str:
    """The name that the Assignment gives, else a hash of parts, range and the epoch of the merged partition.

    What its status says goes before the hash, which nobody can tell any more once a part is gone. Empty when neither
    gives one and not all parts are there.
    """
    params, status = assignment.spec.merge_params, assignment.status.merge
    present = [part for part in parts if part is not None]
    if params is None:
        return ""
    if (given := params.name or (status.name if status is not None else None)) is not None:
        return given
    if len(present) < len(params.partitions):
        return ""
    span = span_of(whole_of(present, keyspace), keyspace.spec.key_length)
    epoch = max(part.spec.epoch for part in present) + 1
    return child_name(present[0].spec.keyspace, params.partitions, span.start, span.end, epoch)

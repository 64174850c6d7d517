"""What one object cannot show: checks of Assignments and Partitions against everything around them.

Pure, and cheap at any number of partitions: look-ups by name, and one look-up of what a range meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from dstk.api.assignment import Assignment, AssignmentSpec, MergeParams, MoveParams, NewParams, SplitParams
from dstk.api.keyspace import Keyspace
from dstk.api.partition import KeyRange, Partition
from dstk.api.span import span_of
from dstk.errors import InvalidRequest
from dstk.keys import parse_bound
from dstk.span import Span

__all__ = ["Overlapping", "Refusal", "check", "check_partition"]

Overlapping: TypeAlias = Callable[[str, bytes, bytes], Iterable[str]]
"""(keyspace, start, end) → names of the Partitions of the keyspace that have a key in [start, end)."""

_Labels: TypeAlias = Mapping[str, str]

_LASTING = frozenset(
    {"InvalidSpec", "InvalidRange", "InvalidSplitKey", "UnknownKeyspace", "UnknownWorker", "WorkerNotSelected"}
)
"""Reasons that lie in the Assignment itself, in what never changes, or in pods, which no Assignment makes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be: ``reason`` for programs, in CamelCase, and ``message`` for people."""

    reason: str
    message: str

    @property
    def lasting(self) -> bool:
        """Whether it holds whatever the Assignments that go first do: then there is nothing to wait for."""
        return self.reason in _LASTING


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    partitions: Mapping[str, Partition]
    keyspaces: Mapping[str, Keyspace]
    workers: Mapping[str, _Labels]
    overlapping: Overlapping

    def partition(self, name: str) -> Partition:
        found = self.partitions.get(name)
        if found is None:
            raise _Refused("UnknownPartition", f'there is no Partition "{name}"; see kubectl get partitions')
        return found

    def keyspace(self, partition: Partition) -> Keyspace:
        found = self.keyspaces.get(partition.spec.keyspace)
        if found is None:
            raise _Refused(
                "UnknownKeyspace",
                f'Partition "{partition.metadata.name}" belongs to Keyspace "{partition.spec.keyspace}", which does '
                "not exist; create it first",
            )
        return found

    def span(self, partition: Partition) -> Span:
        try:
            return span_of(partition.spec.range, self.keyspace(partition).spec.key_length)
        except InvalidRequest as error:
            raise _Refused("InvalidRange", f'Partition "{partition.metadata.name}": {error}') from error

    def owner(self, partition: Partition) -> str:
        if partition.spec.primary is None:
            raise _Refused(
                "NotAssigned",
                f'no pod serves Partition "{partition.metadata.name}" yet; an Assignment of type New comes first',
            )
        return partition.spec.primary

    def labels(self, worker: str) -> _Labels:
        labels = self.workers.get(worker)
        if labels is None:
            known = ", ".join(sorted(self.workers)[:10]) or "none"
            raise _Refused("UnknownWorker", f'there is no worker pod "{worker}"; known: {known}')
        return labels

    def accept(self, worker: str, keyspace: Keyspace) -> None:
        labels = self.labels(worker)
        if not keyspace.spec.selects(labels):
            wanted = ", ".join(f"{k}={v}" for k, v in sorted(keyspace.spec.workers.selector.match_labels.items()))
            raise _Refused(
                "WorkerNotSelected",
                f'pod "{worker}" does not serve Keyspace "{keyspace.metadata.name}", whose workers carry {wanted}',
            )

    def free(self, name: str, keyspace: str, span: Span, owner: str) -> None:
        """Refuses a name in use, except by what an earlier try of the same Assignment has created."""
        other = self.partitions.get(name)
        if other is None:
            return
        same = other.spec.keyspace == keyspace and self.span(other) == span and other.spec.primary in (None, owner)
        if not same:
            raise _Refused("NameTaken", f'there is a Partition "{name}" already; choose another name')


def check(
    assignment: Assignment,
    partitions: Mapping[str, Partition],
    keyspaces: Mapping[str, Keyspace],
    workers: Mapping[str, _Labels],
    overlapping: Overlapping,
) -> Refusal | None:
    """Why the Assignment cannot be carried out, or None. To be asked while it has had no effect yet.

    ``workers`` maps the names of the pods that Kubernetes knows to their labels; a pod that is gone is not in it.
    Waiting for another Assignment on the same partition is no reason to refuse, so it is not looked at here.
    """
    around = _Surroundings(partitions, keyspaces, workers, overlapping)
    try:
        _check_spec(assignment.spec, around)
    except _Refused as refused:
        return refused.refusal
    return None


def check_partition(
    partition: Partition,
    keyspaces: Mapping[str, Keyspace],
    overlapping: Overlapping,
    partitions: Mapping[str, Partition],
) -> Refusal | None:
    """Why a Partition that nobody has served yet cannot be, or None: keyspace, bounds, overlap.

    Of two that overlap, the one that has or had an owner is right, else the older one.
    """
    around = _Surroundings(partitions, keyspaces, {}, overlapping)
    try:
        _check_range(partition, around)
    except _Refused as refused:
        return refused.refusal
    return None


def _check_spec(spec: AssignmentSpec, around: _Surroundings) -> None:
    """Raises what lasts before what other Assignments may yet change: one may hide the other."""
    given = [params for params in (spec.new_params, spec.split_params, spec.merge_params, spec.move_params) if params]
    if len(given) != 1:
        raise _Refused("InvalidSpec", f"exactly one of the params is needed, {len(given)} are given")
    match given[0]:
        case NewParams() as new:
            _check_new(new, around)
        case SplitParams() as split:
            _check_split(split, around)
        case MergeParams() as merge:
            _check_merge(merge, around)
        case MoveParams() as move:
            _check_move(move, around)


def _check_new(new: NewParams, around: _Surroundings) -> None:
    if not new.names:
        raise _Refused("InvalidSpec", "newParams names no partition")
    around.labels(new.primary)
    for known in (around.partitions[name] for name in new.names if name in around.partitions):
        around.accept(new.primary, around.keyspace(known))
        around.span(known)
    for name in new.names:
        partition = around.partition(name)
        owner = partition.spec.primary
        if owner is not None and owner in around.workers:
            hint = "it is there already" if owner == new.primary else "InterWorkerMove takes it to another pod"
            raise _Refused("AlreadyAssigned", f'pod "{owner}" serves Partition "{name}"; {hint}')
        _check_range(partition, around)


def _check_range(partition: Partition, around: _Surroundings) -> None:
    span = around.span(partition)
    mine = partition.metadata
    for name in around.overlapping(partition.spec.keyspace, span.start, span.end):
        other = around.partitions.get(name)
        if other is None or name == mine.name:
            continue
        if (
            other.spec.epoch > partition.spec.epoch
            or other.spec.primary
            or other.spec.proxy
            or _older(other, partition)
        ):
            raise _Refused(
                "Overlap",
                f'Partition "{mine.name}" {partition.spec.range} overlaps Partition "{name}" {other.spec.range}',
            )


def _older(other: Partition, than: Partition) -> bool:
    if than.spec.epoch > other.spec.epoch:
        return False
    mine, theirs = than.metadata, other.metadata
    if mine.creation_timestamp and theirs.creation_timestamp and mine.creation_timestamp != theirs.creation_timestamp:
        return theirs.creation_timestamp < mine.creation_timestamp
    return theirs.name < mine.name


def _check_split(split: SplitParams, around: _Surroundings) -> None:
    parent = around.partition(split.partition)
    keyspace = around.keyspace(parent)
    span = around.span(parent)
    keys: dict[bytes, str] = {}
    for text in split.keys:
        try:
            key = parse_bound(text, keyspace.spec.key_length)
        except InvalidRequest as error:
            raise _Refused("InvalidSplitKey", f'split key "{text}": {error}') from error
        if key in keys:
            raise _Refused("InvalidSplitKey", f'split keys "{keys[key]}" and "{text}" are the same key')
        keys[key] = text
    if not keys:
        raise _Refused("InvalidSpec", "splitParams names no split key")
    if split.names is not None and len(split.names) != len(keys) + 1:
        raise _Refused(
            "InvalidSpec", f"{len(keys)} split keys make {len(keys) + 1} pieces, not {len(split.names)} names"
        )
    owner = around.owner(parent)
    for key, text in keys.items():
        if not span.holds(key) or key == span.start or not key.strip(b"\0"):
            raise _Refused(
                "SplitKeyOutside",
                f'split key "{text}" is not inside {parent.spec.range} of Partition "{split.partition}"; '
                "it must lie between the bounds and on neither",
            )
    if split.names is None:
        return
    cuts = [span.start, *sorted(keys), span.end]
    for name, start, end in zip(split.names, cuts[:-1], cuts[1:], strict=True):
        around.free(name, parent.spec.keyspace, Span(start, end), owner)


def _check_merge(merge: MergeParams, around: _Surroundings) -> None:
    parts = [around.partition(name) for name in merge.partitions]
    keyspaces = sorted({part.spec.keyspace for part in parts})
    if len(keyspaces) > 1:
        raise _Refused("AcrossKeyspaces", f"the parts belong to Keyspaces {', '.join(keyspaces)}; they must share one")
    owners = {around.owner(part): part.metadata.name for part in parts}
    if len(owners) > 1:
        where = ", ".join(f'"{part}" on {owner}' for owner, part in sorted(owners.items()))
        raise _Refused("AcrossWorkers", f"the parts are on several pods ({where}); move them to one first")
    ordered = sorted(parts, key=around.span)
    for lower, upper in pairwise(ordered):
        if around.span(lower).overlaps(around.span(upper)):
            raise _Refused(
                "Overlap",
                f'Partition "{lower.metadata.name}" {lower.spec.range} overlaps '
                f'Partition "{upper.metadata.name}" {upper.spec.range}',
            )
        if around.span(lower).end != around.span(upper).start:
            _check_gap(lower, upper, merge.partitions, around)
    if merge.name is not None:
        whole = Span(around.span(ordered[0]).start, around.span(ordered[-1]).end)
        around.free(merge.name, keyspaces[0], whole, next(iter(owners)))


def _check_gap(lower: Partition, upper: Partition, parts: Sequence[str], around: _Surroundings) -> None:
    start, end = around.span(lower).end, around.span(upper).start
    between = sorted(name for name in around.overlapping(lower.spec.keyspace, start, end) if name not in parts)
    if between:
        gap = KeyRange(start=lower.spec.range.end, end=upper.spec.range.start)
        raise _Refused(
            "GapOwned",
            f'the parts are not adjacent: Partition "{between[0]}" has keys in the gap {gap}; '
            "merge it too, or leave out what is beyond it",
        )


def _check_move(move: MoveParams, around: _Surroundings) -> None:
    around.labels(move.to)
    partition = around.partition(move.partition)
    around.accept(move.to, around.keyspace(partition))
    owner = around.owner(partition)
    if owner == move.to:
        raise _Refused("AlreadyThere", f'pod "{move.to}" serves Partition "{move.partition}" already')
    if owner != move.source:
        raise _Refused(
            "NotTheOwner",
            f'pod "{owner}" serves Partition "{move.partition}", not "{move.source}"; set from to it',
        )

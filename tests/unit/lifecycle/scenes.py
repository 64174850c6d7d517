"""What one decision sees, built in a line, and what it says, as text a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from dstk.api import (
    Assignment,
    AssignmentPhase,
    AssignmentSpec,
    AssignmentStatus,
    KeyRange,
    Keyspace,
    KeyspaceSpec,
    MergeStatus,
    MoveStatus,
    NewStatus,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
    SplitStatus,
    Step,
)
from dstk.api.partition import PartitionStatus
from dstk.control import commands
from dstk.control.views import PartitionView, WorkerView
from dstk.lifecycle import actions
from dstk.lifecycle.memory import Memory
from dstk.lifecycle.observed import Observed

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGAN.timestamp() + 10
"""Ten seconds after the Assignment began."""
TERM = 5

KEYSPACE = Keyspace(metadata=ObjectMeta(name="default"), spec=KeyspaceSpec(key_length=4, proxy_seconds=60))


def partition(
    name: str,
    start: str,
    end: str,
    primary: str | None,
    epoch: int,
    *,
    proxy: str | None = None,
    phase: PartitionPhase | None = PartitionPhase.READY,
) -> Partition:
    return Partition(
        metadata=ObjectMeta(name=name, uid=f"uid-{name}", resource_version="9"),
        spec=PartitionSpec(range=KeyRange(start=start, end=end), primary=primary, proxy=proxy, epoch=epoch),
        status=PartitionStatus(phase=phase, incarnation=f"{primary}/1" if primary else ""),
    )


def worker(name: str, /, *, term: int = TERM, **parts: PartitionView) -> WorkerView:
    """One that answers and holds these."""
    return WorkerView(name, f"{name}/1", f"{name}:7", term=term, parts=parts)


def silent(name: str) -> WorkerView:
    """One that does not answer now."""
    return WorkerView(name, f"{name}/1", f"{name}:7", reachable=False)


def gone(name: str) -> WorkerView:
    """One whose pod does not exist any more."""
    return WorkerView(name, reachable=False, gone=True)


def assignment(spec: AssignmentSpec, step: Step | None, phase: AssignmentPhase | None = None) -> Assignment:
    meta = ObjectMeta(name="a1", uid="uid-a1", resource_version="3")
    if step is None:
        return Assignment(metadata=meta, spec=spec, status=AssignmentStatus(phase=phase))
    detail = {
        "new": NewStatus(status=step) if spec.new_params else None,
        "split": SplitStatus(status=step) if spec.split_params else None,
        "merge": MergeStatus(status=step) if spec.merge_params else None,
        "move": MoveStatus(status=step) if spec.move_params else None,
    }
    status = AssignmentStatus(phase=phase or AssignmentPhase.RUNNING, started_at=BEGAN, **detail)
    return Assignment(metadata=meta, spec=spec, status=status)


def observed(
    subject: Assignment, partitions: Iterable[Partition], workers: Iterable[WorkerView], **also: object
) -> Observed:
    """`also` are further fields of Observed."""
    seen = Observed(
        assignment=subject,
        keyspace=KEYSPACE,
        partitions={each.metadata.name: each for each in partitions},
        workers={each.name: each for each in workers},
        term=TERM,
        memory=Memory(begun_at=None if subject.status.step is None else BEGAN.timestamp()),
    )
    return replace(seen, **also)  # type: ignore[arg-type]


def since(**moments: float) -> Memory:
    """Of a driver for which these workers have been silent for so many seconds."""
    return Memory(silent_since={name: NOW - seconds for name, seconds in moments.items()})


def lines(decided: Iterable[actions.Action]) -> list[str]:
    """One line an action; Events are left out."""
    return [said(each) for each in actions.flatten(decided) if not isinstance(each, actions.Record)]


def said(action: actions.Action) -> str:
    match action:
        case actions.Tell():
            return f"{action.worker}: {_command(action)}"
        case actions.Commit():
            proxy = f", proxy {action.proxy}" if action.proxy else ""
            return f"commit {action.partition}: primary {action.primary or 'nobody'}{proxy}, epoch {action.epoch}"
        case actions.Touch():
            return f"touch {action.partition}"
        case actions.CreatePartition():
            owned = f"{action.primary}, epoch {action.epoch}"
            return f"create {action.partition} [{action.start},{action.end}) on {owned}"
        case actions.DeletePartition():
            return f"delete {action.partition}"
        case actions.SetPartitionStatus():
            condition = f", {action.condition}" if action.condition else ""
            over = f", no longer {action.over}" if action.over else ""
            return f"{action.partition} is {action.phase.value}{condition}{over}"
        case actions.SetStatus(status):
            return f"status {status.phase} {status.step or '-'}" + (f" {status.reason}" if status.reason else "")
        case actions.Wait():
            return f"wait for {action.what}"
    raise TypeError(action)


def _command(tell: actions.Tell) -> str:
    about = f"{tell.partition} epoch {tell.epoch}"
    match tell.command:
        case commands.Follow() as follow:
            return f"follow {about} at {follow.source}"
        case commands.Fence(token) | commands.Unfence(token):
            return f"{type(tell.command).__name__.lower()} {about} token {token}"
        case commands.AwaitApplied(sequence, _):
            return f"await {about} sequence {sequence}"
        case commands.Promote(sequence, digest):
            return f"promote {about} sequence {sequence} digest {digest}"
        case commands.Proxy(to, _):
            return f"proxy {about} to {to}"
        case commands.Split(parent_epoch, keys, names):
            cuts = ", ".join(key.rstrip(b"\0").decode() for key in keys)
            return f"split {tell.partition} epoch {parent_epoch} at {cuts} into {', '.join(names)} epoch {tell.epoch}"
        case commands.Merge(parts, _, _):
            joined = ", ".join(f"{part.partition} epoch {part.epoch}" for part in parts)
            return f"merge {joined} into {about}"
    return f"{type(tell.command).__name__.lower()} {about}"


def statuses(decided: Iterable[actions.Action]) -> Mapping[str, object]:
    """The last status among the actions, by field, as the API would show it."""
    from dstk.api import to_dict

    found = [each.status for each in decided if isinstance(each, actions.SetStatus)]
    return to_dict(found[-1])

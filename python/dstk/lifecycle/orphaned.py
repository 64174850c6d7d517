"""without_keyspace: what becomes of an Assignment whose Keyspace, or all of whose Partitions, somebody has deleted."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from dstk.api import Assignment, AssignmentPhase, Partition
from dstk.lifecycle.actions import Action, Record, SetStatus

__all__ = ["without_keyspace"]


def without_keyspace(assignment: Assignment, partition: Partition | None, cancelled: bool, now: float) -> list[Action]:
    """What to say of it. `partition`: one of its Partitions that is still there; it names the Keyspace that is not.

    Nothing can be told to a worker without the Keyspace. With it, whatever the Assignment left behind is brought in
    line by recovery, so it need not wait for that.
    """
    if partition is None:
        names = ", ".join(assignment.spec.partitions[:3])
        phase, reason = AssignmentPhase.ABORTED, "PartitionChanged"
        message = f"{names}: no object any more, and no worker of this Assignment holds anything of it"
    elif cancelled:
        phase, reason = AssignmentPhase.ABORTED, "Cancelled"
        message = f'deleted when Keyspace "{partition.spec.keyspace}" was gone; ownership is as the Partitions say'
    else:
        phase, reason = AssignmentPhase.STALLED, "KeyspaceGone"
        message = f'Keyspace "{partition.spec.keyspace}" is gone; goes on once it is there again, and ends when deleted'
    old = assignment.status
    if (old.phase, old.reason) == (phase, reason):
        return []
    moment = datetime.fromtimestamp(now, UTC) if phase.final else None
    status = replace(old, phase=phase, reason=reason, message=message, finished_at=moment)
    return [SetStatus(status), Record("Warning", reason, message)]

"""Lines of the operator's log that people search for: what happened, then its figures as ``name=value``."""

from __future__ import annotations

import json

from dstk.api import Assignment, Partition

__all__ = ["line", "of_end", "of_partition"]


def line(what: str, **figures: object) -> str:
    """``what`` and each figure that there is; a value with spaces is quoted as in JSON."""
    told = (f"{name.rstrip('_')}={_value(value)}" for name, value in figures.items() if value not in (None, ""))
    return " ".join((what, *told))


def of_partition(partition: Partition, what: str, reason: str, message: str) -> str:
    """Something about a Partition that an operation did not bring about."""
    spec = partition.spec
    return line(
        f"partition {partition.metadata.name}: {what}",
        reason=reason,
        keyspace=spec.keyspace,
        worker=spec.primary,
        epoch=spec.epoch,
        rows=partition.status.rows,
        message=message,
    )


def of_end(assignment: Assignment) -> str:
    """An Assignment that has ended or cannot go on."""
    spec, status = assignment.spec, assignment.status
    move, progress = spec.move_params, status.progress
    seconds = None
    if status.started_at is not None and status.finished_at is not None:
        seconds = round((status.finished_at - status.started_at).total_seconds(), 1)
    return line(
        f"assignment {assignment.metadata.name}: {status.phase}",
        reason=status.reason,
        type=spec.type,
        partitions=",".join(spec.partitions),
        from_=move.source if move is not None else None,
        to=move.to if move is not None else None,
        seconds=seconds,
        rows=progress.rows_copied if progress is not None else None,
        bytes=progress.bytes_copied if progress is not None else None,
        pause_ms=progress.write_pause_ms if progress is not None else None,
        message=status.message,
        planned=spec.reason,
    )


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text

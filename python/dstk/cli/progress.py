"""Shows how far an Assignment is, until it ends."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dstk import api, errors, kube

_POLL_SECONDS = 0.1


async def show(assignments: kube.Objects[api.Assignment], created: api.Assignment, *, quiet: bool) -> api.Assignment:
    """Wait for the end of the Assignment, with a bar on standard error unless `quiet`; as it ended.

    Raises :class:`~dstk.errors.InvalidRequest` when somebody deletes it meanwhile.
    """
    name = created.metadata.name
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with nullcontext() if quiet else bar:
        task = bar.add_task(name, total=None, rows="")
        while True:
            current = await assignments.find(name)
            if current is None or current.metadata.uid != created.metadata.uid:
                raise errors.InvalidRequest(f"assignment {name!r} was deleted before it ended")
            status, progress = current.status, current.status.progress
            step = status.step or (status.phase or "Pending")
            note = f" ({status.reason}: {status.message})" if status.reason and not current.finished else ""
            if not note and step == "proxying" and (move := created.spec.move_params) is not None:
                note = f" ({move.to} serves; {move.source} passes late requests on for proxySeconds)"
            bar.update(
                task,
                description=f"{created.spec.type} {name}: {step}{note}",
                total=progress.bytes_total or None if progress else None,
                completed=min(progress.bytes_copied, progress.bytes_total) if progress else 0,
                rows=f"rows copied: {progress.rows_copied:,}" if progress and progress.rows_copied else "",
            )
            if current.finished:
                return current
            await asyncio.sleep(_POLL_SECONDS)

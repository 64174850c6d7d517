"""Whether a worker's disk is the one that it was: what is remembered of it elsewhere, and what is older than that.

A volume that was restored from a snapshot, or a directory that was copied back, looks right by every checksum. So the
operator keeps, outside of the disk, what the disk has to have at least: a DiskFloor a worker, a hold and a sequence a
Partition. All of it is compared here, by pure functions; see docs/decisions/disk-floors.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dstk.control.views import DiskFloor, DiskView, LostBranch, PartitionView, WorkerView

if TYPE_CHECKING:
    from dstk.api import Partition

__all__ = [
    "Hold",
    "confirm",
    "found_at",
    "held_since",
    "hold_of",
    "life_of",
    "older_than",
    "with_position",
    "without_older",
]


@dataclass(frozen=True, slots=True)
class Hold:
    """Since which epoch, and which life of its worker, the owner of a partition has held it without a break."""

    epoch: int
    life: str


def life_of(incarnation: str) -> str:
    """What tells a life from the others of the same pod: what is behind the slash."""
    return incarnation.rpartition("/")[2]


def held_since(epoch: int, incarnation: str) -> tuple[tuple[str, str], ...]:
    """The annotation that says that the primary holds it in this life, from this epoch on."""
    from dstk.api import HELD_SINCE_ANNOTATION

    return ((HELD_SINCE_ANNOTATION, f"{epoch}/{life_of(incarnation)}"),) if incarnation else ()


def found_at(holder: WorkerView, epoch: int) -> tuple[tuple[str, str], ...]:
    """The same of what a worker is found to hold: none where its disk is an older one, as nobody has accepted that."""
    from dstk.api import HELD_SINCE_ANNOTATION

    if holder.floor is not None and holder.floor.lost is not None:
        return ((HELD_SINCE_ANNOTATION, ""),)
    return held_since(epoch, holder.incarnation)


def hold_of(partition: Partition) -> Hold | None:
    """The Partition's hold; None where it was written before there were any, or by hand."""
    from dstk.api import HELD_SINCE_ANNOTATION

    epoch, _, life = partition.metadata.annotations.get(HELD_SINCE_ANNOTATION, "").partition("/")
    return Hold(int(epoch), life) if epoch.isdecimal() and life else None


def confirm(floor: DiskFloor | None, disk: DiskView, now: float) -> DiskFloor:
    """What is to be remembered from now on of the disk as a life reports it.

    A disk that is not what it has to be at least begins a branch: what it should have been stays remembered, until
    it is back or no Partition of it is left.
    """
    fresh = DiskFloor(disk.directory, disk.life, disk.starts, disk.position, now)
    if floor is None:
        return fresh
    if floor.life == disk.life:
        return with_position(floor, disk.position, now)
    lost = floor.lost
    if lost is not None and lost.life in disk.lives and disk.began >= lost.position:
        return fresh  # the right one is back
    if _goes_on(floor, disk):
        return replace(fresh, lost=lost)
    return replace(fresh, lost=LostBranch(floor.directory, floor.life, floor.position, floor.at, disk.life))


def with_position(floor: DiskFloor, position: int, now: float) -> DiskFloor:
    """The same, whose log has reached `position`; a floor never sinks."""
    return replace(floor, position=position, at=now) if position > floor.position else floor


def _goes_on(floor: DiskFloor, disk: DiskView) -> bool:
    """Whether the disk is what the floor tells of, in a later life."""
    if disk.began < floor.position:
        return False
    if floor.life in disk.lives:
        return True
    # Of very many lives it remembers the last ones only.
    forgotten = disk.starts - len(disk.lives)
    return disk.directory == floor.directory and floor.starts <= forgotten


def older_than(partition: Partition, part: PartitionView | None, worker: WorkerView) -> str:
    """Why what the worker's disk has of a Partition that it owns is not the latest; "": it is, as far as is known."""
    disk, floor, hold = worker.disk, worker.floor, hold_of(partition)
    if disk is None:
        return ""
    lost = floor.lost if floor is not None else None
    if lost is not None and not _since_branch(hold, lost, disk):
        return _branched(worker, disk, lost)
    if hold is not None and hold.life not in disk.lives and disk.starts <= len(disk.lives):
        return f"the data directory of {worker.name} knows nothing of the life ({hold.life}) that it got the rows in"
    if part is None or part.role != "primary":
        return ""
    if hold is not None and part.epoch < hold.epoch:
        return (
            f"{worker.name} has it in epoch {part.epoch} on its disk, from before it was moved away; it came back in "
            f"epoch {hold.epoch}"
        )
    if part.sequence < partition.status.sequence:
        return (
            f"{worker.name} has writes up to sequence {part.sequence} on its disk; it had reported "
            f"{partition.status.sequence}"
        )
    return ""


def _since_branch(hold: Hold | None, lost: LostBranch, disk: DiskView) -> bool:
    """Whether the worker got the partition after the disk had become an older one, or was accepted then."""
    if hold is None or hold.life not in disk.lives:
        return False
    return lost.branch not in disk.lives or disk.lives.index(hold.life) >= disk.lives.index(lost.branch)


def _branched(worker: WorkerView, disk: DiskView, lost: LostBranch) -> str:
    moment = datetime.fromtimestamp(lost.at, UTC)
    if lost.directory != disk.directory:
        what = f"the data directory of {worker.name} is another one than it was"
    else:
        what = f"the data directory of {worker.name} is an older copy of what it was"
    return f"{what} at {moment:%Y-%m-%dT%H:%M:%SZ}: its log ends at {disk.began}, and had reached {lost.position} then"


def without_older(view: WorkerView, partitions: Mapping[str, Partition]) -> WorkerView:
    """The worker as operations are to see it: what is older than it should be counts as not held.

    `older` names those Partitions of the worker, held or not.
    """
    if view.disk is None or not view.reachable:
        return view
    older = {
        name
        for name, partition in partitions.items()
        if partition.spec.primary == view.name and older_than(partition, view.parts.get(name), view)
    }
    if not older:
        return view
    parts = {name: part for name, part in view.parts.items() if name not in older}
    return replace(view, parts=parts, older=frozenset(older))

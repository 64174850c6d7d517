"""What a decision asks the driver to do, as plain data.

Every action is idempotent: carried out twice, or again by another operator after a crash, it changes
nothing more. The driver carries a list out in order, stops at the first failure, observes again and decides
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from dstk.control import commands
from dstk.control.commands import Command

if TYPE_CHECKING:
    from dstk.api import AssignmentStatus, Condition, PartitionPhase

__all__ = [
    "Action",
    "Commit",
    "CreatePartition",
    "DeletePartition",
    "Parallel",
    "Record",
    "SetPartitionStatus",
    "SetStatus",
    "Tell",
    "Touch",
    "Wait",
    "flatten",
    "name_of",
]


# Every action says by `partition` which one it concerns, "" for none: whoever has to leave a partition to somebody else
# asks each action alike.


@dataclass(frozen=True, slots=True)
class Tell:
    """One control call to a worker. The driver adds its term. A refusal is a failure of the action."""

    worker: str
    incarnation: str
    keyspace: str
    partition: str
    epoch: int
    command: Command


# Writes to the Kubernetes API.


@dataclass(frozen=True, slots=True)
class Commit:
    """One patch of a Partition's spec with `resource_version` as its condition: who owns it from now on.

    ``""`` clears `primary` or `proxy`. Told again when the object already says all of this, it has
    succeeded. A time-out leaves the outcome unknown: the driver then sets ``Observed.uncertain`` until it
    has read the object.
    """

    partition: str
    resource_version: str
    primary: str
    proxy: str
    epoch: int
    annotations: tuple[tuple[str, str], ...] = ()
    """Written with it; ``""`` takes one away."""


@dataclass(frozen=True, slots=True)
class Touch:
    """Move a Partition's resourceVersion on, provided it is still `resource_version`, and change nothing
    else.

    Done before a fence is lifted, so that a commit that is still under way must fail. A conflict is a
    failure.
    """

    partition: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class CreatePartition:
    """Create a Partition object. One that exists with the same range and epoch is a success, and is not changed.

    `start` and `end` are bounds as users write them (text or 0x…). `status.phase` becomes ``ready`` and
    `status.incarnation` what is given here. `lost`: the condition DataLost of what it was made of, if that holds.
    """

    partition: str
    keyspace: str
    start: str
    end: str
    primary: str
    epoch: int
    incarnation: str
    annotations: tuple[tuple[str, str], ...] = ()
    lost: Condition | None = None


@dataclass(frozen=True, slots=True)
class DeletePartition:
    """Delete a Partition object, provided it still is that very object (uid). One that is gone is a success."""

    partition: str
    uid: str


@dataclass(frozen=True, slots=True)
class SetPartitionStatus:
    """Set `status.phase` and `status.incarnation` of a Partition and, when named, a condition of it.

    The condition is True if it `holds`, else False: then it tells how it ended. `over` names a condition that tells of
    a moment, which is past: it is taken away.
    """

    partition: str
    phase: PartitionPhase
    incarnation: str = ""
    condition: str = ""
    reason: str = ""
    message: str = ""
    over: str = ""
    holds: bool = True


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Give the Assignment this status, whole; only its conditions and observedGeneration are the driver's."""

    status: AssignmentStatus

    @property
    def partition(self) -> str:
        """None: it concerns the Assignment."""
        return ""


@dataclass(frozen=True, slots=True)
class Record:
    """An Event on the Assignment, or on the Partition that `partition` names."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    partition: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now: look again after `seconds`, or as soon as something changes."""

    seconds: float
    what: str

    @property
    def partition(self) -> str:
        """None."""
        return ""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Lanes that do not depend on each other: they may run at once. Each runs in order up to its first failure."""

    lanes: tuple[tuple[Action, ...], ...]

    @property
    def partition(self) -> str:
        """None: each action in the lanes says its own."""
        return ""


Action: TypeAlias = (
    Tell
    | Commit
    | Touch
    | CreatePartition
    | DeletePartition
    | SetPartitionStatus
    | SetStatus
    | Record
    | Wait
    | Parallel
)


def name_of(action: Action) -> str:
    """What it does, in a word: of a Tell, what is told. ``SetStatus`` is set-status."""
    if isinstance(action, Tell):
        return commands.name_of(action.command)
    return commands.word_of(type(action))


def flatten(actions: Iterable[Action]) -> Iterator[Action]:
    """The actions one by one, lanes one after the other: for a driver that does one thing at a time."""
    for action in actions:
        if isinstance(action, Parallel):
            for lane in action.lanes:
                yield from flatten(lane)
        else:
            yield action

"""What a decision asks the driver to do, as plain data.

Every action is idempotent: carried out twice, or again by another operator after a crash, it changes
nothing more. The driver carries a list out in order, stops at the first failure, observes again and decides
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from dstk.api import AssignmentStatus, Condition, PartitionPhase

__all__ = [
    "Action",
    "AwaitApplied",
    "Command",
    "Commit",
    "CreatePartition",
    "DeletePartition",
    "Drop",
    "Fence",
    "Follow",
    "Merge",
    "Parallel",
    "Part",
    "Promote",
    "Proxy",
    "Record",
    "Release",
    "Serve",
    "SetPartitionStatus",
    "SetStatus",
    "Split",
    "Tell",
    "Touch",
    "Unfence",
    "Wait",
    "flatten",
    "name_of",
]


# Every action says by `partition` which one it concerns, "" for none: whoever has to leave a partition to somebody else
# asks each action alike.


# Commands: what a worker is told. Bounds are bytes, padded to the keyspace's key length; an empty end is +∞.


@dataclass(frozen=True, slots=True)
class Serve:
    """Be the primary of the range: with the rows that are held when it is held, else empty. Lifts no fence.

    `durable`: what is acknowledged is on disk. `lease_seconds`: for so long after the operator was heard; 0: for ever.
    """

    start: bytes
    end: bytes
    key_length: int
    durable: bool = False
    lease_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Follow:
    """Load a snapshot from `source`, then follow its log. Told again, it resumes.

    `size`: what the rows take at the source, in bytes. The worker keeps so much free, or refuses; 0: not known.
    """

    start: bytes
    end: bytes
    key_length: int
    source: str
    source_address: str
    source_incarnation: str
    durable: bool = False
    lease_seconds: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Fence:
    """Hold new requests. The log ends at the sequence in the state that comes back.

    The worker grants a `token` once, and only when it is above every token that it has seen for the partition;
    else the call is stale. Where there is a fence already, it has the new token from then on. So one who was
    answered knows that no call of anybody else, however late, can lift the fence unseen: whoever lifts it has been
    granted a higher token before, which shows.
    """

    token: int = 0


@dataclass(frozen=True, slots=True)
class Unfence:
    """Let held and new requests run, provided that the fence's token is not above `token`; else the call is stale.

    Told where there is no fence, the term and the token are taken note of. With token 0, which no fence has, that
    is all that ever happens: a fence stays, and the call succeeds.
    """

    token: int = 0


@dataclass(frozen=True, slots=True)
class AwaitApplied:
    """Answered once `sequence` is applied, or after `timeout_seconds`; not being there in time is no failure."""

    sequence: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Promote:
    """Become primary, provided that exactly `sequence` is applied and the rows have this digest."""

    sequence: int
    digest: int


@dataclass(frozen=True, slots=True)
class Proxy:
    """Stop being primary; pass on what was held, in order, then all that comes."""

    to: str
    to_address: str


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a proxied partition."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a partition that loads or follows. Never a primary."""


@dataclass(frozen=True, slots=True)
class Split:
    """Cut the partition at `keys` (ascending) into `names` (one more than keys), all primary at the action's epoch."""

    parent_epoch: int
    keys: tuple[bytes, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a merge, and the epoch it must have."""

    partition: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Join the parts, in key order, into the action's partition."""

    parts: tuple[Part, ...]
    start: bytes
    end: bytes


Command: TypeAlias = Serve | Follow | Fence | Unfence | AwaitApplied | Promote | Proxy | Release | Drop | Split | Merge


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


def name_of(action: Action | Command) -> str:
    """What it does, in a word: of a Tell, what is told. ``SetStatus`` is set-status."""
    what = action.command if isinstance(action, Tell) else action
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(what).__name__)[1:]


def flatten(actions: Iterable[Action]) -> Iterator[Action]:
    """The actions one by one, lanes one after the other: for a driver that does one thing at a time."""
    for action in actions:
        if isinstance(action, Parallel):
            for lane in action.lanes:
                yield from flatten(lane)
        else:
            yield action

"""What a decision is made from, as plain data.

The driver fills it anew before every decision. The order matters: **Partition objects first, then
workers**. A fence that is seen after the object was read cannot have been lifted by another operator
without that operator having moved the object's resourceVersion on, so a commit with the version that was
read fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstk.lifecycle.memory import Memory
from dstk.lifecycle.vocabulary import Role
from dstk.span import Span

if TYPE_CHECKING:
    from dstk.api import Assignment, Keyspace, Partition
    from dstk.api.validation import Refusal

WHOLE = Span()

__all__ = ["DiskFloor", "DiskView", "Limits", "LostBranch", "Observed", "PartView", "WorkerView"]


@dataclass(frozen=True, slots=True)
class PartView:
    """A partition as one worker holds it; `dstk.v1.PartitionState`, with times in seconds.

    `size`: what its rows take in memory, in bytes. `no_room`: the copy ended, as the worker has no room for the rows.
    `fence_token`: the highest that the worker has seen for it in this life; that of the fence while it is `fenced`.
    """

    role: Role
    epoch: int
    span: Span = WHOLE
    sequence: int = 0
    fenced: bool = False
    fence_token: int = 0
    rows: int = 0
    bytes: int = 0
    size: int = 0
    digest: int = 0
    lag: int = 0
    caught_up: bool = False
    follow_error: str = ""
    no_room: bool = False
    quiet_seconds: float = 0.0
    rows_copied: int = 0
    bytes_copied: int = 0
    bytes_total: int = 0
    last_pause_seconds: float = 0.0
    source: str = ""
    proxy_to: str = ""
    keyspace: str = "default"
    durable: bool | None = None
    """None: its worker does not say."""
    key_length: int = 0
    """0: its worker does not say."""


@dataclass(frozen=True, slots=True)
class DiskView:
    """A worker's data directory as it says; `dstk.v1.DiskState`.

    `directory`: the life that made it. `lives`: those that used it, the present one last; of many the last ones.
    `starts`: how many they were. `began`: where its log ended when this life began; `position`: up to where it is on
    disk now. Positions grow over all lives.
    """

    directory: str
    lives: tuple[str, ...]
    starts: int = 1
    began: int = 0
    position: int = 0

    @property
    def life(self) -> str:
        return self.lives[-1]


@dataclass(frozen=True, slots=True)
class LostBranch:
    """What a disk had come to when an older one took its place, in the life `branch`. `at`: when that was reported."""

    directory: str
    life: str
    position: int
    at: float
    branch: str


@dataclass(frozen=True, slots=True)
class DiskFloor:
    """What a worker's disk has to have at least: the life last seen of it, and the position reported then, at `at`."""

    directory: str
    life: str
    starts: int
    position: int
    at: float
    lost: LostBranch | None = None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as it answered just now, or as it was last known when it did not answer.

    `reachable`: it answered this time; `parts` is what it holds now. `gone`: it will not come back as it
    was: its pod object no longer exists, or has another incarnation than the one the driver saw holding the
    data. Of a worker without a pod, `incarnation` is empty. `term` is the highest operator term it has seen.
    `unheard_seconds`: since it was last known to have taken note of this operator. `parts` holds at least the
    partitions that the Assignment names, children and merged partition included, as far as the worker holds
    them.
    """

    name: str
    incarnation: str = ""
    address: str = ""
    reachable: bool = True
    gone: bool = False
    draining: bool = False
    term: int = 0
    unheard_seconds: float = 0.0
    parts: Mapping[str, PartView] = field(default_factory=dict)
    disk: DiskView | None = None
    """None: it has none, or is too old to say."""
    floor: DiskFloor | None = None
    """What its disk has to have at least, this life confirmed."""
    older: frozenset[str] = frozenset()
    """Partitions of this worker that are not served, as its disk is older than it was; see ``disks.without_older``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an operation; every one is a setting of the operator."""

    deadline_seconds: float = 3600.0
    """An operation that has not committed by then is aborted."""
    silence_seconds: float = 3.0
    """A worker from which nothing has come for so long, though it was asked, counts as silent: it is given nothing, and
    what it serves is unavailable."""
    destination_silent_seconds: float = 5.0
    """Before the commit, an operation whose destination has not answered for so long is aborted: another is chosen."""
    stall_seconds: float = 30.0
    """A worker that has not answered for so long makes the Assignment say Stalled."""
    fence_lag_writes: int = 1000
    """The source is fenced once the destination is at most so many writes behind."""
    fence_max_seconds: float = 2.0
    """A fence that did not lead to a commit within this time is lifted."""
    fence_tries: int = 5
    """So many fences are tried before the move is aborted."""
    fence_retry_seconds: float = 5.0
    """Pause between two of them."""
    follow_tries: int = 5
    """So many times in a row a broken follow stream is started again."""
    follow_retry_seconds: float = 1.0
    """Pause before that."""
    wait_seconds: float = 1.0
    """How long to wait at most before looking again, where nothing tells that something has changed."""
    fenced_wait_seconds: float = 0.05
    """The same while requests are held behind a fence."""
    chunk: int = 256
    """Partitions of one New that a single decision starts."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything one decision may depend on.

    `partitions`: the objects that ``dstk.lifecycle.touched`` names, read just now; a name that is missing has
    no object. `workers`: likewise, and those that the objects name. `ahead`: names of older unfinished
    Assignments that touch the same partitions. `cancelled`: deletion was asked for. `refusal`: what
    validation says, evaluated while the Assignment has had no effect. `uncertain`: a commit was sent, its
    outcome is not known, and the Partition objects could not be read since. `term`: the deciding operator's
    own. `ahead_of_day`: how far the clock that times are told by, which never jumps, is ahead of the time of day, which
    people are told.
    """

    assignment: Assignment
    keyspace: Keyspace
    partitions: Mapping[str, Partition]
    workers: Mapping[str, WorkerView]
    ahead: tuple[str, ...] = ()
    ahead_of_day: float = 0.0
    cancelled: bool = False
    refusal: Refusal | None = None
    uncertain: bool = False
    term: int = 0
    limits: Limits = field(default_factory=Limits)
    memory: Memory = field(default_factory=Memory)

"""What a worker says of itself and of what it holds, and how it is seen after that: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dstk.span import Span

__all__ = [
    "DiskFloor",
    "DiskView",
    "Load",
    "LoadReport",
    "LostBranch",
    "PartitionView",
    "Role",
    "Room",
    "Status",
    "WorkerView",
]

Key: TypeAlias = bytes

WHOLE = Span()

Role: TypeAlias = Literal["loading", "following", "primary", "proxy", "disconnected"]
"""What a worker is to a partition; the text of ``dstk.api.Role``."""


@dataclass(frozen=True, slots=True)
class PartitionView:
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
    parts: Mapping[str, PartitionView] = field(default_factory=dict)
    disk: DiskView | None = None
    """None: it has none, or is too old to say."""
    floor: DiskFloor | None = None
    """What its disk has to have at least, this life confirmed."""
    older: frozenset[str] = frozenset()
    """Partitions of this worker that are not served, as its disk is older than it was; see ``disks.without_older``."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a worker says of itself. `partitions` by name."""

    worker: str
    incarnation: str
    data_address: str
    term: int
    draining: bool
    partitions: dict[str, PartitionView]
    disk: DiskView | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one partition as its worker measured it. Rates are exponentially weighted means, per second."""

    keyspace: str
    partition: str
    epoch: int
    rows: int
    bytes: int
    operations_per_second: float
    bytes_per_second: float
    median_key: Key | None
    role: Role
    sequence: int = 0
    """Of the last write that is on disk; 0: not known."""
    size: int = 0
    key_length: int = 0
    """0: its worker does not say."""
    durable: bool | None = None
    """None: its worker does not say."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that the rows of a worker may take (0: no bound), that they take, copies on their way included, and that
    those copies are still to take."""

    limit: int
    used: int
    promised: int

    @property
    def free(self) -> int | None:
        """Bytes that nobody has and nobody was promised; None: there is no bound."""
        return max(0, self.limit - self.used - self.promised) if self.limit else None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What changed since the last report of the stream; the first one is whole."""

    incarnation: str
    loads: tuple[Load, ...]
    gone: tuple[str, ...]
    draining: bool
    room: Room | None = None
    """None: the worker does not say."""
    position: int = 0
    """Up to where the log of the data directory is on disk."""
    last: bool = False
    """Nothing is written after this."""

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

from dstk.control.views import WorkerView
from dstk.lifecycle.memory import Memory

if TYPE_CHECKING:
    from dstk.api import Assignment, Keyspace, Partition
    from dstk.api.validation import Refusal

__all__ = ["Limits", "Observed"]


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

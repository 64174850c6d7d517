"""What came of carrying actions out."""

from __future__ import annotations

from dataclasses import dataclass, field

from dstk.api import Partition
from dstk.control.views import PartitionView
from dstk.errors import DstkError

__all__ = ["CommitUncertain", "Outcome"]


class CommitUncertain(DstkError):
    """A commit was sent and it is not known whether it took effect."""


@dataclass(slots=True)
class Outcome:
    """What came back: objects written under a condition on their version, and states of partitions on workers."""

    written: dict[str, Partition | None] = field(default_factory=dict)
    states: list[tuple[str, dict[str, PartitionView]]] = field(default_factory=list)
    stale: bool = False
    """Something was written without such a condition: look at the objects anew."""

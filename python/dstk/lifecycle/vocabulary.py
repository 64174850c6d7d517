"""The words of the life cycle, as the objects and the wire spell them."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Field", "Phase", "Role"]

Role: TypeAlias = Literal["loading", "following", "primary", "proxy", "disconnected"]
"""What a worker is to a partition."""

Phase: TypeAlias = Literal["Pending", "Running", "Completed", "Aborted", "Stalled"]
"""Where an Assignment stands. Completed and Aborted are final."""

Field: TypeAlias = Literal["new", "split", "merge", "move"]
"""The field of an Assignment's status that belongs to its type."""

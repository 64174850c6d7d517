"""The words of the life cycle that workers and wire share with it, as plain text."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Role"]

Role: TypeAlias = Literal["loading", "following", "primary", "proxy", "disconnected"]
"""What a worker is to a partition; the text of ``dstk.api.Role``."""

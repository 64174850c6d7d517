"""The roles in which a worker holds a partition: one vocabulary for status fields, wire and code."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a worker does for a partition."""

    LOADING = "loading"
    FOLLOWING = "following"
    PRIMARY = "primary"
    PROXY = "proxy"
    DISCONNECTED = "disconnected"

"""What dstk is tested with, for users to import: a verifying load, its history, and fixtures of a local cluster."""

from dstk.testing.history import Findings, Floor, History

__all__ = ["Findings", "Floor", "History"]

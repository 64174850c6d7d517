"""What a worker's data directory holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dstk import _core


@dataclass(frozen=True, slots=True)
class DataReport:
    """A data directory in which everything was found whole. `worker` is empty before its first checkpoint."""

    worker: str
    partitions: int
    rows: int
    bytes: int
    """Of keys and values."""
    log_files: int
    log_bytes: int
    """Of records after the last checkpoint."""
    log_records: int
    term: int
    """Highest term of an operator."""


def check_data(directory: Path) -> DataReport:
    """Check every checksum, count and record of a data directory that no worker uses; changes nothing.

    Raises :class:`~dstk.errors.DataDamaged`, and :class:`~dstk.errors.ConfigError` when there is none or it is in use.
    """
    return DataReport(*_core.check_data(directory))

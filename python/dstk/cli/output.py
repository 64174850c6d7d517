"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_UNFOLDED = 1000
"""Columns of a line that nothing is too long for."""


def console() -> Console:
    """Standard output: as wide as the terminal; into a pipe or a file no line is folded, one row stays one line."""
    return Console() if sys.stdout.isatty() else Console(width=_UNFOLDED)

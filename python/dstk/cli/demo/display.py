"""What the demo shows while it runs, and its table at the end."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from dstk import api

_PLAIN_SECONDS = 2.0


@dataclass(slots=True)
class Scene:
    """What is to be seen at this moment."""

    doing: str = "starting"
    assignment: api.Assignment | None = None
    load: dict[str, Any] = field(default_factory=dict)
    completed: int = 0

    def text(self) -> str:
        """One line."""
        parts = [self.doing]
        if self.assignment is not None:
            status = self.assignment.status
            parts = [f"{self.assignment.spec.type} {', '.join(self.assignment.spec.partitions)}"]
            parts.append(str(status.step or status.phase or "Pending"))
            if status.progress is not None and status.progress.rows_copied:
                parts.append(f"{status.progress.rows_copied:,} rows copied")
        if "ops_per_second" in self.load:
            parts.append(f"{self.load['ops_per_second']:,} ops/s")
            parts.append(f"{self.load['acked_writes']:,} writes")
            parts.append(f"{self.load['wrong']} wrong, {self.load['failed']} failed")
        elif "rows" in self.load:
            parts.append(f"{self.load['rows']:,} rows loaded")
        parts.append(f"{self.completed} operations done")
        return " · ".join(parts)


class Display:
    """A live line where standard error is a terminal, else a line every two seconds."""

    def __init__(self) -> None:
        self.scene = Scene()
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=10, transient=True) if sys.stderr.isatty() else None
        self._said = ("", 0.0)

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self) -> None:
        """Bring what is seen up to date."""
        text = self.scene.text()
        if self._live is not None:
            self._live.update(text)
            return
        before, at = self._said
        now = time.monotonic()
        if text.split(" · ")[0] != before or now - at >= _PLAIN_SECONDS:
            self._console.print(text, highlight=False, soft_wrap=True)
            self._said = (text.split(" · ")[0], now)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, soft_wrap=True)


def summary(result: dict[str, Any]) -> Group:
    """The tables at the end: what was done, and what came of it."""
    done = Table(box=None, header_style="bold")
    done.add_column("assignment", no_wrap=True)
    for column in ("type", "phase"):
        done.add_column(column)
    for column in ("seconds", "longest gap, ms", "write pause, ms"):
        done.add_column(column, justify="right")
    for row in result["assignments"]:
        pause = row["write_pause_ms"]
        done.add_row(
            row["name"], row["type"], row["phase"], f"{row['seconds']:.2f}", f"{row['longest_gap_ms']:.1f}",
            "" if pause is None else f"{pause:.2f}",
        )  # fmt: skip
    totals = Table(box=None, show_header=False)
    totals.add_column()
    totals.add_column(justify="right")
    for name in ("acked_writes", "lost_writes", "wrong_reads", "failed_requests", "ops_per_second", "p50_ms", "p99_ms"):
        totals.add_row(name.replace("_", " "), f"{result[name]:,}")
    return Group(done, "", totals)

"""How every benchmark reports: build/bench/NAME.json, and the same as a table on standard output."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. With a peer, `ratio` is how many times better ours is; `goal` is then a ratio.

    Without one, `goal` is a value of `ours`, to be reached from the side that `better` names.
    """

    what: str
    case: str
    unit: str
    ours: float
    peer: str | None = None
    peer_value: float | None = None
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float | None:
        """Above 1: ours is better."""
        if self.peer_value is None:
            return None
        return self.peer_value / self.ours if self.better == "lower" else self.ours / self.peer_value

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        if self.ratio is not None:
            return self.ratio >= self.goal
        return self.ours <= self.goal if self.better == "lower" else self.ours >= self.goal

    def as_json(self) -> dict[str, object]:
        """As it stands in the file."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass(slots=True)
class Report:
    """The rows of one benchmark."""

    name: str
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add a figure and print it."""
        self.rows.append(row)
        peer = f"  {row.peer} {row.peer_value:.4g}, ratio {row.ratio:.2f}" if row.peer else ""
        goal = f"  goal {row.goal:g}: {'met' if row.met else 'NOT MET'}" if row.goal is not None else ""
        print(f"{row.what:<44} {row.case:<18} {row.ours:>12.4g} {row.unit:<8}{peer}{goal}", flush=True)

    def write(self) -> Path:
        """Write the file; its path."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{self.name}.json"
        content = {"machine": machine(), "rows": [row.as_json() for row in self.rows]}
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def machine() -> dict[str, object]:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)

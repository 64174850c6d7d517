"""How every benchmark reports: build/bench/NAME.json, and the same as a table on standard output."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Figure:
    """What many measurements of one thing come to: their median and quartiles."""

    median: float
    quartiles: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure of at least two values."""
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, (low, high))

    def times(self, factor: float) -> Figure:
        """The same in another unit."""
        return Figure(self.median * factor, (self.quartiles[0] * factor, self.quartiles[1] * factor))


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. With a peer, `ratio` is how many times better ours is; `goal` is then a ratio.

    Without one, `goal` is a value of `ours`, to be reached from the side that `better` names. The spreads are the
    quartiles of what `ours` and `peer_value` are the medians of.
    """

    what: str
    case: str
    unit: str
    ours: float
    peer: str | None = None
    peer_value: float | None = None
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"
    spread: tuple[float, float] | None = None
    peer_spread: tuple[float, float] | None = None

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
    """The rows of one benchmark; `packages` are those whose versions matter."""

    name: str
    packages: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    machine: dict[str, object] = field(init=False)

    def __post_init__(self) -> None:
        """Print what it is measured on, before the measuring itself makes the load."""
        self.machine = machine(self.packages)
        print(json.dumps(self.machine), flush=True)

    def compare(
        self,
        what: str,
        case: str,
        unit: str,
        ours: Figure,
        peers: Mapping[str, Figure],
        goals: Mapping[str, float] | None = None,
    ) -> None:
        """Add a row a peer; `goals` are ratios by peer."""
        for peer, theirs in peers.items():
            row = Row(
                what,
                case,
                unit,
                ours.median,
                peer,
                theirs.median,
                goal=(goals or {}).get(peer),
                spread=ours.quartiles,
                peer_spread=theirs.quartiles,
            )
            self.add(row)

    def add_figure(self, what: str, case: str, unit: str, ours: Figure, goal: float | None = None) -> None:
        """Add a row without a peer."""
        self.add(Row(what, case, unit, ours.median, goal=goal, spread=ours.quartiles))

    def add(self, row: Row) -> None:
        """Add a figure and print it."""
        self.rows.append(row)
        ours = f"{row.ours:>12.4g}{between(row.spread)} {row.unit}"
        peer = f"  {row.peer} {row.peer_value:.4g}{between(row.peer_spread)}, ratio {row.ratio:.2f}" if row.peer else ""
        goal = f"  goal {row.goal:.3g}: {'met' if row.met else 'NOT MET'}" if row.goal is not None else ""
        print(f"{row.what:<44} {row.case:<28} {ours:<38}{peer}{goal}", flush=True)

    def write(self) -> Path:
        """Write the file; its path."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{self.name}.json"
        content = {"machine": self.machine, "rows": [row.as_json() for row in self.rows]}
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def between(spread: tuple[float, float] | None) -> str:
    """Quartiles as they are printed behind a median."""
    return f" ({spread[0]:.3g}..{spread[1]:.3g})" if spread else ""


def machine(packages: Sequence[str] = ()) -> dict[str, object]:
    """What it is measured on, how busy that is (the load average of the last minute), and versions of `packages`."""
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
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)

"""Plots of the figures, as SVG that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

Rows = list[Mapping[str, Any]]
OURS, OURS_U64 = "RangeIndex", "RangeIndex u64"
COLOURS = {
    OURS: "#0b5fa5",
    OURS_U64: "#58a6e0",
    "numpy S16": "#c2571a",
    "numpy u64": "#eba06a",
    "polars Binary": "#3f7f3f",
    "polars UInt128": "#8cc08c",
    "bisect": "#8a5a9e",
    "sortedcontainers": "#b58fc4",
    "intervaltree": "#8c8c8c",
    "pandas IntervalIndex": "#bdbdbd",
    "static map": "#9fb8c9",
}
STYLE = {
    "svg.hashsalt": "dstk",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "savefig.facecolor": "white",
}


def draw(reports: Mapping[str, Any], folder: Path) -> list[str]:
    """Write the plots that the reports have figures for; their names."""
    rows: Rows = reports.get("routing", {}).get("rows", [])
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in PLOTS.items():
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=(7.2, 4), layout="constrained")
            if plot(axes, rows):
                path = folder / f"{name}.svg"
                figure.savefig(path, metadata={"Date": None, "Creator": None})
                drawn.append(path.name)
            plt.close(figure)
    return drawn


def find_many(axes: Axes, rows: Rows) -> bool:
    """ns a key against the number of ranges, a line each."""
    lines: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["what"] == "find_many":
            lines.setdefault(OURS, {})[ranges(row)] = row["ours"]
            lines.setdefault(family(row["peer"]), {})[ranges(row)] = row["peer_value"]
        if row["what"] == "find_many, native uint64 keys":
            lines.setdefault(OURS_U64, {})[ranges(row)] = row["ours"]
    if not lines:
        return False
    for name, by_ranges in lines.items():
        points = sorted(by_ranges.items())
        width = 2.4 if name in (OURS, OURS_U64) else 1.4
        axes.plot(*zip(*points, strict=True), color=COLOURS[name], linewidth=width, marker="o", markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("ranges")
    axes.set_title("find_many: ns a key, 1,000,000 random keys a call")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.grid(visible=True)
    plain(axes)
    label_ends(axes, {name: max(points.items())[1] for name, points in lines.items()}, max(map(max, lines.values())))
    return True


def label_ends(axes: Axes, ends: dict[str, float], at: int) -> None:
    """Name each line at its right end, apart enough to be read."""
    lowest = 0.0
    for name, value in sorted(ends.items(), key=lambda end: end[1]):
        place = max(value, lowest)
        lowest = place * 1.22
        offset = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(name, (at, place), color=COLOURS[name], annotation_clip=False, **offset)


def find(axes: Axes, rows: Rows) -> bool:
    """ns for one key, bars by number of ranges."""
    return bars(axes, [row for row in rows if row["what"] == "find, one key"], "find: ns for one key, from Python")


def group(axes: Axes, rows: Rows) -> bool:
    """ns a key by owner."""
    shown = [row for row in rows if row["what"].startswith("group") and row["peer"] != "one thread"]
    return bars(axes, shown, "group: ns a key, 1,000,000 random keys a call", log=False)


def replaced(axes: Axes, rows: Rows) -> bool:
    """Median and p99 of a batch, with and without replacements."""
    start = "find_many of 10,000 keys, replaced: "
    shown = [{**row, "case": row["what"].removeprefix(start)} for row in rows if row["what"].startswith(start)]
    rate = next((row["ours"] for row in rows if row["what"] == "replacements meanwhile"), 0)
    title = f"find_many of 10,000 keys: us a batch, map replaced {rate:,.0f} times a second"
    return bars(axes, shown, title, log=False, ours="replaced map")


def bars(axes: Axes, rows: Rows, title: str, log: bool = True, ours: str = OURS) -> bool:
    """A group of horizontal bars for each case: ours on top, then each peer."""
    if not rows:
        return False
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        name = OURS_U64 if "uint64" in row["what"] else ours
        figures = groups.setdefault(row["case"], {})
        figures.setdefault(name, row["ours"])
        figures.setdefault(family(row["peer"]), row["peer_value"])
    place, ticks = 0.0, []
    for case, figures in groups.items():
        axes.text(0.006, place, case, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
        for name, value in figures.items():
            place -= 1
            axes.barh(place, value, height=0.78, color=COLOURS.get(name, COLOURS[OURS]))
            axes.annotate(f"{value:,.0f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center")
            ticks.append((place, name))
        place -= 1.3
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.tick_params(axis="y", length=0)
    if log:
        axes.set_xscale("log")
    axes.set_title(title)
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.1)
    axes.set_xlim(left=10 if log else 0)
    axes.set_ylim(place + 0.6, 0.8)
    axes.figure.set_figheight(0.9 - 0.27 * place)
    plain(axes)
    return True


def plain(axes: Axes) -> None:
    """Numbers along logarithmic axes as 1,000, not as a power of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_locator(NullLocator())


def ranges(row: Mapping[str, Any]) -> int:
    """The number in "1,000 ranges"."""
    return int(row["case"].split()[0].replace(",", ""))


def family(peer: str) -> str:
    """A peer's name without which of its ways was the fastest."""
    return peer.partition(",")[0]


PLOTS: dict[str, Callable[[Axes, Rows], bool]] = {
    "find_many": find_many,
    "find": find,
    "group": group,
    "replaced": replaced,
}

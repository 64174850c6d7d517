"""The benchmarks' JSON as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HEAD = ("what", "case", "ours", "peer", "ratio", "goal", "met")


def filled(template: str, reports: Mapping[str, Any]) -> str:
    """The template with ``{table NAME}`` replaced; reports that it does not name come last."""
    left = dict(reports)

    def section(match: re.Match[str]) -> str:
        name = match[1]
        report = left.pop(name, None)
        return measured(report) if report else f"Not measured: `make bench-{name}`."

    page = re.sub(r"^\{table (\w+)\}$", section, template, flags=re.MULTILINE)
    return page + "".join(f"\n## {name}\n\n{measured(report)}\n" for name, report in left.items())


def measured(report: Mapping[str, Any]) -> str:
    """Where it was measured, and the table."""
    return f"{measured_on(report['machine'])}\n\n{table(report['rows'])}".rstrip()


def measured_on(machine: Mapping[str, Any]) -> str:
    """Processor, how busy it was before, system, versions."""
    versions = {"Python": machine["python"], **machine.get("versions", {})}
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    processor = f"{machine['cpu']}, {machine['cores']} cores, load average {machine['load']} at the start"
    return f"Measured on {processor}; {machine['system']}, {software}."


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line a row of the report; what the line above says already is left out."""
    lines: list[tuple[str, ...]] = [HEAD, ("---", "---", "---:", "---:", "---:", "---:", "---")]
    above = ("", "", "")
    for row in rows:
        cells = (row["what"], row["case"], figure(row["ours"], row["unit"], row.get("spread")))
        same = 0
        while same < len(cells) and cells[same] == above[same]:
            same += 1
        lines.append(("",) * same + cells[same:] + (peer(row), ratio(row), goal(row), met(row)))
        above = cells
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(value: float, unit: str, spread: Iterable[float] | None = None) -> str:
    """A median, its quartiles if they are known, and the unit."""
    around = f" ({'–'.join(number(quartile) for quartile in spread)})" if spread else ""
    return f"{number(value)}{around} {unit}".rstrip()


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def peer(row: Mapping[str, Any]) -> str:
    """The peer's name and figure, in the unit of ours."""
    if row["peer"] is None:
        return ""
    return f"{row['peer']}: {figure(row['peer_value'], '', row.get('peer_spread'))}"


def ratio(row: Mapping[str, Any]) -> str:
    """Above 1: ours is better."""
    return "" if row["ratio"] is None else number(row["ratio"])


def goal(row: Mapping[str, Any]) -> str:
    """With a peer, how many times better; without, the figure to reach."""
    if row["goal"] is None:
        return ""
    if row["ratio"] is not None:
        return f"≥ {number(row['goal'])}"
    return f"{'≤' if row['better'] == 'lower' else '≥'} {number(row['goal'])} {row['unit']}"


def met(row: Mapping[str, Any]) -> str:
    """Yes or no; nothing without a goal."""
    return {None: "", True: "yes", False: "**no**"}[row["met"]]

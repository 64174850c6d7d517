"""Splitting and merging a partition in a worker while others write to it: `make bench-partitions`.

Runs rust/net/examples/flips.rs: a worker with one partition of many rows, and clients that write to it over loopback;
meanwhile the partition is split in the middle and merged back, again and again. Measured: the critical section, as the
node times it, and the longest that a writer waited for its answer around each flip, and at rest between two of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess

from report import ROOT, Report, Row, median


def main() -> None:
    """Measure at each size and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    report = Report("partitions")
    flips = {rows: measure(report, rows, arguments.repeats) for rows in arguments.rows}
    smallest, largest = min(flips), max(flips)
    for name in ("split", "merge"):
        growth = flips[largest][name] / flips[smallest][name]
        what = f"{name}: growth of the critical section"
        report.add(Row(what, f"{largest:,} / {smallest:,}", "times", growth, goal=4.0))
    print(f"written to {report.write()}")


def measure(report: Report, rows: int, repeats: int) -> dict[str, float]:
    """One partition of `rows` rows, split and merged `repeats` times under load; the median flips in ms."""
    command = ["cargo", "run", "--release", "--quiet", "-p", "dstk-net", "--example", "flips", str(rows), str(repeats)]
    told = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    case = f"{rows:,} rows"
    for name in ("split", "merge"):
        report.add(Row(f"{name}: critical section, median", case, "ms", median(told[name]), goal=1.0))
        report.add(Row(f"{name}: critical section, longest", case, "ms", max(told[name])))
    around, rest = told["around"], told["rest"]
    report.add(Row("writes meanwhile", case, "/s", told["writes_per_second"], better="higher"))
    report.add(Row("writer's wait, median", case, "ms", median(around), "at rest", median(rest)))
    report.add(Row("writer's wait, longest of all flips", case, "ms", max(around), goal=5.0))
    report.add(Row("writer's wait, longest at rest", case, "ms", max(rest)))
    return {name: median(told[name]) for name in ("split", "merge")}


if __name__ == "__main__":
    main()

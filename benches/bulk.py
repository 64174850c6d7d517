"""Copying a partition, one core: snapshot chunks encoded, decoded and loaded, and the diff: `make bench-bulk`.

Runs rust/core/examples/bulk_bench.rs: rows of 16-byte keys and 100-byte values, written in random order, so that
neighbours are not neighbours in memory; "in order" is the same of a partition that was itself loaded from a copy. Rates
count keys and values; memcpy copies as many bytes from one place to one other. What the rest of the time goes to shows
in "rows gathered", which copies every row in key order and does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from report import Report, Row

ROOT = Path(__file__).resolve().parent.parent

# As the extension sets it for workers.
ALLOCATOR = {"_RJEM_MALLOC_CONF": "thp:never"}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    command = ["cargo", "run", "--release", "--quiet", "-p", "dstk-core", "--example", "bulk_bench"]
    command += [str(arguments.rows), str(arguments.repeats)]
    environment = {**os.environ, **ALLOCATOR}
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
    told = json.loads(done.stdout)
    report = Report("bulk")
    copies(report, told)
    diffs(report, told)
    print(f"written to {report.write()}")


def copies(report: Report, told: dict[str, Any]) -> None:
    """How fast rows are copied."""
    size = told["rows"] * told["row_bytes"]
    seconds = told["seconds"]
    case = f"{told['rows']:,} rows"

    def rate(what: str, name: str, goal: float | None = None) -> None:
        for case_of, suffix in ((case, ""), ("in order", ", loaded")):
            if name + suffix in seconds:
                value = size / seconds[name + suffix] / 1e9
                report.add(Row(what, case_of, "GB/s", value, goal=None if suffix else goal, better="higher"))

    rate("memcpy", "memcpy")
    rate("rows gathered", "gather")
    rate("encode", "encode")
    rate("decode", "decode")
    rate("encode and decode", "encode and decode", goal=1.0)
    rate("load: decode into a tree", "load")
    rate("encode and load", "encode and load")
    for name in ("encode", "decode", "encode and decode", "load", "encode and load"):
        report.add(Row(f"{name}: part of memcpy", case, "times", seconds["memcpy"] / seconds[name], better="higher"))
    lz4 = told["lz4"]
    for name in ("encode", "decode"):
        report.add(Row(f"{name} by lz4, text", case, "GB/s", size / lz4[name] / 1e9, better="higher"))
    report.add(Row("lz4, text: smaller", case, "times", lz4["times_smaller"], better="higher"))


def diffs(report: Report, told: dict[str, Any]) -> None:
    """What an interrupted copy costs."""
    digests = told["digests"]
    case = f"{told['rows']:,} rows"
    report.add(Row("digests of all ranges, cold", case, "ms", digests["cold"] * 1e3))
    report.add(Row("digests after 100 writes", case, "ms", digests["after 100 writes"] * 1e3))
    report.add(Row("every row hashed, to compare", case, "ms", digests["every row hashed"] * 1e3))
    report.add(Row("digests sent", case, "kB", digests["bytes"] / 1e3))
    for diff in told["diffs"]:
        changed = diff["case"]
        report.add(Row("diff: bytes sent", changed, "MB", diff["bytes_sent"] / 1e6))
        report.add(Row("diff: rows sent for one changed", changed, "rows", diff["rows_sent"] / diff["changed"]))
        report.add(Row("diff: ranges that differ", changed, "ranges", diff["ranges"]))
        spent = diff["digest"] + diff["find"] + diff["copy"]
        report.add(Row("diff: digest, find and copy", changed, "ms", spent * 1e3))


if __name__ == "__main__":
    main()

"""A guard against work that creeps in: instructions an operation, held to the bounds of instructions.json.

`make check-instructions` runs rust/core/examples/instructions.rs under `valgrind --tool=callgrind`, which counts the
same at every run, beside whatever else runs. Each case runs with one round of its operations and with two; the
difference is what one round takes, without preparation. Times are for the benchmarks to tell: a cache miss costs as
much as hundreds of instructions and is one here.

A change that is meant to cost more, or that has made something cheaper: `make check-instructions UPDATE=1`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOUNDS = Path(__file__).with_suffix(".json")

# How far above its bound a case may be: compilers and C libraries differ by a few per cent.
SLACK = 0.10


@dataclass(frozen=True, slots=True)
class Figure:
    """Instructions an operation of one case, and what they are held to."""

    case: str
    instructions: float
    bound: float | None

    @property
    def verdict(self) -> str:
        """What there is to say of it."""
        if self.bound is None:
            return "NO BOUND"
        if self.instructions > self.bound * (1 + SLACK):
            return "ABOVE"
        return "below: renew the bound" if self.instructions < self.bound * (1 - SLACK) else "kept"

    @property
    def failed(self) -> bool:
        """Whether the check fails by it."""
        return self.verdict.isupper()

    def line(self) -> str:
        """One line of the table."""
        bound = f"{self.bound:>12,.1f}{self.instructions / self.bound - 1:>+9.1%}" if self.bound else " " * 21
        return f"{self.case:<22}{self.instructions:>14,.1f}{bound}  {self.verdict}"


def main() -> int:
    """Count, compare or renew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write what is counted as the new bounds")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: apt-get install valgrind", file=sys.stderr)
        return 1
    program = build()
    cases = run([program]).stdout.split("\n")[:-1]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(cases, pool.map(lambda case: count(program, case), cases), strict=True))
    if arguments.update:
        BOUNDS.write_text(json.dumps({case: round(counted[case], 1) for case in cases}, indent=2) + "\n")
    bounds: dict[str, float] = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    figures = [Figure(case, counted[case], bounds.get(case)) for case in cases]
    print(f"{'case':<22}{'instructions':>14}{'bound':>12}{'change':>9}")
    for figure in figures:
        print(figure.line())
    gone = [case for case in bounds if case not in counted]
    if gone:
        print(f"{BOUNDS.name} has bounds of cases that do not exist: {', '.join(gone)}", file=sys.stderr)
    if gone or any(figure.failed for figure in figures):
        print(f"more than {SLACK:.0%} above: if that is meant, `make check-instructions UPDATE=1`", file=sys.stderr)
        return 1
    return 0


def build() -> str:
    """The program, built; where it is."""
    command = ["cargo", "build", "--release", "--quiet", "-p", "dstk-core", "--example", "instructions"]
    told = run([*command, "--message-format=json"]).stdout.splitlines()
    found = [message["executable"] for message in map(json.loads, told) if message.get("executable")]
    return str(found[-1])


def count(program: str, case: str) -> float:
    """Instructions an operation of `case`."""
    totals = []
    for rounds in ("1", "2"):
        done = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, case, rounds])
        collected = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
        if collected is None:
            sys.exit(f"valgrind counted nothing for {case!r}:\n{done.stderr}")
        totals.append((int(collected[1]), int(done.stdout)))
    (one, operations), (two, _) = totals
    return (two - one) / operations


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What a command said; ends with its errors if it failed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done


if __name__ == "__main__":
    sys.exit(main())

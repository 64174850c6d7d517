"""Which range holds a key: dstk.keys.RangeIndex beside what else Python has for it. `make bench-routing`.

Every answer is compared with the peers' before anything is timed. The parts: lookups.py, conditions.py, replacing.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import conditions
import lookups
import replacing
from peers import PACKAGES
from report import Report

PARTS: dict[str, Callable[[Report], None]] = {
    "find": lookups.find_one,
    "find_many": lookups.find_many,
    "group": lookups.group,
    "awkward": conditions.awkward,
    "forms": conditions.forms,
    "threads": conditions.threads,
    "replaced": replacing.lookups_meanwhile,
    "apply": replacing.changes,
    "memory": replacing.memory,
}


def main() -> None:
    """Measure all parts and write the report; a few, if they are named, and only print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    told = f"measure only these of {', '.join(PARTS)}, and write no file"
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=told)
    chosen = parser.parse_args().parts
    report = Report("routing", PACKAGES)
    for part in chosen or PARTS:
        PARTS[part](report)
    if not chosen:
        print(f"written to {report.write()}")


if __name__ == "__main__":
    main()

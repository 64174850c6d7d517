"""The command: many worlds, one seed each, and what became of them.

    python -m tests.simulation --seeds 50000 --jobs 2
    python -m tests.simulation --first 4711 --seeds 1 --trace

Story and weather of a world follow from its seed, unless they are given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from .runner import Failure, replay, run
from .stories import STORIES
from .weather import UNSETTLED, WEATHERS

TAIL = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: some world broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many worlds (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--story", choices=STORIES, help="this story only")
    parser.add_argument("--weather", choices=[*WEATHERS, *UNSETTLED], help="this weather only")
    parser.add_argument(
        "--trace", action="store_true", help="print the whole trace of every failure, or of a single seed"
    )
    parser.add_argument("--failures", type=int, default=20, help="stop after so many (default %(default)s)")
    options = parser.parse_args(arguments)

    if options.trace and options.seeds == 1:
        failure, trace = replay(options.first, options.story, options.weather)
        print("\n".join(trace))
        print(failure or f"seed {options.first}: every promise held")
        return 1 if failure else 0

    began = time.perf_counter()
    failures: list[Failure] = []
    done = 0
    for found in run(range(options.first, options.first + options.seeds), options.jobs, options.story, options.weather):
        done += found.seeds
        for failure in found.failures:
            failures.append(failure)
            _report(failure, options.trace)
        if len(failures) >= options.failures:
            break
        if found.seeds and sys.stderr.isatty():
            print(f"\r{done} seeds", end="", file=sys.stderr)
    took = time.perf_counter() - began
    print(f"{done} seeds in {took:.1f} s, {done / took:.0f} a second, {len(failures)} failures")
    return 1 if failures else 0


def _report(failure: Failure, whole: bool) -> None:
    print(failure)
    _, trace = replay(failure.seed, failure.story, failure.weather)
    for line in trace if whole else trace[-TAIL:]:
        print(f"    {line}")
    story, weather = failure.story, failure.weather
    print(
        f"  again: python -m tests.simulation --first {failure.seed} --seeds 1 --trace --story {story} --weather {weather}"
    )


if __name__ == "__main__":
    sys.exit(main())

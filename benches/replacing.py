"""Changes of the map: what one costs, what they cost those who look keys up meanwhile, and what the map weighs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np

from dstk.keys import RangeIndex
from inputs import Inputs, Keys, as_list, as_rows
from lookups import OWNERS, same
from report import Figure, Report, Row
from timing import interleaved

RANGES = 100_000
CHANGES = 1_000
PER_SECOND = 1_000
BATCH = 10_000
PERIODS, PERIOD_SECONDS = 10, 0.5

Change: TypeAlias = tuple[list[bytes], list[tuple[bytes, bytes | None, int]]]
"""What RangeIndex.apply takes: starts to remove, ranges to add."""


def splits(index: RangeIndex, count: int, source: Inputs) -> list[tuple[Change, Change, Change]]:
    """For `count` ranges at random: a split, the merge that undoes it, and a change of owner."""
    changes = []
    for position in source.random.choice(len(index) - 1, count, replace=False).tolist():
        start, end = index.bounds(position)
        middle = ((int.from_bytes(start) + int.from_bytes(end)) // 2).to_bytes(len(start))
        owner = index.owner(start)
        split: Change = ([start], [(start, middle, owner), (middle, end, owner)])
        merge: Change = ([start, middle], [(start, end, owner)])
        give: Change = ([start], [(start, end, (owner + 1) % OWNERS)])
        changes.append((split, merge, give))
    return changes


def owned_index(source: Inputs) -> tuple[RangeIndex, Keys, Any]:
    """An index of RANGES ranges of OWNERS owners, and what it was made of."""
    starts, owners = source.starts(RANGES), source.random.integers(0, OWNERS, RANGES)
    return RangeIndex(starts, owners=owners), starts, owners


def changes(report: Report) -> None:
    """Each kind of change at 1,000 random places, every time of the same version; and the map made anew."""
    source = Inputs()
    index, starts, owners = owned_index(source)
    triples = splits(index, CHANGES, source)
    apart = [(index.apply(*split), merge) for split, merge, _ in triples]
    same("split and merge", index.find_many(starts), apart[0][0].apply(*apart[0][1]).find_many(starts))
    calls: dict[str, Callable[[], object]] = {
        "split": lambda: apply_each((index, split) for split, _, _ in triples),
        "merge": lambda: apply_each(apart),
        "change of owner": lambda: apply_each((index, give) for _, _, give in triples),
        "made anew": partial(RangeIndex, starts, owners=owners),
    }
    figures = interleaved(calls)
    anew = figures.pop("made anew").times(1e6)
    figures = {name: figure.times(1e6 / CHANGES) for name, figure in figures.items()}
    case = f"{RANGES:,} ranges"
    for name, figure in figures.items():
        report.add_figure(f"apply, one {name}", case, "us", figure, goal=100.0)
    report.compare("apply, one split", case, "us", figures["split"], {"RangeIndex(...)": anew}, {"RangeIndex(...)": 50})


def apply_each(versions: Any) -> None:
    """One change of each version; the next version is dropped at once, which is part of the time."""
    for index, (remove, add) in versions:
        index.apply(remove, add)


class Replaced:
    """A map that a thread replaces by its next version, as a client does with routes that it is told of.

    Readers take `index` once a batch: it is immutable, so they need no lock.
    """

    def __init__(self, index: RangeIndex, changes: Iterator[Change]) -> None:
        self.index = index
        self.changes = changes
        self.count = 0
        self.running = False

    def replace(self) -> None:
        """One change a millisecond until stopped. A change that is late is made at once, so the rate is kept."""
        due = time.perf_counter()
        while self.running:
            remove, add = next(self.changes)
            self.index = self.index.apply(remove, add)
            self.count += 1
            due += 1 / PER_SECOND
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)


def lookups_meanwhile(report: Report) -> None:
    """How long batches of 10,000 keys take while another thread replaces the map 1,000 times a second.

    One Python thread looks up batch after batch and notes how long each took, from before it reads which version is
    the current one until it has the answer; so waits for the interpreter are part of it. In every second period, a
    second thread splits a range or merges it back each millisecond. In the others the same reader looks up the same
    batches in one version, and no second thread runs. The garbage collector is on in both, as it is in a service.
    """
    source = Inputs()
    static, _, _ = owned_index(source)
    batches = [source.keys(BATCH) for _ in range(100)]
    pairs = splits(static, CHANGES, source)
    replaced = Replaced(static, cycle(change for split, merge, _ in pairs for change in (split, merge)))
    kept = Replaced(static, iter(()))
    took: dict[str, list[list[int]]] = {"replaced": [], "static": []}
    seconds = 0.0
    read(kept, batches, PERIOD_SECONDS)
    for _ in range(PERIODS):
        took["static"].append(read(kept, batches, PERIOD_SECONDS))
        replaced.running = True
        writer = threading.Thread(target=replaced.replace)
        start = time.perf_counter()
        writer.start()
        took["replaced"].append(read(replaced, batches, PERIOD_SECONDS))
        replaced.running = False
        writer.join()
        seconds += time.perf_counter() - start
    case = f"{RANGES:,} ranges"
    rate = replaced.count / seconds
    report.add(Row("replacements meanwhile", case, "/s", rate, better="higher"))
    for name, share, goal in (("median", 50.0, None), ("p99", 99.0, 1 / 1.2)):
        figures = {kind: percentile(periods, share) for kind, periods in took.items()}
        what = f"find_many of {BATCH:,} keys, replaced: {name}"
        goals = {"static map": goal} if goal else None
        report.compare(what, case, "us", figures["replaced"], {"static map": figures["static"]}, goals)


def read(source: Replaced, batches: list[Keys], seconds: float) -> list[int]:
    """Nanoseconds of each batch looked up in a period."""
    took = []
    now = time.perf_counter_ns()
    until = now + int(seconds * 1e9)
    for batch in cycle(batches):
        before = time.perf_counter_ns()
        source.index.find_many(batch)
        now = time.perf_counter_ns()
        took.append(now - before)
        if now >= until:
            break
    return took


def percentile(periods: list[list[int]], share: float) -> Figure:
    """Of all batches, in us; the quartiles are those of the periods' own."""
    every = np.concatenate([np.array(period) for period in periods])
    each = Figure.of([float(np.percentile(period, share)) for period in periods])
    return Figure(float(np.percentile(every, share)), each.quartiles).times(1e-3)


def memory(report: Report) -> None:
    """Bytes a range, of an index that was just made."""
    starts = Inputs().starts(RANGES)
    case = f"{RANGES:,} ranges"
    dense = RangeIndex(starts)
    report.add(Row("memory a range, no gaps", case, "bytes", dense.nbytes / RANGES, goal=40.0))
    rows = as_rows(starts).copy()
    rows[:, -1] |= 1  # so that the key below a start is never the start before
    apart = rows.view(starts.dtype).ravel()
    ends = [(int.from_bytes(end) - 1).to_bytes(len(end)) for end in [*as_list(apart)[1:], b"\xff" * 16]]
    gaps = RangeIndex(apart, ends)
    same("a gap", gaps.find_many(ends), np.full(RANGES, -1))
    report.add(Row("memory a range, gaps between all", case, "bytes", gaps.nbytes / RANGES))

"""One key, many keys, and many keys by owner, beside the peers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

import peers
from dstk.keys import RangeIndex
from inputs import Inputs, Keys, as_list, as_u64
from peers import Many, Positions
from report import Report
from timing import interleaved, seconds, understood

KEYS = 1_000_000
OWNERS = 64


def find_one(report: Report) -> None:
    """One key a call, in a loop in Python that all share."""
    for ranges, goal in ((1_000, 3.0), (100_000, 4.0)):
        inputs = Inputs()
        starts = inputs.starts(ranges)
        keys = inputs.keys(100_000)
        rows, numbers = as_list(keys), as_u64(keys).tolist()
        few = 1_000
        index, starts_list = RangeIndex(starts), as_list(starts)
        sorted_list, interval_index = peers.sorted_list(starts), peers.interval_index(starts)
        sample = [index.find(key) for key in rows[:few]]
        same("bisect", sample, [peers.bisect_right(starts_list, key) - 1 for key in rows[:few]])
        same("sortedcontainers", sample, [sorted_list.bisect_right(key) - 1 for key in rows[:few]])
        tree = peers.interval_tree(starts)
        same("intervaltree", sample, [next(iter(tree.at(key))).data for key in rows[:few]])
        same("pandas", sample, [interval_index.get_loc(number) for number in numbers[:few]])
        calls: dict[str, Callable[[], None]] = {
            "ours": partial(peers.call_each, index.find, rows),
            "bisect": partial(peers.bisect_each, starts_list, rows),
            "sortedcontainers": partial(peers.call_each, sorted_list.bisect_right, rows),
            "intervaltree": partial(peers.call_each, tree.at, rows[:few]),
            "pandas IntervalIndex": partial(peers.call_each, interval_index.get_loc, numbers[:few]),
        }
        looked_up = {"intervaltree": few, "pandas IntervalIndex": few}
        figures = {
            name: figure.times(1e9 / looked_up.get(name, len(rows))) for name, figure in interleaved(calls).items()
        }
        ours = figures.pop("ours")
        report.compare("find, one key", f"{ranges:,} ranges", "ns", ours, figures, {"bisect": goal})


def find_many(report: Report) -> None:
    """A million random keys a call, at each number of ranges."""
    native = takes_u64()
    for ranges in (1_000, 10_000, 100_000, 1_000_000):
        inputs = Inputs()
        starts, keys = inputs.starts(ranges), inputs.keys(KEYS)
        index = RangeIndex(starts)
        expected = index.find_many(keys)
        numpy_bytes, numpy_u64 = peers.NumpyBytes(starts), peers.NumpyU64(starts)
        polars_bytes = fastest(starts, keys, expected, peers.binary)
        polars_numbers = fastest(starts, keys, expected, peers.uint128)
        beside: list[Many] = [numpy_bytes, numpy_u64, polars_bytes, polars_numbers]
        calls: dict[str, Callable[[], object]] = {"ours": partial(index.find_many, keys)}
        for peer in beside:
            theirs = peer.keys(keys)
            same(peer.name, expected, peer.positions(peer.find_many(theirs)))
            calls[peer.name] = partial(peer.find_many, theirs)
        if native:
            index_u64, keys_u64 = RangeIndex(as_u64(starts)), as_u64(keys)
            same("native u64", expected, index_u64.find_many(keys_u64))
            calls["ours u64"] = partial(index_u64.find_many, keys_u64)
        figures = {name: figure.times(1e9 / KEYS) for name, figure in interleaved(calls, repeats=5).items()}
        ours, ours_u64 = figures.pop("ours"), figures.pop("ours u64", None)
        case = f"{ranges:,} ranges"
        goals = {numpy_bytes.name: 10.0, numpy_u64.name: 5.0, polars_bytes.name: 3.0, polars_numbers.name: 3.0}
        report.compare("find_many", case, "ns a key", ours, figures, goals if ranges == 100_000 else None)
        if ours_u64:
            beside_u64 = {numpy_u64.name: figures[numpy_u64.name]}
            report.compare("find_many, native uint64 keys", case, "ns a key", ours_u64, beside_u64)


def group(report: Report) -> None:
    """Keys by owner: numpy's way is a lookup, a stable sort of the owners, and a count of each."""
    ranges = 100_000
    inputs = Inputs()
    starts, keys = inputs.starts(ranges), inputs.keys(KEYS)
    owners = inputs.random.integers(0, OWNERS, ranges)
    index = RangeIndex(starts, owners=owners)
    order, offsets = index.group(keys)
    narrow = owners.astype(np.uint8)  # numpy sorts these by radix, five times as fast as int64
    calls: dict[str, Callable[[], object]] = {"ours": partial(index.group, keys)}
    for peer in (peers.NumpyBytes(starts), peers.NumpyU64(starts)):
        call = partial(group_by_numpy, peer, peer.keys(keys), narrow)
        their_order, their_offsets = call()
        same(f"{peer.name}, order", order, their_order)
        same(f"{peer.name}, offsets", offsets[: OWNERS + 1], their_offsets)
        calls[peer.name] = call
    if takes_u64():
        index_u64, keys_u64 = RangeIndex(as_u64(starts), owners=owners), as_u64(keys)
        same("native u64, order", order, index_u64.group(keys_u64)[0])
        calls["ours u64"] = partial(index_u64.group, keys_u64)
    figures = {name: figure.times(1e9 / KEYS) for name, figure in interleaved(calls).items()}
    ours, ours_u64 = figures.pop("ours"), figures.pop("ours u64", None)
    case = f"{ranges:,} ranges, {OWNERS} owners"
    report.compare("group", case, "ns a key", ours, figures, {"numpy S16": 10.0, "numpy u64": 6.0})
    if ours_u64:
        report.compare("group, native uint64 keys", case, "ns a key", ours_u64, {"numpy u64": figures["numpy u64"]})


def group_by_numpy(peer: peers.NumpyBytes, keys: Any, owners: Any) -> tuple[Positions, Positions]:
    """(order, offsets) as :meth:`RangeIndex.group` has them."""
    owner = owners[peer.find_many(keys) - 1]
    order = np.argsort(owner, kind="stable")
    offsets = np.zeros(OWNERS + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=OWNERS), out=offsets[1:])
    return order, offsets


def fastest(starts: Keys, keys: Keys, expected: Positions, form: Callable[[Keys], Any]) -> Many:
    """The faster of polars' two ways with keys in this form; both are right."""
    took: list[tuple[float, Many]] = []
    for peer in (peers.PolarsSearchSorted(starts, form), peers.PolarsJoinAsof(starts, form)):
        theirs = peer.keys(keys)
        same(peer.name, expected, peer.positions(peer.find_many(theirs)))
        took.append((min(seconds(partial(peer.find_many, theirs)) for _ in range(2)), peer))
    return min(took, key=lambda pair: pair[0])[1]


@cache
def takes_u64() -> bool:
    """Whether this build takes native numbers as keys."""
    numbers = np.arange(4, dtype=np.uint64)
    return understood("native uint64 keys", lambda: RangeIndex(numbers).find_many(numbers))


def same(name: str, ours: Any, theirs: Any) -> None:
    """Stop unless the answers are equal: a wrong one is not worth timing."""
    if not np.array_equal(ours, theirs):
        raise SystemExit(f"{name} finds other ranges than RangeIndex: nothing is timed")

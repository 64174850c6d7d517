"""find_many under other conditions: keys and ranges that might be slow, keys in other forms, more than one thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa

from dstk.keys import RangeIndex
from inputs import KEY, Inputs, Keys, as_list, as_rows, as_starts
from lookups import KEYS, OWNERS, same
from peers import NumpyBytes
from report import Figure, Report
from timing import interleaved, understood

RANGES = 100_000


def awkward(report: Report) -> None:
    """Inputs that might be slow; a cliff would show as a ratio far from that of the uniform case."""
    for case, (starts, keys) in awkward_inputs().items():
        index, peer = RangeIndex(starts), NumpyBytes(starts)
        same(case, index.find_many(keys), peer.positions(peer.find_many(keys)))
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(index.find_many, keys),
            peer.name: partial(peer.find_many, keys),
        }
        figures = {name: figure.times(1e9 / KEYS) for name, figure in interleaved(calls, repeats=5).items()}
        ours = figures.pop("ours")
        report.compare("find_many, awkward input", case, "ns a key", ours, figures)


def awkward_inputs() -> dict[str, tuple[Keys, Keys]]:
    """Starts and keys by what is awkward about them; the first case is not."""
    source = Inputs()
    starts, keys = source.starts(RANGES), source.keys(KEYS)
    shared = source.random.bytes(10)
    clusters = [source.random.bytes(8) for _ in range(2)]
    starts_of_clusters = as_starts(np.concatenate([source.keys(RANGES // 2, cluster) for cluster in clusters]))
    keys_of_clusters = np.concatenate([source.keys(KEYS // 2, cluster) for cluster in clusters])
    source.random.shuffle(keys_of_clusters)
    one = as_list(starts)[RANGES // 2][:8] + b"\xff"  # above that start, and below the next unless it has these 8 bytes
    return {
        "uniform": (starts, keys),
        "all share 10 bytes": (source.starts(RANGES, shared), source.keys(KEYS, shared)),
        "all in two clusters of 8 bytes": (starts_of_clusters, keys_of_clusters),
        "sorted keys": (starts, np.sort(keys)),
        "all keys in one range": (starts, source.keys(KEYS, one)),
    }


def forms(report: Report) -> None:
    """The same million keys as each type that find_many takes."""
    source = Inputs()
    index, keys = RangeIndex(source.starts(RANGES)), source.keys(KEYS)
    wide = np.zeros((KEYS, 2 * KEY), np.uint8)
    wide[:, KEY // 2 : KEY // 2 + KEY] = as_rows(keys)
    given: dict[str, object] = {
        "numpy S16": keys,
        "numpy (n, 16) uint8": as_rows(keys),
        "numpy (n, 16) uint8, strided": wide[:, KEY // 2 : KEY // 2 + KEY],
        "list of bytes": as_list(keys),
    }
    arrow = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY), KEYS, [None, pa.py_buffer(keys)])
    if understood("pyarrow fixed_size_binary", lambda: index.find_many(arrow[:4])):
        given["pyarrow fixed_size_binary(16)"] = arrow
    expected = index.find_many(keys)
    for name, form in given.items():
        same(name, expected, index.find_many(form))
    calls = {name: partial(index.find_many, form) for name, form in given.items()}
    for name, figure in interleaved(calls).items():
        report.add_figure("find_many, form of the keys", name, "ns a key", figure.times(1e9 / KEYS))


def threads(report: Report) -> None:
    """Two processors for one batch, and two Python threads with a batch each, beside one thread."""
    source = Inputs()
    starts, batches = source.starts(RANGES), [source.keys(KEYS) for _ in range(2)]
    index = RangeIndex(starts, owners=source.random.integers(0, OWNERS, RANGES))
    keys = batches[0]
    case = f"{RANGES:,} ranges"
    with ThreadPoolExecutor(2) as pool:
        calls: dict[str, Callable[[], object]] = {
            "find_many": partial(index.find_many, keys),
            "find_many, two Python threads": lambda: list(pool.map(index.find_many, batches)),
            "group": partial(index.group, keys),
        }
        if understood("find_many(threads=)", lambda: index.find_many(keys[:4], threads=2)):
            same("find_many(threads=2)", index.find_many(keys), index.find_many(keys, threads=2))
            calls["find_many, threads=2"] = partial(index.find_many, keys, threads=2)
        if understood("group(threads=)", lambda: index.group(keys[:4], threads=2)):
            same("group(threads=2)", index.group(keys)[0], index.group(keys, threads=2)[0])
            calls["group, threads=2"] = partial(index.group, keys, threads=2)
        figures = interleaved(calls)
    looked_up = {"find_many, two Python threads": 2 * KEYS}
    per_key: dict[str, Figure] = {
        name: figure.times(1e9 / looked_up.get(name, KEYS)) for name, figure in figures.items()
    }
    for name, ours in per_key.items():
        alone = name.partition(",")[0]
        if name != alone:
            report.compare(name, case, "ns a key", ours, {"one thread": per_key[alone]})

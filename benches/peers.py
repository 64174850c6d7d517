"""What the range index is compared with. Each peer holds the same ranges in the form that suits it best, takes keys in
the form that suits it best, and is timed without the conversion to either."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from intervaltree import IntervalTree
from sortedcontainers import SortedList

from inputs import Keys, as_list, as_rows, as_u64

PACKAGES = ("numpy", "polars", "pandas", "sortedcontainers", "intervaltree", "pyarrow")
Positions = npt.NDArray[np.int64]


def bisect_each(starts: list[bytes], keys: Sequence[bytes]) -> None:
    """Look each key up by bisection, as it would be written by hand."""
    for key in keys:
        bisect_right(starts, key)


def call_each(find: Callable[[Any], object], keys: Sequence[object]) -> None:
    """Look each key up by one call."""
    for key in keys:
        find(key)


def sorted_list(starts: Keys) -> SortedList:
    """sortedcontainers: positions are those of its ``bisect_right``, less one."""
    return SortedList(as_list(starts))


def interval_tree(starts: Keys) -> IntervalTree:
    """intervaltree, with positions as data; the last range ends above all keys."""
    rows = [*as_list(starts), b"\xff" * 17]
    return IntervalTree.from_tuples(zip(rows, rows[1:], range(len(starts)), strict=False))


def interval_index(starts: Keys) -> pd.IntervalIndex:
    """pandas, which takes no bytes: ranges of the keys' first 8 bytes as numbers."""
    breaks = np.append(as_u64(starts), np.uint64(2**64 - 1))
    return pd.IntervalIndex.from_breaks(breaks, closed="left")


class Many(Protocol):
    """A peer that looks up many keys at once."""

    name: str

    def keys(self, keys: Keys) -> Any:
        """In the form it takes."""

    def find_many(self, keys: Any) -> Any:
        """What is timed."""

    def positions(self, answer: Any) -> Positions:
        """Its answer as positions of ranges."""


class NumpyBytes:
    """numpy.searchsorted on ``S16``."""

    name = "numpy S16"

    def __init__(self, starts: Keys) -> None:
        self.starts = starts

    def keys(self, keys: Keys) -> Keys:
        """As they are."""
        return keys

    def find_many(self, keys: Keys) -> Positions:
        """One above the position."""
        return np.searchsorted(self.starts, keys, side="right")

    def positions(self, answer: Positions) -> Positions:
        """One less."""
        return answer - 1


class NumpyU64(NumpyBytes):
    """numpy.searchsorted on uint64: the first 8 bytes, which is less work than ours does, and is right only for ranges
    that differ in them."""

    name = "numpy u64"

    def __init__(self, starts: Keys) -> None:
        super().__init__(starts)
        self.starts = as_u64(starts)

    def keys(self, keys: Keys) -> npt.NDArray[np.uint64]:
        """The first 8 bytes."""
        return as_u64(keys)


def binary(keys: Keys) -> pl.Series:
    """A polars column of bytes."""
    return pl.Series(as_list(keys), dtype=pl.Binary)


def uint128(keys: Keys) -> pl.Series:
    """A polars column of the whole keys as numbers."""
    halves = as_rows(keys).copy().view(">u8").astype(np.uint64)
    high, low = (pl.Series(halves[:, half].copy()).cast(pl.UInt128) for half in (0, 1))
    return high * pl.Series([2**64], dtype=pl.UInt128) + low


class PolarsSearchSorted:
    """polars Series.search_sorted."""

    def __init__(self, starts: Keys, form: Callable[[Keys], pl.Series]) -> None:
        self.keys = form
        self.starts = form(starts)
        self.name = f"polars {self.starts.dtype}, search_sorted"

    def find_many(self, keys: pl.Series) -> pl.Series:
        """One above the position."""
        return self.starts.search_sorted(keys, side="right")

    def positions(self, answer: pl.Series) -> Positions:
        """One less."""
        return answer.to_numpy().astype(np.int64) - 1


class PolarsJoinAsof:
    """polars DataFrame.join_asof, which wants its keys sorted: the sort, and the one back, are part of it."""

    def __init__(self, starts: Keys, form: Callable[[Keys], pl.Series]) -> None:
        self.form = form
        self.ranges = pl.DataFrame({"key": form(starts)}).with_row_index("position").set_sorted("key")
        self.name = f"polars {self.ranges['key'].dtype}, join_asof"

    def keys(self, keys: Keys) -> pl.DataFrame:
        """A frame that remembers the order of the keys."""
        return pl.DataFrame({"key": self.form(keys)}).with_row_index("place")

    def find_many(self, keys: pl.DataFrame) -> pl.Series:
        """The positions."""
        return keys.sort("key").join_asof(self.ranges, on="key").sort("place")["position"]

    def positions(self, answer: pl.Series) -> Positions:
        """As they are."""
        return answer.to_numpy().astype(np.int64)

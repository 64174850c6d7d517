"""Keys and ranges to measure with: the same in every run.

Keys are arrays of dtype ``S16``. Ranges are given by their starts: each goes up to the next one, the first starts at
the lowest key, so every key is in one. Unless the name says otherwise both are uniformly random.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

KEY = 16
Keys: TypeAlias = npt.NDArray[np.bytes_]


class Inputs:
    """A source of random inputs with a seed of its own."""

    def __init__(self, seed: int = 20) -> None:
        self.random = np.random.default_rng(seed)

    def keys(self, count: int, prefix: bytes = b"") -> Keys:
        """`count` keys, all of which begin with `prefix`."""
        rows = np.frombuffer(self.random.bytes(count * KEY), np.uint8).reshape(count, KEY).copy()
        rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
        return rows.view(f"S{KEY}").ravel()

    def starts(self, count: int, prefix: bytes = b"") -> Keys:
        """Starts of `count` ranges."""
        return as_starts(self.keys(count, prefix))


def as_starts(keys: Keys) -> Keys:
    """Starts from distinct keys in any order: the lowest becomes the lowest key there is."""
    starts = np.sort(keys)
    starts[0] = b""
    if (starts[1:] == starts[:-1]).any():
        raise ValueError("two ranges start at one key: take another seed")
    return starts


def as_u64(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each, as the native number that sorts as they do."""
    return as_rows(keys)[:, :8].copy().view(">u8").ravel().astype(np.uint64)


def as_rows(keys: Keys) -> npt.NDArray[np.uint8]:
    """The same memory as ``(keys, 16)`` bytes."""
    return keys.view(np.uint8).reshape(-1, KEY)


def as_list(keys: Keys) -> list[bytes]:
    """As Python objects, trailing zeros included."""
    packed: Any = keys.tobytes()
    return [packed[at : at + KEY] for at in range(0, len(packed), KEY)]

"""Where a key space is cut: evenly, at given keys, or so that each range has the same share of a sample."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from dstk.errors import InvalidRange
from dstk.keys.checks import integer
from dstk.keys.encoders import pad, shown

__all__ = ["bounds_at", "even_bounds", "sampled_cuts"]


def even_bounds(count: int, key_length: int) -> list[tuple[bytes, bytes]]:
    """The whole key space in ``count`` ranges of the same size (to 1 in 65,536): (start, end), b"" for the open ends.

    Even over keys that are: numbers, hashes, UUIDs. Text is not.
    """
    pad(b"", key_length)
    count = integer(count)
    if not 1 <= count <= 256**key_length:
        raise InvalidRange(f"{count} ranges of {key_length}-byte keys: choose 1 to {_many(key_length)}")
    width = min(key_length, (count.bit_length() + 16 + 7) // 8)
    return bounds_at([((place << 8 * width) // count).to_bytes(width) for place in range(1, count)], key_length)


def bounds_at(cuts: Sequence[bytes], key_length: int) -> list[tuple[bytes, bytes]]:
    """The whole key space cut at these keys, in one range more: (start, end), b"" for the open ends.

    Raises KeyLengthError for a cut that is longer than ``key_length``, InvalidRange for one that is not above the cut
    before it, or is the lowest key of all, below which there is none.
    """
    keys = [pad(cut, key_length) for cut in cuts]
    if keys and not any(keys[0]):
        raise InvalidRange(f"bound {shown(cuts[0])} is the lowest key there is: nothing is below it, so leave it out")
    for (before, key), cut in zip(pairwise(keys), cuts[1:], strict=True):
        if key == before:
            raise InvalidRange(f"bound {shown(cut)} is there twice: leave one out")
        if key < before:
            raise InvalidRange(f"bound {shown(cut)} is below {shown(before)} before it: sort the bounds")
    return list(zip([b"", *keys], [*keys, b""], strict=True))


def sampled_cuts(sample: Iterable[bytes], count: int) -> list[bytes]:
    """The ``count`` - 1 keys that cut the key space into ranges with the same share of a sample, as nearly as can be.

    A key that is there several times weighs as much. Each cut is the shortest key that lies between its neighbours of
    the sample. Raises InvalidRange when the sample has fewer different keys than there are to be ranges.
    """
    weights = Counter(sample)
    keys = sorted(weights)
    if not 1 <= count <= len(keys):
        raise InvalidRange(
            f"{count} ranges of a sample of {len(keys)} different keys: choose 1 to {len(keys)}, or sample more"
        )
    below = list(accumulate((weights[key] for key in keys), initial=0))
    cuts: list[bytes] = []
    last = 0
    for number in range(1, count):
        target = below[-1] * number / count
        place = bisect_left(below, target)
        if place and target - below[place - 1] < below[place] - target:
            place -= 1
        # One key at least stays for each range, those that are still to come included.
        last = min(max(place, last + 1), len(keys) - (count - number))
        cuts.append(_between(keys[last - 1], keys[last]))
    return cuts


def _between(low: bytes, high: bytes) -> bytes:
    """The shortest key that is above ``low`` and at most ``high``."""
    same = next((at for at, (left, right) in enumerate(zip(low, high, strict=False)) if left != right), len(low))
    return high[: same + 1]


def _many(key_length: int) -> str:
    return str(256**key_length) if key_length <= 2 else f"256**{key_length}"

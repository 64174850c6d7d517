"""Ranges of Partition objects as bytes, padded to the keyspace's key length; an empty end is +∞."""

from __future__ import annotations

from dstk.api import KeyRange

__all__ = ["Span", "inside", "overlap", "padded", "span"]

Span = tuple[bytes, bytes]


def padded(text: str, key_length: int) -> bytes:
    """The key that a bound means: hex behind 0x, else UTF-8, padded with zero bytes; an empty one stays empty."""
    raw = bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()
    return raw.ljust(key_length, b"\0") if raw else b""


def span(range_: KeyRange, key_length: int) -> Span:
    """Both bounds as bytes; a missing start is the lowest key."""
    return padded(range_.start, key_length) or bytes(key_length), padded(range_.end, key_length)


def overlap(one: Span, other: Span) -> bool:
    """Whether some key is in both."""
    return (not other[1] or one[0] < other[1]) and (not one[1] or other[0] < one[1])


def inside(one: Span, other: Span) -> bool:
    """Whether every key of `one` is in `other`."""
    return one[0] >= other[0] and (not other[1] or (bool(one[1]) and one[1] <= other[1]))

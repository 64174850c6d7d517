"""Encoders of keys and the range index say what is wrong with an argument by an error of dstk, whatever it is."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dstk import errors, keys

INDEX = keys.RangeIndex([b"", b"m"], key_length=4)
HUGE = 10**400
NO_INTEGERS: list[Any] = ["1", b"1", 1.5, math.nan, None, True, [1], 1j, np.True_, np.float64(1)]
NO_BYTES: list[Any] = ["k", 5, None, bytearray(b"k"), memoryview(b"k"), [b"k"], np.array(["k"])]
NO_TEXT: list[Any] = [b"k", None, 1.5, ["k"]]
STRIPPED = np.array([b"ab\0\0"])[0]

CASES: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "u64": (keys.u64, [*NO_INTEGERS, -1, 2**64, HUGE, np.array([1.5]), np.array(["1"]), np.array([-1]), np.array(1)]),
    "i64": (keys.i64, [*NO_INTEGERS, -(2**63) - 1, 2**63, HUGE, np.array([1.5]), np.array([2**63], np.uint64)]),
    "timestamp": (keys.timestamp, [
        *NO_INTEGERS, HUGE, dt.datetime(2020, 1, 1),  # noqa: DTZ001 - that is what is wrong
        dt.datetime.max.replace(tzinfo=dt.UTC), dt.date(2020, 1, 1),
        np.datetime64("2020"), np.array(["NaT"], "M8[s]"), np.array([2**62], "M8[s]"),
    ]),
    "uuid": (keys.uuid, [*NO_TEXT, "no uuid", "\ud800"]),
    "text": (lambda value: keys.text(value, 8), [*NO_TEXT, "\ud800", "a\0b", "123456789"]),
    "length of a text": (lambda length: keys.text("a", length), [*NO_INTEGERS[:4], -1, 0, HUGE, True]),
    "pad": (lambda key: keys.pad(key, 8), [*NO_BYTES, b"123456789"]),
    "length of a pad": (lambda length: keys.pad(b"", length), [*NO_INTEGERS, -1, 0, HUGE]),
    "hashed": (keys.hashed, [5, None, bytearray(b"k"), [b"k"], STRIPPED]),
    "bytes of a hash": (lambda count: keys.hashed(b"k", count), [*NO_INTEGERS, 0, -1, 65, HUGE]),
    "unhashed": (keys.unhashed, NO_BYTES),
    "bytes of an unhash": (lambda count: keys.unhashed(b"key", count), [*NO_INTEGERS, -1]),
    "compose": (keys.compose, [*NO_BYTES, STRIPPED, np.array(b"k"), np.array([1])]),
    "decompose": (lambda key: keys.decompose(key, 1), [*NO_BYTES, b"", b"ab"]),
    "lengths of a decompose": (lambda length: keys.decompose(b"ab", length), [*NO_INTEGERS, -2, HUGE]),
    "several lengths of a decompose": (lambda length: keys.decompose(b"ab", 4, length), [-2]),
    "decode_u64": (keys.decode_u64, [*NO_BYTES, b"123456789"]),
    "decode_i64": (keys.decode_i64, [*NO_BYTES, b"123456789"]),
    "decode_uuid": (keys.decode_uuid, [*NO_BYTES, bytes(17)]),
    "decode_text": (keys.decode_text, [*NO_BYTES, b"\xff"]),
    "decode_timestamp": (keys.decode_timestamp, [*NO_BYTES, b"123456789"]),
    "parse_bound": (lambda bound: keys.parse_bound(bound, 8), [b"k", 5, None, "\ud800", "0xzz", "123456789"]),
    "format_bound": (keys.format_bound, NO_BYTES),
    "even_bounds": (lambda count: keys.even_bounds(count, 4), [*NO_INTEGERS, 0, -1, HUGE]),
    "RangeIndex": (keys.RangeIndex, ["k", b"k", 5, None, [None], ["k"], {b"k"}, {b"k": 1}, np.array(["k"])]),
    "key_length of a RangeIndex": (
        lambda length: keys.RangeIndex([b""], key_length=length), [*NO_INTEGERS[:4], True, -1, 0, 1025, HUGE],
    ),
    "find": (INDEX.find, [*NO_BYTES, b"12345"]),
    "find_many": (INDEX.find_many, ["k", b"k", 5, None, [None], {b"k"}, np.array(["k"])]),
    "threads": (lambda threads: INDEX.find_many([b"k"], threads=threads), [*NO_INTEGERS, 0, -1, HUGE]),
    "out": (lambda out: INDEX.find_many([b"k"], out), [5, "x", np.zeros(1), np.zeros(2, np.int64)]),
    "out of a group": (lambda out: INDEX.group([b"k"], out), [5, "x", (), (5, 5)]),
    "remove": (lambda remove: INDEX.apply(remove, []), [5, None, "k", b"k", ["k"], [None], {b""}]),
    "add": (lambda add: INDEX.apply([], add), [
        5, None, "k", ["k"], [5], [(b"z",)], [("z", b"", 0)], [(b"z", 5, 0)], [(b"z", b"", -1)], [(b"z", b"", HUGE)],
        [(b"z", b"", "x")], [(b"12345", b"", 0)],
    ]),
    "owners": (lambda owners: keys.RangeIndex([b""], owners=owners), [5, "x", [-1], [HUGE], [None], ["x"], [1.5]]),
}  # fmt: skip


@pytest.mark.parametrize(("call", "wrong"), CASES.values(), ids=CASES)
def test_refused(call: Callable[[Any], Any], wrong: list[Any]) -> None:
    for value in wrong:
        said: BaseException | None = None
        try:
            call(value)
        except Exception as error:
            said = error
        assert isinstance(said, errors.InvalidRequest | errors.WrongType), (value, said)


@pytest.mark.parametrize("position", [-1, 2, HUGE], ids=["below", "above", "huge"])
def test_a_position_that_is_none_is_an_index_error(position: int) -> None:
    with pytest.raises(IndexError, match="positions are 0 to 2"):
        INDEX.bounds(position)

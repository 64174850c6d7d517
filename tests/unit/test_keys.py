"""Encoders keep order and come back; bounds are text or hex."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import uuid

import numpy as np
import pytest

from dstk import keys
from dstk.errors import InvalidRange, InvalidRequest, KeyLengthError, WrongType

NUMBERS = [0, 1, 255, 256, 2**32, 2**63 - 1]


@pytest.mark.parametrize(
    ("encode", "decode", "values"),
    [
        (keys.u64, keys.decode_u64, [*NUMBERS, 2**63, 2**64 - 1]),
        (keys.i64, keys.decode_i64, [-(2**63), -(2**40), -1, *NUMBERS]),
        (keys.timestamp, keys.decode_timestamp_ns, [-(2**63), -1, *NUMBERS]),
        (keys.uuid, keys.decode_uuid, sorted(uuid.UUID(int=random.Random(1).getrandbits(128)) for _ in range(9))),
        (lambda value: keys.text(value, 8), keys.decode_text, ["", "a", "a b", "ab", "b", "é", "日本"]),
    ],
    ids=["u64", "i64", "timestamp", "uuid", "text"],
)
def test_keys_sort_as_their_values_and_decode_to_them(encode, decode, values):
    encoded = [encode(value) for value in values]
    assert encoded == sorted(encoded)
    assert len({len(key) for key in encoded}) == 1
    assert [decode(key) for key in encoded] == values


@pytest.mark.parametrize(
    ("encode", "decode", "dtype"), [(keys.u64, keys.decode_u64, np.uint64), (keys.i64, keys.decode_i64, np.int64)]
)
def test_arrays_encode_as_single_values_do(encode, decode, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = np.array([low, 0, 1, 256, high // 2, high], dtype)
    encoded = encode(values)
    assert encoded.dtype == np.dtype("S8")
    assert [keys.pad(key, 8) for key in encoded.tolist()] == [encode(int(value)) for value in values]
    np.testing.assert_array_equal(decode(encoded), values)
    np.testing.assert_array_equal(decode(encode(values[::2])), values[::2])


def test_moments_carry_their_zone():
    moment = dt.datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert keys.decode_timestamp(keys.timestamp(moment)) == moment
    assert keys.decode_timestamp_ns(keys.timestamp(moment)) % 10**9 == 123_456_000
    assert keys.timestamp(dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)) == keys.i64(-(10**9))
    array = np.array(["2026-05-01T10:30:15.123456"], "datetime64[us]")
    assert keys.timestamp(array).tolist() == [keys.timestamp(moment).rstrip(b"\0")]
    with pytest.raises(InvalidRequest, match="no time zone"):
        keys.timestamp(dt.datetime(2026, 5, 1))  # noqa: DTZ001
    with pytest.raises(InvalidRequest, match=r"1677\.\.2262"):
        keys.timestamp(np.array(["3000-01-01"], "datetime64[D]"))
    with pytest.raises(InvalidRequest, match="NaT"):
        keys.timestamp(np.array(["NaT"], "datetime64[s]"))


def test_composed_keys_sort_part_by_part_and_come_apart():
    rows = [("a", 2), ("a", 300), ("b", 1)]
    composed = [keys.compose(keys.text(name, 4), keys.u64(number)) for name, number in rows]
    assert composed == sorted(composed)
    name, number = keys.decompose(composed[1], 4, 8)
    assert (keys.decode_text(name), keys.decode_u64(number)) == ("a", 300)
    with pytest.raises(KeyLengthError, match="parts of"):
        keys.decompose(composed[0], 4, 9)


def test_arrays_compose_with_each_other_and_with_bytes():
    numbers = np.array([256, 1])
    composed = keys.compose(b"eu", keys.u64(numbers), keys.u64(numbers[::-1]))
    assert composed.dtype == np.dtype("S18")
    assert keys.pad(composed[1], 18) == b"eu" + keys.u64(1) + keys.u64(256)
    with pytest.raises(InvalidRequest, match="one length"):
        keys.compose(keys.u64(numbers), keys.u64(np.array([1])))


def test_hashing_spreads_what_is_close_together():
    spread = {keys.hashed(keys.u64(number), 1)[0] for number in range(2000)}
    assert len(spread) > 250
    assert keys.unhashed(keys.hashed(b"key", 3), 3) == b"key"


@pytest.mark.parametrize(
    ("bound", "key"),
    [
        ("", b""),
        ("a", b"a\0\0\0"),
        ("a b", b"a b\0"),
        ("0x61ff", b"a\xff\0\0"),
        ("0x3078", b"0x\0\0"),
        ("0x00", b"\0\0\0\0"),
        ("0x2061", b" a\0\0"),
        ("0x61006100", b"a\0a\0"),
    ],
)
def test_bounds_are_text_or_hex(bound, key):
    assert keys.parse_bound(bound, 4) == key
    assert keys.parse_bound(keys.format_bound(key), 4) == key
    assert len(keys.format_bound(key)) <= len(bound)


def test_a_bound_that_is_no_bound_says_why():
    for wrong in ["0x", "0x1", "0xzz", "0x61 62"]:
        with pytest.raises(InvalidRange, match="not hex"):
            keys.parse_bound(wrong, 4)
    with pytest.raises(KeyLengthError, match="key abcde is 5 bytes; at most 4 fit"):
        keys.parse_bound("abcde", 4)
    with pytest.raises(KeyLengthError, match="5 bytes"):
        keys.parse_bound("0x0102030405", 4)


@pytest.mark.parametrize("key_length", [1, 2, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 16, 100, 256])
def test_even_bounds_cover_the_key_space_in_equal_parts(count, key_length):
    bounds = keys.even_bounds(count, key_length)
    assert len(bounds) == count
    assert (bounds[0][0], bounds[-1][1]) == (b"", b"")
    assert [start for start, _ in bounds[1:]] == [end for _, end in bounds[:-1]]
    space = 256**key_length
    cuts = [int.from_bytes(start) for start, _ in bounds] + [space]
    sizes = [high - low for low, high in itertools.pairwise(cuts)]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(1, space // count // 2**15)


def test_too_many_even_ranges_are_refused():
    for count in [0, 257]:
        with pytest.raises(InvalidRange, match="choose 1 to 256"):
            keys.even_bounds(count, 1)
    with pytest.raises(KeyLengthError, match="1025"):
        keys.even_bounds(2, 1025)


def test_values_that_do_not_fit_are_refused():
    for encode, value in [
        (keys.u64, -1),
        (keys.u64, 2**64),
        (keys.i64, 2**63),
        (keys.uuid, "no"),
        (keys.decode_text, b"\xff"),
    ]:
        with pytest.raises(InvalidRequest):
            encode(value)
    with pytest.raises(InvalidRequest, match="below 0"):
        keys.u64(np.array([1, -1]))
    with pytest.raises(InvalidRequest, match="above"):
        keys.i64(np.array([2**63], np.uint64))
    with pytest.raises(WrongType, match="integers"):
        keys.u64(np.array([1.5]))
    with pytest.raises(KeyLengthError, match="6 bytes in UTF-8"):
        keys.text("日本", 5)
    with pytest.raises(InvalidRequest, match="NUL"):
        keys.text("a\0", 5)

"""RangeIndex as Python sees it: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dstk import keys
from dstk.errors import InvalidRange, InvalidRequest, KeyLengthError, WrongType
from dstk.keys import RangeIndex

STARTS, ENDS, OWNERS = [b"b", b"d", b"m\0"], [b"d", b"h", b""], [2, 0, 2]
PROBES = [b"z", b"e", b"a", b"b", b"d", b"h"]
POSITIONS = [2, 1, -1, 0, 1, -1]


@pytest.fixture
def index():
    return RangeIndex(STARTS, ENDS, OWNERS, key_length=4)


def as_array(rows, width):
    return np.array(rows, f"S{width}")


def as_bytes(rows, width):
    return np.frombuffer(b"".join(keys.pad(row, width) for row in rows), np.uint8).reshape(-1, width)


def in_records(rows, width):
    records = np.zeros(len(rows), [("before", "u1"), ("key", f"S{width}"), ("after", "u8")])
    records["key"] = rows
    return records["key"]


@pytest.mark.parametrize(
    "given",
    [
        PROBES,
        tuple(PROBES),
        iter(PROBES),
        as_array(PROBES, 4),
        as_array(PROBES, 1),
        as_bytes(PROBES, 4),
        as_bytes(PROBES, 2),
        in_records(PROBES, 4),
        as_array(PROBES[::-1], 4)[::-1],
        np.asfortranarray(as_bytes(PROBES, 4)),
        np.repeat(as_bytes(PROBES, 4), 2, axis=0)[::2],
    ],
    ids=["list", "tuple", "iterator", "S4", "S1", "u8x4", "u8x2", "record", "reversed", "fortran", "strided"],
)
def test_many_keys_come_in_many_forms(index, given):
    found = index.find_many(given)
    assert found.dtype == np.int64
    assert found.tolist() == POSITIONS


def test_one_key(index):
    assert [index.find(key) for key in PROBES] == POSITIONS
    assert [index.owner(key) for key in PROBES] == [2, 0, -1, 2, 0, -1]
    assert (len(index), index.key_length, index.owners) == (3, 4, 3)
    assert index.bounds(2) == (b"m\0\0\0", b"")
    with pytest.raises(IndexError, match="range 3 of 3"):
        index.bounds(3)


def test_trailing_zeros_that_numpy_drops_are_not_lost():
    starts = np.array([b"\0\0", b"a\0", b"a\1"])
    index = RangeIndex(starts)
    assert index.key_length == 2
    assert index.find_many(np.array([b"a\0", b"a\1", b"\0\0"])).tolist() == [1, 2, 0]
    assert index.find(b"a") == 1


def test_without_ends_ranges_touch_and_without_owners_each_has_its_own():
    index = RangeIndex(keys.u64(np.arange(0, 1000, 10)))
    numbers = np.arange(1000)
    np.testing.assert_array_equal(index.find_many(keys.u64(numbers)), numbers // 10)
    assert index.owner(keys.u64(995)) == 99


def test_results_go_where_they_are_wanted(index):
    out = np.zeros(len(PROBES), np.int64)
    assert index.find_many(PROBES, out) is out
    assert out.tolist() == POSITIONS
    with pytest.raises(InvalidRequest, match="5 places for 6 keys"):
        index.find_many(PROBES, np.zeros(5, np.int64))
    with pytest.raises(InvalidRequest, match="contiguous"):
        index.find_many(PROBES, np.zeros(12, np.int64)[::2])
    with pytest.raises(WrongType, match="int64"):
        index.find_many(PROBES, np.zeros(6, np.int32))
    out.flags.writeable = False
    with pytest.raises(InvalidRequest, match="cannot be written"):
        index.find_many(PROBES, out)


def test_groups_by_owner_in_the_order_given_gaps_last(index):
    order, offsets = index.group(PROBES)
    assert offsets.tolist() == [0, 2, 2, 4, 6]
    assert order.tolist() == [1, 4, 0, 3, 2, 5]


def test_a_delta_makes_a_version_and_leaves_the_old_one(index):
    split = index.apply([b"d"], [(b"d", b"f", 0), (b"f", b"h", 5)])
    assert (len(split), split.owner(b"g"), split.owners) == (4, 5, 6)
    assert (len(index), index.owner(b"g")) == (3, 0)
    merged = split.apply([b"d", b"f", b"m"], [(b"d", None, 1)])
    assert (len(merged), merged.owner(b"z"), merged.owner(b"h")) == (2, 1, 1)
    for remove, add, why in [
        ([b"e"], [], "no range starts at e"),
        ([], [(b"a", b"c", 0)], r"\[a, c\) and \[b, d\) overlap"),
        ([], [(b"i", b"i", 0)], "start has to be below end"),
    ]:
        with pytest.raises(InvalidRange, match=why):
            index.apply(remove, add)


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (([b"b", b"a"],), InvalidRange, "start 1 .a. is not above"),
        (([b"a", b"a"],), InvalidRange, "start 1 .a. is not above"),
        (([b"a", b"c"], [b"d", b"e"]), InvalidRange, "overlap"),
        (([b"a"], [b"b", b"c"]), InvalidRequest, "1 starts but 2 ends"),
        (([b"a"], None, [1, 2]), InvalidRequest, "1 starts but 2 owners"),
        (([b"a"], None, [-1]), InvalidRequest, "owner -1"),
        (([b"a"], None, [2**24]), InvalidRequest, "owner 16777216 is above"),
        (([],), KeyLengthError, "key length 0"),
        (([b"a" * 1025],), KeyLengthError, "key length 1025"),
        (("a",), WrongType, "starts is one str"),
        ((["a"],), WrongType, "a key is bytes, not str"),
        ((np.array(["a"]),), WrongType, "dtype"),
        ((7,), WrongType, "starts is a int"),
    ],
)
def test_wrong_ranges_say_what_is_wrong(arguments, error, why):
    with pytest.raises(error, match=why) as caught:
        RangeIndex(*arguments)
    assert caught.value.exit_code == 2


def test_keys_that_are_too_long_are_refused(index):
    with pytest.raises(KeyLengthError, match="key abcde is 5 bytes; the keys here take 4"):
        index.find(b"abcde")
    with pytest.raises(KeyLengthError, match=r"keys\[1\]: key abcde"):
        index.find_many([b"a", b"abcde"])
    with pytest.raises(KeyLengthError, match="keys are 5 bytes wide"):
        index.group(as_array(PROBES, 5))
    with pytest.raises(WrongType, match="not str"):
        index.find("a")


def test_readers_in_threads_see_one_version_each():
    bounds = keys.u64(np.arange(0, 4096))
    index = RangeIndex(bounds, owners=np.zeros(4096, np.int64))
    probes = keys.u64(np.random.default_rng(3).integers(0, 4096, 50_000))
    expected = index.find_many(probes)
    right = []

    def read(snapshot):
        right.extend(np.array_equal(snapshot.find_many(probes), expected) for _ in range(20))

    readers = [threading.Thread(target=read, args=(index,)) for _ in range(3)]
    for reader in readers:
        reader.start()
    version = index
    for number in range(0, 4000, 2):
        one, two, three = (keys.u64(number + step) for step in range(3))
        version = version.apply([one, two], [(one, three, 1)])
    for reader in readers:
        reader.join()
    assert right == [True] * 60
    assert len(version) == 4096 - 2000

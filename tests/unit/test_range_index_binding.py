"""RangeIndex as Python sees it: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from arrow_capsules import arrow_capsules, released

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


class ArrowKeys:
    """What an Arrow library hands over, made by hand: two capsules of the C data interface."""

    def __init__(self, rows, width, *, offset=0, nulls=0, format_=None):
        self.arguments = rows, width, offset, nulls, format_ or f"w:{width}"

    def __arrow_c_array__(self, requested_schema=None):
        rows, width, offset, nulls, format_ = self.arguments
        return arrow_capsules(b"".join(row.ljust(width, b"\0") for row in rows), len(rows), offset, nulls, format_)


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
        as_bytes(PROBES[::-1], 4)[::-1],
        as_bytes([row.ljust(4, b"\0")[::-1] for row in PROBES], 4)[:, ::-1],
        np.broadcast_to(as_bytes(PROBES, 4), (1, 6, 4))[0],
        as_array(PROBES, 4).view("V4"),
        bytearray(as_bytes(PROBES, 4).tobytes()),
        memoryview(as_bytes(PROBES, 4).tobytes()),
        memoryview(as_bytes(PROBES, 4)),
        memoryview(np.asfortranarray(as_bytes(PROBES, 4))),
        ArrowKeys(PROBES, 4),
        ArrowKeys([b"zzzz", *PROBES], 4, offset=1),
    ],
    ids=[
        "list",
        "tuple",
        "iterator",
        "S4",
        "S1",
        "u8x4",
        "u8x2",
        "record",
        "reversed",
        "fortran",
        "strided",
        "rows reversed",
        "bytes reversed",
        "broadcast",
        "V4",
        "bytearray",
        "memoryview",
        "memoryview 2d",
        "memoryview fortran",
        "arrow",
        "arrow slice",
    ],
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
    with pytest.raises(InvalidRequest, match="out has 5 places; give it 6"):
        index.find_many(PROBES, np.zeros(5, np.int64))
    with pytest.raises(InvalidRequest, match="contiguous"):
        index.find_many(PROBES, np.zeros(12, np.int64)[::2])
    with pytest.raises(WrongType, match="int64"):
        index.find_many(PROBES, np.zeros(6, np.int32))
    out.flags.writeable = False
    with pytest.raises(InvalidRequest, match="cannot be written"):
        index.find_many(PROBES, out)


def test_results_do_not_go_where_the_keys_are(index):
    numbers = np.arange(8, dtype=np.uint64)
    by_number = RangeIndex(numbers)
    with pytest.raises(InvalidRequest, match="lies in the memory of keys"):
        by_number.find_many(numbers, numbers.view(np.int64))
    with pytest.raises(InvalidRequest, match="lies in the memory of keys"):
        by_number.group(numbers, (numbers.view(np.int64), np.zeros(10, np.int64)))


def test_numbers_are_keys_of_the_same_order():
    starts = np.array([0, 10, 2**63, 2**64 - 1], np.uint64)
    numbers = np.array([0, 9, 10, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1], np.uint64)
    index = RangeIndex(starts)
    assert index.key_length == 8
    assert index.find_many(numbers).tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert index.find_many(numbers.astype(">u8")).tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert index.find_many(numbers[::-1]).tolist() == [3, 2, 2, 1, 1, 0, 0]
    assert index.find(keys.u64(10)) == 1
    with pytest.raises(WrongType, match=r"signed integers sort otherwise.*dstk\.keys\.i64"):
        index.find_many(np.array([1, 2]))
    wider = RangeIndex([b"", keys.u64(7)], key_length=12)
    assert wider.find_many(np.array([6, 7], np.uint64)).tolist() == [0, 1]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 40_000, 100_001])
@pytest.mark.parametrize("form", ["S", "u8", "u64", "fortran", "list"])
def test_threads_and_out_change_nothing_but_the_speed(count, form):
    random = np.random.default_rng(count)
    starts = np.unique(random.integers(0, 2**64, 3_000, dtype=np.uint64))
    index = RangeIndex(starts, owners=np.arange(len(starts)) % 7)
    numbers = random.integers(0, 2**64, count, dtype=np.uint64)
    rows = numbers.astype(">u8").view(np.uint8).reshape(count, 8)
    given = {
        "S": rows.copy().view("S8").ravel() if count else np.zeros(0, "S8"),
        "u8": rows,
        "u64": numbers,
        "fortran": np.asfortranarray(rows),
        "list": [row.tobytes() for row in rows],
    }[form]
    expected = np.searchsorted(starts, numbers, side="right") - 1
    owners = np.where(expected < 0, 7, expected % 7)
    order, offsets = np.argsort(owners, kind="stable"), np.cumsum([0, *np.bincount(owners, minlength=8)])
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(index.find_many(given, threads=threads), expected)
        found = index.group(given, threads=threads)
        np.testing.assert_array_equal(found[0], order)
        np.testing.assert_array_equal(found[1], offsets)
        out = np.full(count, -9), np.full(9, -9)
        assert index.group(given, out, threads=threads)[0] is out[0]
        np.testing.assert_array_equal(out[0], order)
        np.testing.assert_array_equal(out[1], offsets)
    with pytest.raises(InvalidRequest, match="threads is 0"):
        index.find_many(given, threads=0)


def test_arrow_memory_is_given_back(index):
    released.clear()
    index.find_many(ArrowKeys(PROBES, 4))
    assert sorted(released) == ["array", "schema"]
    released.clear()
    with pytest.raises(WrongType):
        index.find_many(ArrowKeys(PROBES, 4, nulls=1))
    assert sorted(released) == ["array", "schema"]


def test_what_is_no_batch_of_keys_is_refused(index):
    for given, error, why in [
        (bytearray(b"abcde"), KeyLengthError, "keys has 5 bytes; the keys here take 4 each"),
        (b"abcd", WrongType, "a memoryview of it is cut into keys"),
        (np.zeros((2, 2, 2), np.uint8), WrongType, "3 dimensions"),
        (np.zeros(3, np.float64), WrongType, "dtype float64"),
        (np.zeros(3, np.uint32), WrongType, "dtype uint32"),
        (ArrowKeys([b"a"], 4, nulls=1), WrongType, "may have nulls"),
        (ArrowKeys([b"a"], 4, format_="z"), WrongType, 'format "z"'),
        (ArrowKeys([b"a"], 5), KeyLengthError, "5 bytes wide"),
        (memoryview(np.zeros(4, np.float32)), WrongType, "a key is bytes"),
        (object(), WrongType, "keys is a object"),
    ]:
        for look_up in (index.find_many, index.group):
            with pytest.raises(error, match=why):
                look_up(given)


def test_owners_of_packed_records_are_read_where_they_are():
    packed = np.array([(b"a", 0), (b"b", 1), (b"c", 0)], [("key", "S1"), ("owner", "i8")])
    index = RangeIndex(packed["key"], None, packed["owner"])
    assert [index.owner(key) for key in (b"a", b"b", b"c")] == [0, 1, 0]
    reversed_owners = RangeIndex([b"a", b"b"], None, np.array([3, 4])[::-1])
    assert [reversed_owners.owner(key) for key in (b"a", b"b")] == [4, 3]


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 0), np.uint8),
        np.zeros((3, 5), np.uint8)[:, :0],
        np.zeros((3, 5), np.uint8)[::-1, 4:4:2],
        np.zeros(3, [("nothing", "V0"), ("rest", "i4")])["nothing"],
        np.zeros(3, "S0"),
        [b"", b"", b""],
    ],
    ids=["no columns", "sliced away", "reversed", "V0", "S0", "list"],
)
def test_keys_of_no_bytes_are_keys_of_zeros(given):
    for start, position in ((b"a", -1), (b"", 0)):
        index = RangeIndex([start], key_length=4)
        assert index.find_many(given).tolist() == [position] * 3
        assert index.find_many(given, np.full(3, 99)).tolist() == [position] * 3
        assert index.group(given)[1].tolist() == ([0, 0, 3] if position < 0 else [0, 3, 3])
    assert len(RangeIndex(given[:1], key_length=4)) == 1


def test_an_array_of_objects_is_an_iterable(index):
    assert index.find_many(np.array(PROBES, object)).tolist() == POSITIONS


@pytest.mark.parametrize("key_length", [0, 1025, 2**44, 2**63])
@pytest.mark.parametrize("starts", [[b"a"], bytearray(b"a"), bytearray()])
def test_a_key_length_is_checked_before_it_is_used(starts, key_length):
    with pytest.raises(KeyLengthError, match=f"key length {key_length}"):
        RangeIndex(starts, key_length=key_length)


def test_two_results_do_not_go_to_one_place(index):
    memory = bytearray(8 * len(PROBES))
    order, offsets = np.frombuffer(memory, np.int64), np.frombuffer(memory, np.int64, 5)
    with pytest.raises(InvalidRequest, match=r"out\[1\] lies in the memory of out\[0\]"):
        index.group(PROBES, (order, offsets))
    unaligned = np.frombuffer(bytearray(8 * len(PROBES) + 1), np.uint8, offset=1).view(np.int64)
    with pytest.raises(InvalidRequest, match="out cannot be written"):
        index.find_many(PROBES, unaligned)


def test_more_results_than_there_is_memory_for_are_a_memory_error(index):
    endless = np.broadcast_to(np.array([b"a"]), (2**57,))
    with pytest.raises(MemoryError):
        index.find_many(endless)
    with pytest.raises(MemoryError):
        index.group(endless)
    with pytest.raises(InvalidRequest, match="owner 4294967295 is above"):
        RangeIndex(endless, key_length=8)


def test_owners_that_are_none_are_refused(index):
    with pytest.raises(InvalidRequest, match="owner -1"):
        index.apply([b"b"], [(b"b", b"d", -1)])
    with pytest.raises(InvalidRequest, match="owner 1099511627776"):
        index.apply([b"b"], [(b"b", b"d", 2**40)])
    with pytest.raises(WrongType, match="owners is a int"):
        RangeIndex([b"a"], None, 5)


class Handed:
    """What gives the same thing each time it is asked for capsules."""

    def __init__(self, given):
        self.given = given

    def __arrow_c_array__(self, requested_schema=None):
        return self.given


def test_arrow_memory_is_handed_over_once(index):
    given = Handed(ArrowKeys(PROBES, 4).__arrow_c_array__())
    assert index.find_many(given).tolist() == POSITIONS
    with pytest.raises(WrongType, match="handed over once"):
        index.find_many(given)
    for wrong in (5, (5,), (5, 6)):
        with pytest.raises(WrongType, match="not two capsules"):
            index.find_many(Handed(wrong))


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

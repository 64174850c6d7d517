"""RoutingTable as Python sees it: the overlay of partitions by epoch."""

from __future__ import annotations

import pytest

from dstk._core import RoutingTable
from dstk.errors import InvalidRange, KeyLengthError


def test_a_split_takes_over_from_its_parent_and_outlives_it():
    table = RoutingTable(2)
    assert table.apply(b"a", b"o", "part", 1, "pod1")
    assert table.apply(b"a", b"e", "left", 2, "pod1")
    assert table.entries() == [(b"a\0", b"e\0", "left", 2, "pod1"), (b"e\0", b"o\0", "part", 1, "pod1")]
    assert table.apply(b"e", b"o", "right", 2, "pod2")
    assert table.lookup(b"g") == (b"e\0", b"o\0", "right", 2, "pod2")
    assert not table.withdraw("part", 1)
    assert table.lookup(b"o") is None


def test_a_stale_route_changes_nothing():
    table = RoutingTable(2)
    table.apply(b"", None, "part", 7, "pod2")
    version = table.version
    assert not table.apply(b"", None, "part", 6, "pod1")
    assert not table.apply(b"", b"", "part", 7, "pod2")
    assert not table.withdraw("part", 6)
    assert table.version == version
    assert table.withdraw("part", 7)
    assert len(table) == 0


def test_in_one_epoch_the_route_that_shows_stays():
    table = RoutingTable(2)
    table.apply(b"b", b"d", "part", 1, "pod1")
    assert table.apply(b"a", b"e", "other", 1, "pod2")
    assert [(start, part) for start, _, part, _, _ in table.entries()] == [
        (b"a\0", "other"),
        (b"b\0", "part"),
        (b"d\0", "other"),
    ]
    assert len(table.entries_of("other")) == 2
    assert [route[2] for route in table.overlapping(b"c", b"e")] == ["part", "other"]


def test_a_full_list_replaces_whatever_was_there():
    table, other = RoutingTable(2), RoutingTable(2)
    table.apply(b"a", b"c", "gone", 9)
    other.apply(b"", None, "part", 1, "pod1")
    other.apply(b"k", b"m", "child", 2, "pod2")
    assert table.replace_all(other.entries())
    assert table.entries() == other.entries()
    assert not table.replace_all(other.entries()[::-1])


def test_changes_bring_an_older_table_up_to_date():
    table = RoutingTable(2)
    table.apply(b"", None, "part", 1, "pod1")
    table.set_worker("pod1", "127.0.0.1:1")
    older = table.snapshot()
    table.apply(b"k", None, "child", 2, "pod2")
    table.set_worker("pod2", "127.0.0.1:2")
    table.remove_worker("pod1")
    withdrawn, routes, addresses = table.changes_since(older)
    assert older.entries() == [(b"\0\0", b"", "part", 1, "pod1")]
    for partition, epoch in withdrawn:
        older.withdraw(partition, epoch)
    for route in routes:
        older.apply(*route)
    assert older.entries() == table.entries()
    assert addresses == {"pod1": "", "pod2": "127.0.0.1:2"}
    assert table.addresses() == {"pod2": "127.0.0.1:2"}
    assert table.address("pod1") is None


def test_wrong_routes_say_what_is_wrong():
    table = RoutingTable(2)
    with pytest.raises(InvalidRange, match=r"range \[b, a\) is empty"):
        table.apply(b"b", b"a", "part", 1)
    with pytest.raises(KeyLengthError, match="3 bytes"):
        table.apply(b"abc", None, "part", 1)
    with pytest.raises(KeyLengthError, match="3 bytes"):
        table.lookup(b"abc")
    with pytest.raises(KeyLengthError, match="key length 0"):
        RoutingTable(0)

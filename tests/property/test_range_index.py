"""RangeIndex against a list that is looked through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dstk.errors import InvalidRange
from dstk.keys import RangeIndex, pad

LENGTH = 3
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Few bytes, zeros among them: bounds share heads, touch and end in what numpy drops.
short_keys = st.lists(st.sampled_from([0, 1, 97, 255]), max_size=LENGTH).map(bytes)
Ranges = list[tuple[bytes, bytes, int]]


def holds(start, end, key):
    return start <= key and (not end or key < end)


def overlap(one, other):
    return (not other[1] or one[0] < other[1]) and (not one[1] or other[0] < one[1])


def naive_find(ranges: Ranges, key: bytes) -> int:
    return next((place for place, (start, end, _) in enumerate(ranges) if holds(start, end, pad(key, LENGTH))), -1)


@st.composite
def range_lists(draw) -> Ranges:
    cuts = sorted({pad(key, LENGTH) for key in draw(st.lists(short_keys, max_size=30))})
    ends = [*cuts[1:], b""]
    kept = [pair for pair in zip(cuts, ends, strict=False) if draw(st.booleans())]
    return [(start, end, draw(st.integers(0, 6))) for start, end in kept]


def index_of(ranges: Ranges) -> RangeIndex:
    starts, ends, owners = ([item[column] for item in ranges] for column in range(3))
    return RangeIndex(starts, ends, owners, key_length=LENGTH)


@UNTIMED
@given(range_lists(), st.lists(short_keys, max_size=400))
def test_every_way_to_look_up_gives_what_a_scan_gives(ranges, probes):
    index = index_of(ranges)
    expected = [naive_find(ranges, key) for key in probes]
    flat = np.array([list(pad(key, LENGTH)) for key in probes], np.uint8).reshape(-1, LENGTH)
    assert [index.find(key) for key in probes] == expected
    assert index.find_many(probes).tolist() == expected
    assert index.find_many(np.array(probes, f"S{LENGTH}")).tolist() == expected
    assert index.find_many(flat).tolist() == expected
    assert index.find_many(flat[::-1]).tolist() == expected[::-1]


@UNTIMED
@given(range_lists(), st.lists(short_keys, max_size=400))
def test_groups_are_a_stable_sort_by_owner(ranges, probes):
    index = index_of(ranges)
    owners = [ranges[place][2] if place >= 0 else index.owners for place in (naive_find(ranges, key) for key in probes)]
    order, offsets = index.group(probes)
    assert order.tolist() == sorted(range(len(probes)), key=owners.__getitem__)
    assert np.diff(offsets).tolist() == [owners.count(owner) for owner in range(index.owners + 1)]


class Versions(RuleBasedStateMachine):
    """Deltas, good and bad; every version ever made keeps giving what it gave."""

    @initialize(ranges=range_lists())
    def start(self, ranges):
        self.ranges = ranges
        self.index = index_of(ranges)
        self.older = []

    @rule(data=st.data(), added=st.lists(st.tuples(short_keys, short_keys, st.integers(0, 9)), max_size=3))
    def apply(self, data, added):
        starts = [start for start, _, _ in self.ranges]
        removed = data.draw(st.lists(st.sampled_from(starts), unique=True, max_size=4)) if starts else []
        added = [(pad(start, LENGTH), pad(end, LENGTH) if end else b"", owner) for start, end, owner in added]
        kept = [item for item in self.ranges if item[0] not in removed]
        after = sorted(kept + added)
        empty = any(end and start >= end for start, end, _ in added)
        clash = any(overlap(one, other) for place, one in enumerate(after) for other in after[:place])
        try:
            version = self.index.apply(removed, added)
        except InvalidRange:
            assert empty or clash
            return
        assert not empty
        assert not clash
        self.older.append((self.index, self.ranges))
        self.index, self.ranges = version, after

    @rule(start=short_keys)
    def remove_what_is_not_there(self, start):
        start = pad(start, LENGTH)
        if all(start != item[0] for item in self.ranges):
            with pytest.raises(InvalidRange, match="no range starts at"):
                self.index.apply([start], [])

    @invariant()
    def all_versions_hold(self):
        for index, ranges in [*self.older, (self.index, self.ranges)]:
            found = [(*index.bounds(place), index.owner(index.bounds(place)[0])) for place in range(len(index))]
            assert found == ranges


TestVersions = Versions.TestCase
TestVersions.settings = UNTIMED

"""What is asked of a Keyspace that is there: changed, refused, or left as it is, and never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from dstk.errors import ConfigError
from dstk.local.keyspace import changes, new_keyspace

CUT = {"conditions": [{"type": "Cut", "status": "True"}]}


def existing(status: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {
        "keyLength": 16,
        "durability": "Memory",
        "failover": "Confirmed",
        "partitions": {"initial": 16},
        "policy": {"mode": "Auto", "maxRows": 100},
        "workers": {"selector": {"matchLabels": {"app": "kv", "zone": "a"}}},
        "proxySeconds": 60,
    }
    return {"metadata": {"name": "default"}, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("spec", "patch"),
    [
        ({}, {}),
        ({"keyLength": 16, "durability": "Memory", "partitions": {"initial": 16}}, {}),
        ({"proxySeconds": 1}, {"proxySeconds": 1}),
        ({"policy": {"mode": "Off", "maxRows": 100}}, {"policy": {"mode": "Off"}}),
        ({"onLoss": "Hold"}, {"onLoss": "Hold"}),
        (
            {"workers": {"selector": {"matchLabels": {"app": "other"}}}},
            {"workers": {"selector": {"matchLabels": {"app": "other", "zone": None}}}},
        ),
    ],
)
def test_what_can_change_is_changed_and_nothing_else(spec: dict[str, Any], patch: dict[str, Any]) -> None:
    found = changes(existing(CUT), {"metadata": {"name": "default"}, "spec": spec})
    assert found == ({"spec": patch} if patch else {})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"keyLength": 8}, "keyLength 16, which cannot become 8"),
        ({"durability": "Disk"}, "durability Memory, which cannot become Disk"),
        ({"failover": "Lease"}, "failover Confirmed, which cannot become Lease"),
        ({"partitions": {"initial": 4}}, "is cut, by partitions.initial 16, not by partitions.initial 4"),
        ({"partitions": {"bounds": ["k"]}}, r"is cut, by partitions.initial 16, not by partitions.bounds \['k'\]"),
    ],
)
def test_what_cannot_is_refused_with_what_is_there(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        changes(existing(CUT), {"metadata": {"name": "default"}, "spec": spec})


def test_a_keyspace_that_is_not_cut_yet_can_be_cut_otherwise() -> None:
    patch = changes(existing(), {"spec": {"partitions": {"initial": 4}}})
    assert patch == {"spec": {"partitions": {"initial": 4}}}


def test_even_cuts_and_bounds_take_the_place_of_each_other_before_the_cut() -> None:
    patch = changes(existing(), {"spec": {"partitions": {"bounds": ["k"]}}})
    assert patch == {"spec": {"partitions": {"initial": None, "bounds": ["k"]}}}


def test_a_keyspace_that_says_nothing_of_its_cut_was_cut_into_16() -> None:
    silent = existing(CUT)
    silent["spec"]["partitions"] = {}
    assert changes(silent, {"spec": {"partitions": {"initial": 16}}}) == {}
    with pytest.raises(ConfigError, match=r"by partitions\.initial 16, not by partitions\.initial 4"):
        changes(silent, {"spec": {"partitions": {"initial": 4}}})
    bounded = existing(CUT)
    bounded["spec"]["partitions"] = {"bounds": ["k"]}
    assert changes(bounded, {"spec": {"partitions": {"bounds": ["k"]}}}) == {}
    with pytest.raises(ConfigError, match=r"by partitions\.bounds \['k'\], not by partitions\.initial 16"):
        changes(bounded, {"spec": {"partitions": {"initial": 16}}})


def test_a_new_one_has_keys_of_16_bytes_unless_others_are_asked_for() -> None:
    assert new_keyspace({"metadata": {"name": "a"}, "spec": {}})["spec"] == {"keyLength": 16}
    assert new_keyspace({"metadata": {"name": "a"}, "spec": {"keyLength": 8}})["spec"] == {"keyLength": 8}

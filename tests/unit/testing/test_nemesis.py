"""The schedule of faults: drawn from a seed, bounded, and without what a keyspace does not survive."""

import pytest

from dstk.errors import ConfigError
from dstk.testing.nemesis import KINDS, kinds_for, schedule


def test_the_same_seed_strikes_alike() -> None:
    kinds = kinds_for("Disk")
    assert schedule(7, 60, kinds) == schedule(7, 60, kinds)
    assert schedule(7, 60, kinds) != schedule(8, 60, kinds)


@pytest.mark.parametrize("seed", range(20))
def test_every_strike_ends_within_the_time(seed: int) -> None:
    strikes = schedule(seed, 60, kinds_for("Disk"))
    assert strikes
    assert all(0 <= strike.at <= strike.end <= 60 for strike in strikes)
    assert strikes == sorted(strikes, key=lambda strike: strike.at)


def test_every_kind_has_its_turn() -> None:
    strikes = schedule(1, 120, list(KINDS))
    assert {strike.kind for strike in strikes} == set(KINDS)


def test_a_paused_operator_loses_its_lease() -> None:
    strikes = schedule(1, 600, ["operator-pause"], lease_seconds=4.0)
    assert strikes
    assert min(strike.seconds for strike in strikes) > 4.0


def test_memory_keyspaces_do_not_lose_workers() -> None:
    assert "worker-kill" in kinds_for("Disk")
    assert not {"worker-kill", "disk-full"} & set(kinds_for("Memory"))
    with pytest.raises(ConfigError, match="'worker-kill'"):
        kinds_for("Memory", ["worker-kill"])
    with pytest.raises(ConfigError, match="'flood'"):
        kinds_for("Disk", ["flood"])


def test_no_kinds_no_strikes() -> None:
    assert schedule(1, 60, []) == []

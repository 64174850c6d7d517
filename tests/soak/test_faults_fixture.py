"""What users import to see their own service live through faults."""

from __future__ import annotations

import contextlib

import pytest

import dstk
from dstk.testing.fixtures import FaultyCluster, dstk_faults

__all__ = ["dstk_faults"]


def test_a_counter_lives_through_faults(dstk_faults: FaultyCluster) -> None:
    """The service under test: a counter that is incremented by compare and set. Each increment is counted once."""
    key = dstk.keys.text("counter", 16)
    counted = 0
    with dstk_faults.connect() as client:
        with dstk_faults.striking(seconds=8, seed=3, kinds=["worker-pause", "cut-client", "cut-workers"]):
            client.put(key, b"0")
            while counted < 200:
                row = client.get(key)
                assert row is not None
                with contextlib.suppress(dstk.errors.OutcomeUnknown):  # what is there tells
                    client.put(key, str(counted + 1).encode(), row.version)
                latest = client.get(key)
                assert latest is not None
                counted = int(latest.value)
        row = client.get(key)
        assert row is not None
        assert int(row.value) == counted
    assert dstk_faults.result["faults"]
    assert dstk_faults.result["acked_writes"] > 0
    assert dstk_faults.result["passed"]
    with pytest.raises(AssertionError, match="one trial"), dstk_faults.striking(seconds=1):
        pass

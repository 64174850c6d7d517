"""The examples do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

from dstk.testing.fixtures import Cluster, dstk_cluster, dstk_session_cluster

__all__ = ["dstk_cluster", "dstk_session_cluster"]

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


async def test_counters_count_every_increment(dstk_cluster: Cluster) -> None:
    example = runpy.run_path(str(EXAMPLES / "counters.py"))
    assert await example["main"](",".join(dstk_cluster.addresses), increments=200, tasks=10) == 200

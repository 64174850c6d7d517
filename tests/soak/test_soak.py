"""The soak as users run it, for as long as CI allows: every fault but those that lose Memory rows by design."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from dstk.testing.nemesis import kinds_for
from dstk.testing.soak import SoakSettings, faulty_cluster, trying


async def test_nothing_is_lost_while_faults_strike(tmp_path: Path) -> None:
    command = ["-m", "dstk.testing.soak", "--seconds", "20", "--seed", "20", "--dir", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    result = json.loads(out.decode().splitlines()[-1])
    assert process.returncode == 0, result
    assert result["lost_writes"] == result["violations"] == result["unserved_partitions"] == result["undecided"] == 0
    assert result["acked_writes"] > 1000
    assert result["judged"] > 1000
    assert result["observations"] > 20
    assert result["faults"]
    assert set(result["faults"]) <= set(kinds_for("Memory"))
    assert result["assignments"]["Completed"] > 8  # as many as place the first partitions
    assert result["seed"] == 20


async def test_rows_that_are_lost_are_found(tmp_path: Path) -> None:
    """A killed worker loses what it held in memory, by design: here nobody has allowed for it."""
    settings = SoakSettings(seconds=3, seed=1, kinds=("cut-client",))
    async with faulty_cluster(tmp_path, settings) as target, trying(settings, target, print) as trial:
        strikes = asyncio.create_task(trial.strike())
        await asyncio.sleep(1)  # in the middle of the trial
        target.cluster.kill_worker("worker-1")
        await strikes
        result = await trial.finish()
    assert not result["passed"]
    assert result["lost_writes"] > 0
    assert result["violations"] > 0
    assert result["not_healed"] == 1  # the worker that has ended
    assert result["unserved_partitions"] == 0

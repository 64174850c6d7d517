"""The two loops of kills, as short as they can be: what they count, and that nothing is lost."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dstk.testing.operator_kills import LEADER_FAULTS


async def run(module: str, *arguments: str) -> tuple[int | None, dict[str, Any]]:
    """Exit code and last line of a command of dstk.testing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"dstk.testing.{module}", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, json.loads(out.decode().splitlines()[-1])


async def test_acknowledged_writes_survive_killed_workers(tmp_path: Path) -> None:
    code, result = await run("kill_loop", "--kills", "12", "--dir", str(tmp_path))
    assert code == 0, result
    assert result["kills"] >= 12
    assert result["acked_writes"] > 3 * 400  # more than the rows that were there at first
    assert result["lost_writes"] == result["wrong_reads"] == result["unread"] == 0


@pytest.mark.parametrize("fault", LEADER_FAULTS)
async def test_operations_end_right_though_their_operators_are_struck(fault: str, tmp_path: Path) -> None:
    command = ["operator_kills", "--operations", "12", "--seed", "2", "--faults", fault, "--dir", str(tmp_path)]
    code, result = await run(*command)
    assert code == 0, result
    assert result["operations"] >= 12
    assert result["faults"].keys() == {fault}
    assert result["wrong"] == result["lost_writes"] == result["violations"] == result["failed_requests"] == 0
    assert sum(result["phases"].values()) >= result["operations"] + result["undisturbed"]

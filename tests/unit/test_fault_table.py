"""Fault points: every action has its own, and what is armed strikes once, there, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dstk import _core, faults
from dstk.control import commands
from dstk.errors import ConfigError, OutcomeUnknown, Unavailable
from dstk.lifecycle import actions


@pytest.fixture
def armed(tmp_path: Path) -> faults.Armed:
    return faults.Armed(tmp_path / "faults")


def named(kind: type) -> str:
    return actions.name_of(kind.__new__(kind))


def test_every_action_and_every_command_has_its_points() -> None:
    told = {commands.name_of(each) for each in commands.COMMANDS}
    nothing = (actions.Tell, actions.Wait, actions.Parallel)
    writes = {named(each) for each in get_args(actions.Action) if each not in nothing}
    assert set(faults.COMMANDS) == told
    assert set(faults.WRITES) == writes
    by_operator = {f"operator.{when}-{name}" for name in told | writes for when in ("before", "after")}
    by_worker = {f"worker.{when}-{name}" for name in told for when in ("before", "after")}
    assert set(faults.POINTS) == by_operator | by_worker | set(faults.NODE_POINTS)


def test_the_points_of_the_node_are_those_that_it_has() -> None:
    assert _core.fault_points() == faults.NODE_POINTS


def test_every_point_is_described_by_a_sentence_of_its_own() -> None:
    assert len(set(faults.POINTS.values())) == len(faults.POINTS)
    assert all(said.endswith(".") for said in faults.POINTS.values())


async def test_nothing_is_armed_unless_somebody_asks_for_it() -> None:
    assert faults.armed is None
    await faults.reach("operator.before-commit")


async def test_before_a_deed_it_has_not_been_done_and_after_it_nobody_knows(armed: faults.Armed) -> None:
    armed.arm("operator.before-commit", "fail")
    armed.arm("operator.after-commit", "fail")
    with pytest.raises(Unavailable):
        await armed.reach("operator.before-commit")
    assert armed.is_armed
    with pytest.raises(OutcomeUnknown):
        await armed.reach("operator.after-commit")
    assert not armed.is_armed
    await armed.reach("operator.before-commit")


async def test_what_fails_always_fails_until_it_is_disarmed(armed: faults.Armed) -> None:
    armed.arm("worker.before-fence", "fail:always")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await armed.reach("worker.before-fence")
    armed.disarm("worker.before-fence")
    await armed.reach("worker.before-fence")


async def test_a_fault_of_one_subject_strikes_nothing_else(armed: faults.Armed) -> None:
    armed.arm("worker.before-fence", "fail", "p1")
    await armed.reach("worker.before-fence", "p2")
    assert armed.is_armed
    with pytest.raises(Unavailable, match="p1"):
        await armed.reach("worker.before-fence", "p1")


async def test_what_is_held_goes_on_once_it_is_released(armed: faults.Armed) -> None:
    armed.arm("worker.before-fence", "hold", "p1")
    held = asyncio.create_task(armed.reach("worker.before-fence", "p1"))
    while not armed.is_held("worker.before-fence", "p1"):
        await asyncio.sleep(0)
    assert not armed.is_armed
    await asyncio.sleep(0.05)
    assert not held.done()
    armed.release("worker.before-fence", "p1")
    await held


async def test_a_thread_is_held_and_goes_on_as_a_task_does(armed: faults.Armed) -> None:
    armed.arm("node.after-log-write", "hold", "w1")
    held = asyncio.create_task(asyncio.to_thread(armed.reach_blocking, "node.after-log-write", "w1"))
    while not armed.is_held("node.after-log-write", "w1"):
        await asyncio.sleep(0)
    armed.release("node.after-log-write", "w1")
    await held
    armed.arm("node.after-log-write", "fail", "w1")
    with pytest.raises(OutcomeUnknown, match="w1"):
        armed.reach_blocking("node.after-log-write", "w1")
    armed.reach_blocking("node.after-log-write", "w1")


@pytest.mark.parametrize("action", ["die", "pause", "pause:soon", "fail:twice", "hold:1", ""])
def test_what_is_no_action_is_refused(armed: faults.Armed, action: str) -> None:
    with pytest.raises(ConfigError, match="is no fault"):
        armed.arm("operator.before-commit", action)
    assert not armed.is_armed


def test_a_point_that_there_is_not_is_refused(armed: faults.Armed) -> None:
    with pytest.raises(ConfigError, match=r"no fault point 'worker\.before-commit'"):
        armed.arm("worker.before-commit", "kill")


def test_a_process_is_killed_there_and_the_next_one_is_not(armed: faults.Armed, tmp_path: Path) -> None:
    armed.arm("worker.after-promote", "kill", "p1")
    code = "import asyncio; from dstk import faults; asyncio.run(faults.reach('worker.after-promote', 'p1'))"
    environment = {**os.environ, "DSTK_FAULTS": str(tmp_path / "faults")}
    codes = [subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode for _ in range(2)]
    assert codes == [-signal.SIGKILL, 0]

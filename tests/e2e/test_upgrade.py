"""What an operator of the previous commit, or of the commit that DSTK_PREVIOUS names, has begun, this one ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from test_faults import KEYSPACE, Objects, progress

import worlds
from dstk import _core, aio, api, kube
from dstk.local.cluster import LocalCluster
from dstk.local.operators import OperatorLife, operator_command
from dstk.testing.load import LoadSettings
from verifying import verifying
from waiting import until, until_true

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python code of the commit before, beside the native part of this one."""
    revision = os.environ.get("DSTK_PREVIOUS", "HEAD~1")
    archived = subprocess.run(["git", "archive", revision, "python"], cwd=ROOT, capture_output=True, check=False)
    if archived.returncode:
        pytest.skip(f"there is no {revision} here: {archived.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    shutil.copy(_core.__file__, folder / "python" / "dstk")
    which = [sys.executable, "-c", "import dstk.operator; print(dstk.operator.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "python")}
    said = subprocess.run(which, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.startswith(str(folder)), said
    return folder / "python"


@pytest.mark.parametrize(
    "point",
    [
        "operator.before-follow", "operator.before-fence", "operator.before-commit", "operator.after-commit",
        "operator.after-promote", "operator.after-proxy", "operator.before-release",
    ],
)  # fmt: skip
async def test_a_move_that_the_previous_operator_has_begun_is_ended(point: str, previous: Path, tmp_path: Path) -> None:
    faults, upgraded = tmp_path / "faults", False
    faults.mkdir()

    def command(life: OperatorLife) -> Sequence[str]:
        ours = operator_command(life)
        return ours if upgraded else ["env", f"PYTHONPATH={previous}", f"DSTK_FAULTS={faults}", *ours]

    settings = replace(worlds.settings(tmp_path), operator_command=command)
    async with LocalCluster(tmp_path / "up", workers=2, keyspace=KEYSPACE, settings=settings) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        objects = Objects(connection)
        await until(objects.served, "the keyspace is served")
        addresses = [worker["data"] for worker in cluster.endpoints()["workers"].values()]
        async with aio.connect(addresses) as client, verifying(client, LoadSettings(keys=3000, tasks=8)) as load:
            partition = (await objects.partitions())[2]
            to = next(name for name in cluster.endpoints()["workers"] if name != partition.spec.primary)
            armed = faults / point
            armed.write_text("hold")
            await objects.move("m1", partition, to)
            await until_true(lambda: not armed.exists(), f"the previous operator is at {point}")
            upgraded = True
            cluster.kill_operator()

            async def ended() -> bool:
                return (await objects.assignment("m1")).finished

            await until(ended, "the move ends")
            await progress(load, 500)
        assignment, now = await objects.assignment("m1"), await objects.partition(partition.metadata.name)
        assert assignment.status.phase is api.AssignmentPhase.COMPLETED, assignment.status
        assert (now.spec.primary, now.spec.proxy, now.spec.epoch) == (to, None, partition.spec.epoch + 1)
        await connection.close()

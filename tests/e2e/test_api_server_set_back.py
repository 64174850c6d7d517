"""The API server is set back to a backup while workers go on: whoever holds rows gets its objects back.

Meanwhile partitions were split, merged and moved, by operators of which the backup knows nothing. Clients write all the
time: none of their writes may fail, nothing acknowledged may be lost, and nobody else may serve the keys from empty.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from failurecases import staged
from stage import DESTINATION, OTHER, SOURCE, Scene, Stage, Stop

import worlds
from dstk import api, kube
from dstk.errors import OutcomeUnknown, Unavailable
from waiting import until

pytestmark = pytest.mark.skipif(worlds.REAL, reason="restores the embedded API server's file; etcd has its own tests")


def journal(stage: Stage) -> Path:
    return stage.folder / "api" / "apiserver.journal"


async def set_back(stage: Stage, backup: bytes) -> None:
    """The next life of the API server knows what the backup knows."""
    restored = journal(stage).with_suffix(".restored")
    restored.write_bytes(backup)
    restored.replace(journal(stage))
    stage.cluster.kill_api(signal.SIGKILL)

    async def answers() -> bool:
        try:
            page = await stage.partitions.list_page()
        except (Unavailable, OutcomeUnknown):
            return False
        return any(item.metadata.name == "c001" for item in page.items)

    await until(answers, "the API server is back at its backup")


async def move(scene: Scene, name: str, source: str, to: str) -> None:
    params = {"partition": name, "from": source, "to": to}
    await scene.assign(f"move-{name}", {"type": "InterWorkerMove", "moveParams": params})
    await scene.ended("Completed", f"move-{name}")


@pytest.mark.parametrize("keyspace", ["memory", "disk"])
@pytest.mark.parametrize("operator", ["stays", "starts"])
async def test_whoever_holds_rows_gets_its_objects_back(tmp_path: Path, keyspace: str, operator: str) -> None:
    async with staged(tmp_path) as stage:
        scenes = [
            Scene(stage, await stage.connect(keyspace), number, operation, keyspace)
            for number, operation in ((1, "split"), (2, "move"), (3, "merge"), (4, "split"))
        ]
        cut, moved, merged, scattered = scenes
        try:
            for scene in scenes:
                await scene.prepare()
            backup = journal(stage).read_bytes()
            # Terms, too, are given out of which the backup knows nothing.
            for _ in range(3):
                await stage.new_operator()
            for scene in scenes:
                await scene.begin()
                await scene.ended("Completed")
            await move(cut, "c001-b", SOURCE, DESTINATION)
            await move(merged, "c003", SOURCE, OTHER)
            await move(scattered, "c004-a", SOURCE, DESTINATION)
            await move(scattered, "c004-b", SOURCE, OTHER)
            if operator == "stays":
                await set_back(stage, backup)
            else:
                async with stage.without_operator():
                    await set_back(stage, backup)
            await cut.serves({"c001-a": SOURCE, "c001-b": DESTINATION})
            await moved.serves({"c002": DESTINATION})
            await merged.serves({"c003": OTHER})
            await scattered.serves({"c004-a": DESTINATION, "c004-b": OTHER})
            for scene in scenes:
                await scene.finish(False)
                await scene.loses(set())
            # What is begun now goes as ever.
            await move(moved, "c002", DESTINATION, OTHER)
            await moved.serves({"c002": OTHER})
        finally:
            await asyncio.gather(*(scene.close() for scene in scenes))


async def test_a_move_whose_partition_the_backup_does_not_have_ends_and_leaves_no_fence(tmp_path: Path) -> None:
    """It was about to commit; the keys were fenced for that."""
    async with staged(tmp_path) as stage:
        first = Scene(stage, await stage.connect("disk"), 1, "move", "disk")
        scene = Scene(stage, await stage.connect("disk"), 2, "move", "disk")
        try:
            await first.prepare()
            backup = journal(stage).read_bytes()
            await scene.prepare()
            stop = Stop("operator.before-commit", "hold")
            scene.arm([stop])
            await scene.begin()
            await scene.held(stop)
            await set_back(stage, backup)
            scene.release()
            await scene.serves({"c002": SOURCE})
            await scene.finish(False)
            await scene.loses(set())
            found = await kube.Objects(stage.connection, kube.EVENTS, stage.cluster.namespace).list_page()
            assert not [event for event in found.items if event.reason == api.Partition.DATA_LOST]
        finally:
            await asyncio.gather(first.close(), scene.close())

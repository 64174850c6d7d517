"""What happens when a worker stops inside its native part, as cases that real processes play under load.

The durability is Disk: a worker that was killed comes back with what it has acknowledged, and the operation goes on.
"""

from __future__ import annotations

import asyncio
from typing import Any

from failurecases import Case, Meanwhile, kill, write_on
from stage import DESTINATION, SOURCE, Scene, Stop

from waiting import until

WORKER_LIMITS = ("checkpoint_bytes=1048576", "log_segment_bytes=16777216")
"""The smallest: a case comes to checkpoints and to files of the log in a second or so."""

BIG = 64 << 10
"""Bytes of a value, where a case needs many."""

DIES = "this worker ends"


# What happens meanwhile. Each ends with what is held going on.


async def nothing_is_acknowledged(scene: Scene) -> None:
    """The log is held: each writer may hear of one write that was on disk before, and of no more."""
    before = scene.rows.written
    await asyncio.sleep(0.3)  # that nothing happens can only be seen for a while
    assert scene.rows.written <= before + len(scene.writers)
    scene.release()


async def quiet(scene: Scene) -> None:
    """Nobody writes any more: what goes into the log next is what the operation does."""
    await scene.quiet()


async def writers_wait(scene: Scene) -> None:
    """The fence holds a request of each writer."""
    seen = -1

    async def waiting() -> bool:
        nonlocal seen
        before, seen = seen, scene.rows.written
        await asyncio.sleep(0.2)  # a writer that is not held writes many rows in that
        return seen == before

    await until(waiting, "the writers wait")
    scene.release()


async def go_on(scene: Scene) -> None:
    scene.release()


def held_in(point: str, meanwhile: Meanwhile) -> Meanwhile:
    """A request that waited behind the fence has come to this point on its way, and waits there."""

    async def held(scene: Scene) -> None:
        await writers_wait(scene)
        await scene.held(Stop.of(f"{point}=hold"))
        await meanwhile(scene)

    return held


async def struck(scene: Scene) -> None:
    await scene.struck()
    scene.release()


def held_at(point: str, meanwhile: Meanwhile) -> Meanwhile:
    """The operator waits until that has happened at this point, too."""

    async def held(scene: Scene) -> None:
        operator = scene.at
        await scene.held(Stop.of(f"{point}=hold"))
        await meanwhile(scene)
        scene.at = operator
        scene.release()

    return held


async def source_forgets_what_it_has_sent(scene: Scene) -> None:
    """The source dies with writes that its follower may have and its own disk has not."""
    log = Stop.of(f"node.before-log-write@{SOURCE}=hold")
    operator = scene.at
    scene.arm([log])
    await scene.held(log)
    await asyncio.sleep(0.2)  # for what is in memory to reach the follower
    scene.stage.cluster.kill_worker(SOURCE)
    scene.release()
    scene.at = operator
    scene.release()


def on(worker: str, *points: str) -> list[str]:
    return [f"node.{point}@{worker}" for point in points]


def each(points: list[str], action: str, **what: Any) -> list[Case]:
    return [Case("", f"{point}={action}", **what) for point in points]


LOG = on(SOURCE, "before-log-write", "after-log-write", "after-log-sync")
LOG_FILES = on(SOURCE, "before-log-file", "after-log-header", "after-log-file")
CHECKPOINT = [
    *on(SOURCE, "before-checkpoint", "after-manifest-write", "after-log-trim"),
    "node.after-checkpoint-rows[-a]",
]
MANIFEST = on(SOURCE, "after-manifest-rename")
START = on(SOURCE, "after-recovery", "after-spare-rename", "after-spare-fill")
SEND = [f"node.{point}" for point in ("before-send-snapshot", "after-send-chunk")]
TAKE = [f"node.{point}" for point in ("after-install-chunk", "before-end-snapshot", "after-end-snapshot")]
ENTRIES = {"node.before-send-entries": DESTINATION, "node.after-apply-entries": SOURCE}
"""With the worker at the other end."""
PASS_ON = on(SOURCE, "after-pass-on", "before-pass-back")
FLIP = [*LOG, "node.before-settle"]

SPLIT = [
    *each(LOG, "kill"),
    *each(LOG, "fail", said=DIES),
    *each(LOG, "hold", meanwhile=nothing_is_acknowledged),
    *each(FLIP, "kill", first=quiet),
    *each(FLIP, "fail", first=quiet, said=DIES),
    *each(LOG_FILES, "kill", value_bytes=BIG),
    *each(LOG_FILES, "fail", value_bytes=BIG, said=DIES),
    *each(CHECKPOINT + MANIFEST, "kill", value_bytes=BIG),
    *each(CHECKPOINT, "fail", value_bytes=BIG),
    *each(MANIFEST, "fail", value_bytes=BIG, said=DIES),
    *each(CHECKPOINT, "hold", value_bytes=BIG, meanwhile=write_on),
    # It is killed again while it comes back.
    *[Case("", f"{LOG[1]}=kill, {point}=kill") for point in START],
    Case("", f"{MANIFEST[0]}=kill, {START[0]}=kill", value_bytes=BIG),
    Case("", f"{LOG[1]}=kill, {START[0]}=fail"),
    Case("", f"{START[2]}=fail", value_bytes=BIG),
]

MERGE = [*each(FLIP, "kill", first=quiet), *each(FLIP, "fail", first=quiet, said=DIES)]

NEW = [*each(["node.before-settle"], "kill"), *each(["node.before-settle"], "fail", said=DIES)]

MOVE = [
    *each(SEND, "kill", value_bytes=BIG),
    *each(SEND, "fail", value_bytes=BIG),
    *each(SEND, "hold", value_bytes=BIG, meanwhile=write_on),
    *each(SEND, "hold", value_bytes=BIG, meanwhile=kill(DESTINATION)),
    *each(TAKE, "kill", value_bytes=BIG),
    *each(TAKE, "fail", value_bytes=BIG),
    *each(TAKE, "hold", value_bytes=BIG, meanwhile=write_on),
    *each(TAKE, "hold", value_bytes=BIG, meanwhile=kill(SOURCE)),
    # Before the fence there are certain to be writes after the snapshot.
    *[
        Case("", "operator.before-fence=hold", meanwhile=struck, later=f"{point}={action}")
        for point in ENTRIES
        for action in ("kill", "fail")
    ],
    *[
        Case("", "operator.before-fence=hold", meanwhile=held_at(point, meanwhile), later=f"{point}=hold")
        for point, other in ENTRIES.items()
        for meanwhile in (write_on, kill(other))
    ],
    Case("", "operator.after-follow=hold", meanwhile=source_forgets_what_it_has_sent),
    *[
        Case("", f"operator.before-{deed}=hold", meanwhile=go_on, later=f"node.before-settle={action}", said=said)
        for deed in ("follow", "fence", "promote", "proxy", "release")
        for action, said in (("kill", ""), ("fail", DIES))
    ],
    *[
        Case("", "operator.before-commit=hold", meanwhile=writers_wait, later=f"{point}={action}")
        for point in PASS_ON
        for action in ("kill", "fail")
    ],
    *[
        Case("", "operator.before-commit=hold", meanwhile=held_in(point, kill(worker)), later=f"{point}=hold")
        for point in PASS_ON
        for worker in (SOURCE, DESTINATION)
    ],
]

CASES = [
    (operation, case)
    for operation, cases in (("new", NEW), ("split", SPLIT), ("merge", MERGE), ("move", MOVE))
    for case in cases
]

"""The rows of the failure tables in docs/operations, as cases that real processes play.

A case names the points at which it stops (see :mod:`dstk.faults`), what happens meanwhile, and how the Assignment has to
end. All the while two writers put rows into the partition: none of their writes may fail, and in the end everything
acknowledged has to be there.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stage import DESTINATION, KEYS, OTHER, SOURCE, Scene, Stage, Stop

from dstk import faults
from dstk.testing.network import Silence
from waiting import until

Meanwhile = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """`owners`: partitions in the end, by what follows the case's name; None: as the end says. "": nobody's."""

    row: str
    faults: str
    ends: str = "Completed"
    keyspace: str = "disk"
    first: Meanwhile | None = None
    meanwhile: Meanwhile | None = None
    owners: dict[str, str] | None = None
    lost: bool = False
    feared: bool = False
    """It says DataLost, as it cannot know better: what was acknowledged is there all the same."""
    checked: bool = True
    limits: dict[str, float] = field(default_factory=dict)
    said: str = ""
    """Something that has to be in a log in the end."""
    later: str = ""
    """Faults that are armed when the first of those that hold has come; then happens what happens meanwhile."""
    value_bytes: int = 0
    """Of every row, at the least."""


def each_moment(row: str, *deeds: str, action: str = "kill", process: str = "operator") -> list[Case]:
    """A case before and a case after each of the deeds."""
    return [Case(row, f"{process}.{when}-{deed}={action}") for deed in deeds for when in ("before", "after")]


# What happens meanwhile. Each ends with what is held going on.


async def write_on(scene: Scene) -> None:
    """More rows come, so that the destination has something to catch up with behind the fence."""
    await more_rows(scene, 10)
    scene.release()


async def more_rows(scene: Scene, count: int) -> None:
    goal = scene.rows.written + count

    async def reached() -> bool:
        return scene.rows.written >= goal

    await until(reached, "rows are written")


def label(part: str = "") -> Meanwhile:
    """Somebody changes something about the object that does not matter."""

    async def change(scene: Scene) -> None:
        await scene.stage.partitions.patch(scene.name + part, {"metadata": {"labels": {"touched": "yes"}}})
        scene.release()

    return change


async def cancel(scene: Scene) -> None:
    await scene.stage.assignments.delete(scene.name)
    scene.release()


def delete(part: str = "") -> Meanwhile:
    async def gone(scene: Scene) -> None:
        await scene.quiet()
        await scene.stage.partitions.delete(scene.name + part)
        scene.release()

    return gone


def kill(worker: str) -> Meanwhile:
    async def killed(scene: Scene) -> None:
        scene.stage.cluster.kill_worker(worker)
        scene.release()

    return killed


def freeze(worker: str) -> Meanwhile:
    """It is silent for as long as it takes the Assignment to say so."""

    async def frozen(scene: Scene) -> None:
        scene.stage.cluster.kill_worker(worker, signal.SIGSTOP)
        try:
            scene.release()
            await scene.says("Stalled WorkerUnreachable")
        finally:
            scene.stage.cluster.kill_worker(worker, signal.SIGCONT)

    return frozen


async def freeze_destination_behind_the_fence(scene: Scene) -> None:
    """The source serves again, and the move is over, though the destination is still silent."""
    scene.stage.cluster.kill_worker(DESTINATION, signal.SIGSTOP)
    try:
        await write_on_after_release(scene)
        await scene.ended("Aborted DestinationSilent")
    finally:
        scene.stage.cluster.kill_worker(DESTINATION, signal.SIGCONT)


async def write_on_after_release(scene: Scene) -> None:
    scene.release()
    await more_rows(scene, KEYS)  # more than what was on its way


async def rival(scene: Scene) -> None:
    """Another operator takes over and comes to an end; then what the old one had begun goes on."""
    await scene.stage.new_operator(beside=True)
    await scene.ended("Completed")
    await old_one_goes_on(scene)


async def rival_cancels(scene: Scene) -> None:
    """Another operator takes over, gets no further, and aborts what is deleted."""
    again = Stop(f"operator.before-{scene.operation}", "fail:always")
    scene.arm([again])
    await scene.stage.new_operator(beside=True)
    await scene.stage.assignments.delete(scene.name)
    await scene.ended("Aborted Cancelled")
    scene.disarm([again])
    await old_one_goes_on(scene)


async def old_one_goes_on(scene: Scene) -> None:
    log = scene.stage.log()
    scene.release()
    await log.says(f"assignment {scene.name}: ")  # what it did is refused
    await scene.quiet()
    await scene.rows.check(scene.client)
    await scene.stage.new_operator()


async def past_the_deadline(scene: Scene) -> None:
    await asyncio.sleep(DEADLINE["deadline_seconds"])
    scene.release()


async def wait_behind(scene: Scene, spec: dict[str, object], ends: str) -> None:
    second = scene.name + "-second"
    await scene.assign(second, spec)

    async def waits() -> bool:
        return await scene.phase(second) == "Pending Waiting"

    await until(waits, "the younger one waits")
    scene.release()
    await scene.ended(ends, second)


async def second_new(scene: Scene) -> None:
    spec = {"type": "New", "newParams": {"partition": scene.name, "primary": OTHER}}
    await wait_behind(scene, spec, "Aborted AlreadyAssigned")


async def second_move(scene: Scene) -> None:
    params = {"partition": scene.name, "from": SOURCE, "to": OTHER}
    await wait_behind(scene, {"type": "InterWorkerMove", "moveParams": params}, "Aborted NotTheOwner")


async def name_taken(scene: Scene) -> None:
    """Somebody creates an object of the name, before anything has happened."""
    name = scene.name + ("-a" if scene.operation == "split" else "")
    await scene.create_partition(name, "0xfffe", "0xffff")
    scene.release()
    await scene.ended("Aborted NameTaken")
    await scene.stage.partitions.delete(name)


async def name_taken_after_the_flip(scene: Scene) -> None:
    name = scene.name + ("-a" if scene.operation == "split" else "")
    await scene.create_partition(name, "0xfffe", "0xffff")
    scene.release()
    await scene.says("Stalled NameTaken")
    await scene.stage.partitions.delete(name)


async def vanish(scene: Scene) -> None:
    """The Assignment is gone by force, and so is the operator that knew of it."""
    await scene.stage.assignments.delete(scene.name)
    await scene.let_go()
    await scene.stage.new_operator()
    scene.release()


async def deleted_between_lives(scene: Scene) -> None:
    """The Assignment is deleted, and the next operator finds it so."""
    await scene.stage.assignments.delete(scene.name)
    await scene.stage.new_operator()
    scene.release()


def kill_at_the_end(point: str) -> Meanwhile:
    """The operator is killed at the second commit, which says that nobody proxies any more."""

    async def killed(scene: Scene) -> None:
        scene.arm([Stop(point, "kill")])
        scene.release()

    return killed


def cut(silence: Silence, until_struck: bool = False) -> Meanwhile:
    """Nothing goes between source and destination, to the end or until all other points are reached."""

    async def apart(scene: Scene) -> None:
        network = scene.stage.network
        made = network.cut(SOURCE, DESTINATION, silence)
        try:
            if silence == "silent":
                await write_on(scene)
            scene.release()
            if until_struck:
                await scene.struck()
            else:
                await until(lambda: _over(scene), "it ends")
        finally:
            network.heal(made)

    return apart


async def restart_source_ahead_of_the_copy(scene: Scene) -> None:
    """It comes back behind a fence, with writes that the destination has not got."""
    network = scene.stage.network
    made = network.cut(SOURCE, DESTINATION, "loud")
    try:
        await more_rows(scene, 10)
        await kill(SOURCE)(scene)
        await scene.struck()
    finally:
        network.heal(made)


async def _over(scene: Scene) -> bool:
    return (await scene.phase()).startswith("Aborted")


async def restless_clients(scene: Scene) -> None:
    """As if stale clients never stopped: the source is never quiet for long enough."""
    await scene.stage.keyspaces.patch(scene.keyspace, {"spec": {"proxySeconds": 3600}})
    try:
        await past_the_deadline(scene)
        await scene.ended("Completed")
    finally:
        await scene.stage.keyspaces.patch(scene.keyspace, {"spec": {"proxySeconds": 0}})


async def one_worker_more(scene: Scene) -> None:
    await scene.stage.cluster.scale(4)
    scene.source = "worker-3"


async def one_worker_less(scene: Scene) -> None:
    await scene.stage.cluster.scale(3)
    scene.release()


DEADLINE = {"deadline_seconds": 1.0}
CHILDREN = {"-a": SOURCE, "-b": SOURCE}

NEW = [
    *each_moment("the operator dies at any moment", "commit", "serve", "set-partition-status", "set-status"),
    Case("a commit is answered by a conflict, late or never", "operator.before-commit=hold", meanwhile=label(), said="409 Conflict"),
    Case("a commit is answered by a conflict, late or never", "operator.before-commit=fail"),
    Case("a commit is answered by a conflict, late or never", "operator.after-commit=fail"),
    Case("the worker does not answer", "operator.before-serve=hold", meanwhile=freeze(SOURCE)),
    Case("the worker does not answer", "worker.before-serve=fail"),
    Case("the worker does not answer", "worker.after-serve=fail"),
    Case("the worker is gone", "operator.after-commit=hold", "Aborted WorkerLost", "memory", one_worker_more, one_worker_less, {"": ""}),
    Case("the worker is gone", "worker.after-serve=kill"),
    Case("the deadline passes", "operator.before-serve=fail:always", "Aborted DeadlineExceeded", owners={"": ""}, limits=DEADLINE),
    Case("the Assignment is deleted", "operator.after-commit=hold", "Completed", meanwhile=cancel, owners={"": SOURCE}),
    Case("the Assignment is deleted", "operator.after-set-status=hold, operator.before-commit=fail:always", "Aborted Cancelled", meanwhile=cancel, owners={"": ""}),
    Case("the partition is deleted or somebody else's meanwhile", "operator.before-commit=hold", "Aborted PartitionChanged", meanwhile=delete(), owners={}),
    Case("an older Assignment wants the same partition", "operator.before-commit=hold", meanwhile=second_new),
]  # fmt: skip

SPLIT = [
    *each_moment("the operator dies at any moment", "split", "create-partition[-a]", "create-partition[-b]", "delete-partition", "set-status"),
    *each_moment("the call to the worker is lost, or its answer", "split", action="fail"),
    *each_moment("the call to the worker is lost, or its answer", "split", action="fail", process="worker"),
    *each_moment("the worker restarts before the flip is known", "split", process="worker"),
    Case("the worker restarts before the flip is known", "worker.before-split=kill", "Aborted WorkerLost", "memory", lost=True),
    Case("the worker restarts before the flip is known", "worker.after-split=kill", "Aborted WorkerLost", "memory", lost=True),
    Case("the worker restarts when some children have objects", "operator.after-create-partition[-a]=hold", meanwhile=kill(SOURCE)),
    Case("the worker restarts when some children have objects", "operator.after-create-partition[-a]=hold", "Completed", "memory", meanwhile=kill(SOURCE), lost=True),
    Case("the Assignment is deleted, or late", "operator.after-set-status=hold, operator.before-split=fail:always", "Aborted Cancelled", meanwhile=cancel, owners={"": SOURCE}),
    Case("the Assignment is deleted, or late", "operator.after-split=hold", "Completed", meanwhile=cancel, owners=CHILDREN),
    Case("the Assignment is deleted, or late", "operator.before-split=hold", "Aborted Cancelled", meanwhile=rival_cancels, owners={"": SOURCE}),
    Case("the Assignment is deleted, or late", "operator.before-split=fail:always", "Aborted DeadlineExceeded", limits=DEADLINE),
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Completed", meanwhile=deleted_between_lives, owners=CHILDREN) for point in ("after-split", "after-create-partition[-a]")],
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Aborted Cancelled", meanwhile=deleted_between_lives, owners={"": SOURCE}) for point in ("before-split",)],
    Case("the worker does not answer", "operator.before-split=hold", meanwhile=freeze(SOURCE)),
    Case("a child's name belongs to another range", "operator.after-set-status=hold, operator.before-split=fail:always", "Aborted NameTaken", meanwhile=name_taken),
    Case("a child's name belongs to another range", "operator.after-split=hold", meanwhile=name_taken_after_the_flip),
    Case("the Assignment vanishes between flip and objects", "operator.after-split=hold", "gone", meanwhile=vanish, owners=CHILDREN),
]  # fmt: skip

MERGE = [
    *each_moment("the operator dies at any moment", "merge", "create-partition", "commit[-a]", "commit[-b]", "delete-partition[-a]", "delete-partition[-b]", "set-status"),
    *each_moment("the call to the worker is lost, or its answer", "merge", action="fail"),
    *each_moment("the call to the worker is lost, or its answer", "merge", action="fail", process="worker"),
    Case("a patch of a part is answered by a conflict, late or never", "operator.before-commit[-a]=hold", meanwhile=label("-a"), said="409 Conflict"),
    *each_moment("a patch of a part is answered by a conflict, late or never", "commit[-b]", action="fail"),
    *each_moment("the worker restarts before the flip is known", "merge", process="worker"),
    Case("the worker restarts before the flip is known", "worker.before-merge=kill", "Aborted WorkerLost", "memory", lost=True),
    Case("the worker restarts before the flip is known", "worker.after-merge=kill", "Aborted WorkerLost", "memory", lost=True),
    Case("the worker restarts when the merged object exists", "operator.after-create-partition=hold", meanwhile=kill(SOURCE)),
    Case("the worker restarts when the merged object exists", "operator.after-create-partition=hold", "Completed", "memory", meanwhile=kill(SOURCE), lost=True),
    Case("the Assignment is deleted, or late", "operator.after-set-status=hold, operator.before-merge=fail:always", "Aborted Cancelled", meanwhile=cancel, owners=CHILDREN),
    Case("the Assignment is deleted, or late", "operator.after-merge=hold", "Completed", meanwhile=cancel, owners={"": SOURCE}),
    Case("the Assignment is deleted, or late", "operator.before-merge=hold", "Aborted Cancelled", meanwhile=rival_cancels, owners=CHILDREN),
    Case("the Assignment is deleted, or late", "operator.before-merge=fail:always", "Aborted DeadlineExceeded", limits=DEADLINE),
    Case("a part is deleted or moved away before the flip", "operator.after-set-status=hold, operator.before-merge=fail:always", "Aborted PartitionChanged", meanwhile=delete("-a"), owners=CHILDREN),
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Completed", meanwhile=deleted_between_lives, owners={"": SOURCE}) for point in ("after-merge", "after-create-partition", "after-commit[-a]")],
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Aborted Cancelled", meanwhile=deleted_between_lives, owners=CHILDREN) for point in ("before-merge",)],
    Case("the worker does not answer", "operator.before-merge=hold", meanwhile=freeze(SOURCE)),
    Case("the name belongs to another range", "operator.after-set-status=hold, operator.before-merge=fail:always", "Aborted NameTaken", meanwhile=name_taken),
    Case("the name belongs to another range", "operator.after-merge=hold", meanwhile=name_taken_after_the_flip),
]  # fmt: skip

OPERATOR_DIES = "the operator dies at any moment, and the old one's calls go on beside the new one's"
BEFORE, BETWEEN = (
    "the destination is gone or restarts before the commit",
    "it is gone or restarts between commit and promotion",
)
FENCED = "operator.before-fence=hold, "

MOVE = [
    *each_moment(OPERATOR_DIES, "follow", "fence", "commit", "promote", "proxy", "set-partition-status", "release", "set-status"),
    Case(OPERATOR_DIES, FENCED + "operator.before-await-applied=kill", meanwhile=write_on),
    Case(OPERATOR_DIES, FENCED + "operator.after-await-applied=kill", meanwhile=write_on),
    Case(OPERATOR_DIES, "operator.after-proxy=hold", meanwhile=kill_at_the_end("operator.before-commit")),
    Case(OPERATOR_DIES, "operator.after-proxy=hold", meanwhile=kill_at_the_end("operator.after-commit")),
    *[Case(OPERATOR_DIES, f"operator.before-{deed}=hold", meanwhile=rival) for deed in ("fence", "commit", "promote", "proxy", "release")],
    Case("the commit is answered by a conflict", "operator.before-commit=hold", meanwhile=label(), said="409 Conflict"),
    *each_moment("the commit's outcome is not known", "commit", action="fail"),
    Case("the stream breaks", "operator.after-follow=hold", meanwhile=kill(SOURCE)),
    Case("the stream breaks", "operator.before-follow=hold", "Aborted FollowFailed", meanwhile=cut("loud"), limits={"follow_tries": 3}),
    Case("the destination does not catch up behind the fence", "operator.before-fence=hold, operator.after-unfence=fail", meanwhile=cut("silent", until_struck=True)),
    Case("the destination does not catch up behind the fence", "operator.before-fence=hold", "Aborted FenceTimedOut", meanwhile=cut("silent"), limits={"fence_tries": 2}),
    Case("the destination does not catch up behind the fence", "operator.before-fence=hold, operator.after-unfence=fail", meanwhile=restart_source_ahead_of_the_copy, limits={"fence_max_seconds": 3600.0}),
    Case(BEFORE, "worker.after-follow=kill"),
    Case(BEFORE, FENCED + "worker.before-await-applied=kill", meanwhile=write_on),
    Case(BEFORE, FENCED + "worker.before-await-applied=kill", "Aborted DestinationLost", "memory", meanwhile=write_on),
    Case(BETWEEN, "worker.before-promote=kill", "Aborted DestinationLost", "memory", feared=True),
    Case(BETWEEN, "worker.after-promote=kill", "Aborted DestinationLost", "memory", feared=True),
    *each_moment(BETWEEN, "promote", process="worker"),
    Case("the source is gone or restarts before the commit", "worker.before-fence=kill", "Aborted SourceLost", "memory", lost=True),
    Case("the source is gone or restarts before the commit", "worker.after-fence=kill", "Aborted SourceLost", "memory", lost=True),
    *each_moment("the source is gone or restarts before the commit", "fence", process="worker"),
    Case("the source is gone after the commit", "worker.before-proxy=kill", "Completed", "memory"),
    Case("the source is gone after the commit", "worker.after-proxy=kill", "Completed", "memory"),
    *each_moment("the source is gone after the commit", "proxy", "release", process="worker"),
    Case("a worker does not answer", "operator.before-fence=hold", meanwhile=freeze(SOURCE)),
    Case("a worker does not answer", "operator.before-promote=hold", meanwhile=freeze(DESTINATION)),
    Case("a worker does not answer", "operator.after-fence=hold", "Aborted DestinationSilent", meanwhile=freeze_destination_behind_the_fence, limits={"destination_silent_seconds": 0.5}),
    *each_moment("a worker does not answer", "follow", "fence", "promote", "proxy", "release", action="fail", process="worker"),
    Case("the Assignment is deleted, or late", "operator.after-fence=hold, operator.before-commit=fail:always", "Aborted Cancelled", meanwhile=cancel, owners={"": SOURCE}),
    Case("the Assignment is deleted, or late", "operator.after-commit=hold", "Completed", meanwhile=cancel, owners={"": DESTINATION}),
    Case("the Assignment is deleted, or late", "operator.after-fence=hold", "Aborted DeadlineExceeded", meanwhile=past_the_deadline, limits=DEADLINE),
    Case("the Assignment is deleted, or late", "operator.after-fence=hold, operator.before-touch=fail", "Aborted DeadlineExceeded", meanwhile=past_the_deadline, limits=DEADLINE),
    Case("the Assignment is deleted, or late", "operator.after-commit=hold", meanwhile=past_the_deadline, limits=DEADLINE),
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Aborted Cancelled", meanwhile=deleted_between_lives, owners={"": SOURCE}) for point in ("after-follow", "after-fence")],
    *[Case("the Assignment is deleted while no operator runs", f"operator.{point}=hold", "Completed", meanwhile=deleted_between_lives, owners={"": DESTINATION}) for point in ("after-commit", "after-promote", "after-proxy")],
    Case("stale clients never stop", "operator.after-proxy=hold", meanwhile=restless_clients, limits=DEADLINE),
    Case("the partition is deleted or somebody else's meanwhile", "operator.before-fence=hold", "Aborted PartitionChanged", meanwhile=delete(), owners={"": SOURCE}),
    Case("an older Assignment wants the same partition", "operator.after-follow=hold", meanwhile=second_move),
]  # fmt: skip

CASES = [
    (operation, case)
    for operation, cases in (("new", NEW), ("split", SPLIT), ("merge", MERGE), ("move", MOVE))
    for case in cases
]
NOT_PLAYED = {("move", "the rows differ though every write was applied")}
"""Nothing that can be done to real processes brings it about: unit tests show it."""


@asynccontextmanager
async def staged(folder: Path, *worker_limits: str) -> AsyncIterator[Stage]:
    """A stage whose processes have fault points."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DSTK_FAULTS", str(folder / "faults"))
        async with Stage(folder, faults.Armed(folder / "faults"), worker_limits).running() as running:
            yield running


def said_of(number: int) -> str:
    """What a test report calls the case."""
    operation, case = CASES[number]
    return f"{number:03} {title(operation, case)}"


def title(operation: str, case: Case) -> str:
    return " ".join(filter(None, (operation, case.faults, case.later, case.keyspace, case.ends)))


def _owners(operation: str, case: Case) -> dict[str, str]:
    if case.owners is not None:
        return case.owners
    done = case.ends == "Completed"
    match operation:
        case "split":
            return CHILDREN if done else {"": SOURCE}
        case "merge":
            return {"": SOURCE} if done else CHILDREN
        case "move":
            return {"": DESTINATION if done else SOURCE}
    return {"": SOURCE if done else ""}


async def play(stage: Stage, number: int, operation: str, case: Case) -> None:
    """Play one case from beginning to end, with keys that belong to this number."""
    scene = Scene(stage, await stage.connect(case.keyspace), number, operation, case.keyspace)
    scene.rows.value_bytes = case.value_bytes
    stops = Stop.all_of(case.faults)
    try:
        await stage.limit(case.limits)
        await scene.prepare()
        if case.first is not None:
            await case.first(scene)
        scene.arm(stops)
        await scene.begin()
        if case.meanwhile is not None:
            await scene.held(next(stop for stop in stops if stop.action == "hold"))
            scene.arm(Stop.all_of(case.later))
            await case.meanwhile(scene)
        await scene.ended(case.ends)
        scene.disarm([stop for stop in stops if stop.action == "fail:always"])
        await scene.struck()
        if case.said:
            await scene.log.says(case.said)
        owners = _owners(operation, case)
        await scene.serves({scene.name + part: owner for part, owner in owners.items()})
        await scene.loses({scene.name + part for part in owners if case.lost or case.feared})
        if case.checked and owners and all(owners.values()):
            await scene.finish(case.lost)
        await scene.let_go()
    finally:
        await scene.close()

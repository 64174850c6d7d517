"""Operators in the simulated world: the loop around `decide` for each Assignment, and the look at each worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from world import EPOCH_ZERO, KEYSPACE, Failed, Task, Uncertain, World, final

from dstk.api import Assignment
from dstk.api.validation import Refusal, check
from dstk.lifecycle import actions, decide, recover, touched
from dstk.lifecycle.memory import Memory
from dstk.lifecycle.observed import Limits, Observed

LIMITS = Limits(
    deadline_seconds=200.0,
    stall_seconds=4.0,
    fence_lag_writes=5,
    fence_max_seconds=1.0,
    fence_tries=20,
    fence_retry_seconds=1.0,
    follow_tries=20,
    follow_retry_seconds=0.5,
    chunk=3,
)
"""Tries are many here: what ends an operation early is what the matrix tests are for."""


def operator(world: World, term: int) -> Iterator[Task]:
    """Everything that one operator does at the same time."""
    for name in world.assignments:
        yield drive(world, name, term)
    for name in world.worker_names:
        yield watch(world, name, term)


def drive(world: World, name: str, term: int) -> Task:
    """One operator's loop around `decide`, for one Assignment."""
    memory, lives, uncertain = Memory(), dict[str, str](), set[str]()
    while (assignment := world.assignments.get(name)) is not None and not final(assignment):
        yield 0
        names = touched(assignment, world.partitions, KEYSPACE)
        partitions = {each: world.partitions[each] for each in names.partitions if each in world.partitions}
        if world.random.random() < 0.9:
            uncertain.clear()  # It was read back; otherwise the API server has not answered yet.
        ahead = {
            other.metadata.name
            for each in names.partitions
            for other in world.unfinished(each)
            if other.metadata.creation_timestamp < assignment.metadata.creation_timestamp  # type: ignore[operator]
        }
        views = {}
        for worker in names.workers:
            yield 0
            view = world.look(worker)
            if view.reachable and any(part in view.parts for part in names.partitions):
                lives.setdefault(worker, view.incarnation)
            if lives.get(worker, view.incarnation) != view.incarnation:
                view = replace(view, gone=True)
            views[worker] = view
        memory = memory.saw((view.name for view in views.values() if not view.reachable), world.now)
        observed = Observed(
            assignment=assignment,
            keyspace=KEYSPACE,
            partitions=partitions,
            workers=views,
            ahead=tuple(sorted(ahead)),
            cancelled=assignment.metadata.deletion_timestamp is not None,
            refusal=_refusal(world, assignment),
            uncertain=bool(uncertain),
            term=term,
            limits=LIMITS,
            memory=memory,
        )
        pause = 0.0
        for action in actions.flatten(decide(observed, world.now)):
            yield 0
            if isinstance(action, actions.Wait):
                pause = action.seconds
                continue
            try:
                world.carry_out(action, term, assignment)
            except Uncertain:
                assert isinstance(action, actions.Commit)
                uncertain.add(action.partition)
                pause = 0.1
                break
            except Failed as failed:
                world.trace.append(f"{world.now - EPOCH_ZERO:8.2f} [{term}] failed: {failed}")
                pause = 0.1
                break
            finally:
                memory = memory.after(action, world.now)
            if isinstance(action, actions.SetStatus):
                assignment = world.assignments.get(name, assignment)
        yield pause


def _refusal(world: World, assignment: Assignment) -> Refusal | None:
    if assignment.status.step is not None:
        return None

    def meeting(keyspace: str, start: bytes, end: bytes) -> Iterator[str]:
        for name, partition in world.partitions.items():
            span = world.span(partition)
            if (not end or span.start < end) and (not span.end or start < span.end):
                yield name

    pods = {key: {} for key in world.workers}
    return check(assignment, world.partitions, {"default": KEYSPACE}, pods, meeting)  # type: ignore[arg-type]


def watch(world: World, name: str, term: int) -> Task:
    """One operator's look at a worker now and then, where no Assignment is in charge."""
    while True:
        yield 0.5
        partitions = {
            each: partition
            for each, partition in world.partitions.items()
            if name in (partition.spec.primary, partition.spec.proxy)
        }
        everything = dict(world.partitions)
        yield 0
        view = world.look(name)
        partitions.update({each: everything[each] for each in view.parts if each in everything})
        busy = _busy(world)
        addresses = {worker: f"{worker}:1" for worker in world.workers}
        decided = recover(partitions, view, KEYSPACE, busy, addresses)
        lanes = [lane for each in decided if isinstance(each, actions.Parallel) for lane in each.lanes]
        for lane in lanes:
            for action in actions.flatten(lane):
                yield 0
                if _about(action) & _busy(world):
                    break
                try:
                    world.carry_out(action, term, None)
                except Failed:
                    break


def _busy(world: World) -> set[str]:
    busy: set[str] = set()
    for assignment in world.assignments.values():
        if not final(assignment):
            busy.update(touched(assignment, world.partitions, KEYSPACE).partitions)
    return busy


def _about(action: actions.Action) -> set[str]:
    name = getattr(action, "partition", None) or getattr(action, "name", None)
    return {name} if name else set()

"""A plan in the making: what it holds so far, and what that leaves room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from dstk.api import (
    ASSIGNER_LABEL,
    KEYSPACE_LABEL,
    PROPOSED_LABEL,
    Assignment,
    AssignmentSpec,
    AssignmentType,
    Mode,
    MoveParams,
    ObjectMeta,
    assignment_name,
)
from dstk.plan.cluster import Worker
from dstk.plan.room import Room
from dstk.plan.view import Part, View

__all__ = ["Draft"]

_KEEP_SECONDS = 3600
"""Finished proposals are kept for so long, or for two cool-downs if that is longer: they are what cool-downs go by."""


class Draft:
    """Collects the proposals for one keyspace; a partition that one of them names is taken for all others.

    ``held``: partitions that each worker has once everything under way and proposed has ended.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.assignments: list[Assignment] = []
        self.moves_left = max(0, view.policy.max_concurrent_moves - view.moving)
        self.reshapes_left = max(0, view.policy.max_concurrent_reshapes - view.reshaping)
        self.held: dict[str, int] = {worker.name: 0 for worker in view.workers}
        for part in view.parts:
            owner = view.owner(part)
            if owner in self.held:
                self.held[owner] += 1
        self._taken: set[str] = set()
        self._there = {worker.name for worker in view.workers if worker.ready}
        places = {part.name: part.primary for part in view.parts}
        towards = {name: to for name, to in view.heading.items() if places.get(name) != to}
        self.room = Room(view.workers, view.loads, towards, view.refused)
        self.stuck: dict[str, str] = {}
        """Workers that leave and cannot be emptied, and why."""

    def free(self, part: Part) -> bool:
        """Whether the partition can get an operation: none is under way, proposed, or just failed."""
        view = self.view
        return (
            part.name not in self._taken
            and part.name not in view.busy
            and view.now >= view.retry.get(part.name, float("-inf"))
        )

    def answers(self, part: Part) -> bool:
        """Whether the partition's worker is there: of one that is silent nothing can be had."""
        return part.primary in self._there

    def takers_of(self, part: Part, among: Iterable[str]) -> list[str]:
        """Those of the workers that have room for the partition."""
        return [name for name in among if self.room.fits(name, part.load)]

    def rank(self, worker: Worker | str) -> tuple[int, int, str]:
        """Sorts workers by what they hold of this keyspace, then of others."""
        name = worker if isinstance(worker, str) else worker.name
        return (self.held.get(name, 0), self.view.elsewhere.get(name, 0), name)

    def propose(self, spec: AssignmentSpec, parts: Sequence[Part], why: str) -> None:
        """Adds an Assignment that works on ``parts``."""
        view = self.view
        self._taken.update(part.name for part in parts)
        before = sorted({view.aborted[part.name] for part in parts if part.name in view.aborted})
        labels = {KEYSPACE_LABEL: view.keyspace.metadata.name, ASSIGNER_LABEL[0]: ASSIGNER_LABEL[1]}
        if view.policy.mode is Mode.PROPOSE:
            labels[PROPOSED_LABEL] = "true"
        # The uid: a Partition that is deleted and created again starts at the same epoch.
        state = [*(f"{part.uid}/{part.epoch}" for part in parts), *before]
        keep = max(_KEEP_SECONDS, 2 * view.policy.cooldown_seconds)
        metadata = ObjectMeta(
            name=assignment_name(spec, state), namespace=view.keyspace.metadata.namespace, labels=labels
        )
        self.assignments.append(
            Assignment(metadata=metadata, spec=replace(spec, reason=why, ttl_seconds_after_finished=keep))
        )

    def move(self, part: Part, to: str, why: str) -> None:
        """Adds a move of an owned partition; uses up one of the moves that are left."""
        assert part.primary is not None
        params = MoveParams(partition=part.name, source=part.primary, to=to)
        self.propose(AssignmentSpec(type=AssignmentType.MOVE, move_params=params), [part], why)
        self.moves_left -= 1
        if part.primary in self.held:
            self.held[part.primary] -= 1
        self.held[to] += 1
        self.room.take(to, part.load)

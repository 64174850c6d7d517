"""What an Assignment asks for, in a line."""

from __future__ import annotations

from dstk.api import AssignmentSpec, AssignmentType, MergeParams, MoveParams, NewParams, SplitParams

__all__ = ["merge", "move", "new", "split"]


def new(*partitions: str, primary: str) -> AssignmentSpec:
    return AssignmentSpec(type=AssignmentType.NEW, new_params=NewParams(partitions=partitions, primary=primary))


def split(partition: str, *keys: str, names: tuple[str, ...] | None = None) -> AssignmentSpec:
    params = SplitParams(partition=partition, split_keys=keys, names=names)
    return AssignmentSpec(type=AssignmentType.SPLIT, split_params=params)


def merge(*partitions: str, name: str | None = None) -> AssignmentSpec:
    params = MergeParams(partitions=partitions, name=name)
    return AssignmentSpec(type=AssignmentType.MERGE, merge_params=params)


def move(partition: str, source: str, to: str) -> AssignmentSpec:
    params = MoveParams(partition=partition, source=source, to=to)
    return AssignmentSpec(type=AssignmentType.MOVE, move_params=params)

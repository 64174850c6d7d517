"""What was done by hand is marked on Partitions: the Assigner leaves it alone, also when the Assignment is gone.

A cut is marked on the Partition that begins there, whatever becomes of that one: a child that begins where its parent
did has its mark, and a merged one that of its first part.
"""

from __future__ import annotations

from dstk.api import CUT_ANNOTATION, PLACED_ANNOTATION, Assignment, Partition

__all__ = ["Annotations", "of_move", "of_piece", "of_whole"]

Annotations = tuple[tuple[str, str], ...]


def of_move(assignment: Assignment, partition: Partition) -> Annotations:
    """Of a Partition that the Assignment moves: what holds until it is moved again, whoever does that."""
    if assignment.by_hand:
        return ((PLACED_ANNOTATION, assignment.metadata.name),)
    return ((PLACED_ANNOTATION, ""),) if PLACED_ANNOTATION in partition.metadata.annotations else ()


def of_piece(assignment: Assignment, parent: Partition, index: int) -> Annotations:
    """Of the child of that index, in key order."""
    marks = parent.metadata.annotations
    cut = marks.get(CUT_ANNOTATION, "") if index == 0 else assignment.metadata.name if assignment.by_hand else ""
    return _named(cut, marks.get(PLACED_ANNOTATION, ""))


def of_whole(parts: list[Partition]) -> Annotations:
    """Of what becomes of these parts, in key order."""
    placed = (part.metadata.annotations.get(PLACED_ANNOTATION, "") for part in parts)
    first = parts[0].metadata.annotations if parts else {}
    return _named(first.get(CUT_ANNOTATION, ""), next(filter(None, placed), ""))


def _named(cut: str, placed: str) -> Annotations:
    return tuple((key, name) for key, name in ((CUT_ANNOTATION, cut), (PLACED_ANNOTATION, placed)) if name)

"""Names that follow from what they name, so that a retry finds what an earlier try created."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from dstk.api.assignment import AssignmentSpec, AssignmentType

__all__ = ["assignment_name", "child_name", "initial_name"]

_HASH_CHARACTERS: Final = 10
"""50 bits: any two of 100,000 names collide with a chance of 1 in 200,000, and then the second one is refused."""

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_NAME_MAX: Final = 253

_VERBS: Final = {
    AssignmentType.NEW: "new",
    AssignmentType.SPLIT: "split",
    AssignmentType.MERGE: "merge",
    AssignmentType.MOVE: "move",
}


def initial_name(keyspace: str, index: int) -> str:
    """Name of the ``index``-th (from 0) of a keyspace's initial partitions; they sort in key order up to 100,000."""
    return f"{keyspace}-{index:05d}"


def child_name(keyspace: str, parents: Sequence[str], start: bytes, end: bytes, epoch: int) -> str:
    """Name of the partition [start, end) that a split or merge of ``parents`` creates at ``epoch``."""
    return f"{keyspace}-{_hash(keyspace, sorted(parents), start.hex(), end.hex(), epoch)}"


def assignment_name(spec: AssignmentSpec, state: Sequence[str]) -> str:
    """Name of an Assignment that is proposed in a ``state``: epochs of its partitions, names of earlier tries.

    The same proposal in the same state has the same name, so creating it again fails with AlreadyExists. The reason
    is left out: it carries measurements, which differ from one look to the next.
    """
    content = msgspec.to_builtins(msgspec.structs.replace(spec, reason="", ttl_seconds_after_finished=None))
    verb = _VERBS[spec.type]
    partitions = spec.partitions
    subject = partitions[0] if len(partitions) == 1 else spec.new_params.primary if spec.new_params else partitions[0]
    tail = _hash(content, list(state))
    room = _NAME_MAX - len(verb) - len(tail) - 2
    return f"{verb}-{subject[:room].rstrip('-.')}-{tail}"


def _hash(*parts: object) -> str:
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()
    number = int.from_bytes(digest[:8], "big")
    return "".join(_ALPHABET[number >> (5 * place) & 31] for place in range(_HASH_CHARACTERS))

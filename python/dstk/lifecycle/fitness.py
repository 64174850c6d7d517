"""misfit: is what a worker holds of the Keyspace as it is, or of an earlier one that had its name?

Immutable fields change by deleting an object and creating it again. The workers keep what they hold meanwhile, and a
Keyspace with the same fields has it back. With other fields it must not: rows of a Keyspace with durability Memory are
on no disk, whatever is promised now, and keys of another length are in no range.
"""

from __future__ import annotations

from dstk.api import Durability, Keyspace
from dstk.control.views import PartitionView

__all__ = ["misfit", "misfit_part", "what_to_do"]


def misfit(keyspace: Keyspace, key_length: int, durable: bool | None) -> str:
    """What of it is not as the Keyspace asks; "": it fits. Key length 0 and durable None: the worker does not say."""
    spec = keyspace.spec
    if key_length and key_length != spec.key_length:
        return f"keyLength {key_length}, not {spec.key_length}"
    if durable is not None and durable is not spec.durable:
        held = Durability.DISK if durable else Durability.MEMORY
        return f"durability {held.value}, not {spec.durability.value}"
    return ""


def misfit_part(keyspace: Keyspace, part: PartitionView) -> str:
    """The same of a partition that a worker serves; what it copies or passes on is not served."""
    key_length = part.key_length or len(part.span.start or part.span.end)
    return misfit(keyspace, key_length, part.durable) if part.role == "primary" else ""


def what_to_do(why: str) -> str:
    """For a person who meets it. `why`: as :func:`misfit` says."""
    where = "pods and their volumes" if why.startswith("durability Disk") else "pods (and their volumes, if on disk)"
    return (
        f"it is of an earlier Keyspace of this name ({why}) and is not served: create the Keyspace with the old fields "
        f"to have its rows back, or delete the {where} to begin anew without them"
    )

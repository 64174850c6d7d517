"""Who a control call is for, in its metadata: an address may have passed to another worker, or to another cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from dstk.errors import Misdirected

__all__ = ["Meant", "check_meant"]

_PREFIX = "dstk-"
REFUSAL = ("dstk-refusal", "misdirected")
"""Trailing metadata of a call that was meant for another."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Who a call is for. What the caller does not know is empty, and is not checked: versions before said nothing."""

    cluster: str = ""
    """The identity of the operator's cluster: see docs/decisions/identity.md."""
    worker: str = ""
    pod: str = ""
    """UID of the worker's pod."""

    def metadata(self) -> list[tuple[str, str]]:
        """As the call carries it."""
        return [(_PREFIX + each.name, text) for each in fields(self) if (text := getattr(self, each.name))]

    @classmethod
    def read(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Meant:
        """What a call carries."""
        said = {name.removeprefix(_PREFIX): str(value) for name, value in metadata if name.startswith(_PREFIX)}
        return cls(**{each.name: said.get(each.name, "") for each in fields(cls)})


def check_meant(meant: Meant, worker: str, pod: str) -> None:
    """Whether a call is for this worker of this pod. Raises Misdirected with who it is and who was meant."""
    if meant.worker and meant.worker != worker:
        raise Misdirected(f"this is worker {worker}, not {meant.worker}: look its address up anew")
    if meant.pod and pod and meant.pod != pod:
        raise Misdirected(f"this is worker {worker} of pod {pod}, not of pod {meant.pod}: look its address up anew")


def is_misdirected(trailing: Iterable[Any]) -> bool:
    """Whether a call was refused because it was meant for another."""
    return REFUSAL in [tuple(each) for each in trailing]

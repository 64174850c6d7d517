"""Partition: one closed-open range of a keyspace and who owns it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from msgspec import Meta, field

from dstk.api.bound import BoundText
from dstk.api.conditions import Conditions
from dstk.api.history import History
from dstk.api.meta import KeyspaceName, ObjectMeta, PodName
from dstk.api.model import COUNT_MAX, Model, Rule, immutable

__all__ = ["KeyRange", "Partition", "PartitionPhase", "PartitionSpec", "PartitionStatus"]


EPOCH_JUMP: Final = 65_536
"""By so much an epoch may grow in one write. An operator needs far less, also where an object was set back and it goes
on above what workers hold. Versions grow with the epoch for 2^23 epochs, which is far more."""


class PartitionPhase(StrEnum):
    """What clients can expect of a partition."""

    UNASSIGNED = "unassigned"
    LOADING = "loading"
    READY = "ready"
    PROXYING = "proxying"
    UNAVAILABLE = "unavailable"
    INVALID = "invalid"


_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


_COMPARED: Final = 32
"""Bytes of mixed bounds that are compared: with many more a rule costs more than an API server allows."""


def _of_text(text: str, place: str) -> str:
    """CEL for the byte at that place of a text of printable ASCII, -1 after its end."""
    characters = _PRINTABLE.replace("\\", "\\\\").replace("'", "\\'")
    return f"({place} < {text}.size() ? 32 + '{characters}'.indexOf({text}.charAt({place})) : -1)"


def _of_hex(text: str, place: str) -> str:
    """CEL for the byte at that place of a bound in hex, -1 after its end."""
    high, low = (f"'0123456789abcdef'.indexOf({text}.lowerAscii().charAt({n} + 2 * {place}))" for n in (2, 3))
    return f"({_bytes_of(text)} > {place} ? 16 * {high} + {low} : -1)"


def _bytes_of(text: str) -> str:
    """CEL for the number of bytes of a bound in hex."""
    return f"{text}.size() / 2 - 1"


def _mixed(hex_: str, text: str) -> Rule:
    """One bound is hex and the other text: compared byte by byte. What is no ASCII is left to the operator.

    ``join`` would make it simple, but an API server does not know how long its result can be.
    """
    hex_, text, places = f"self.{hex_}", f"self.{text}", str(list(range(_COMPARED)))

    def byte(bound: str, place: str) -> str:
        return _of_hex(hex_, place) if bound == hex_ else _of_text(text, place)

    start, end = "self.start", "self.end"
    same = f"{byte(start, 'j')} == {byte(end, 'j')}"
    length = _bytes_of(end) if end == hex_ else f"{end}.size()"
    below = f"{places}.exists(i, {byte(start, 'i')} < {byte(end, 'i')} && {places}.all(j, j >= i || {same}))"
    longer = f"{length} > {_COMPARED} && {places}.all(j, {same})"
    return Rule(
        rule=f"!{hex_}.startsWith('0x') || {text}.startsWith('0x') || {text} == '' || !{text}.matches('^[ -~]*$') || "
        f"{below} || {longer}",
        message="start must be below end",
        field=".end",
    )


class KeyRange(Model, frozen=True, kw_only=True):
    """The keys k with start <= k < end. A bound shorter than the keyspace's keys means the key padded with zeros."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="self.end == '' || self.start.startsWith('0x') || self.end.startsWith('0x') || self.start < self.end",
            message="start must be below end",
            field=".end",
        ),
        Rule(
            rule="!self.start.startsWith('0x') || !self.end.startsWith('0x') || "
            "self.start.lowerAscii() < self.end.lowerAscii()",
            message="start must be below end",
            field=".end",
        ),
        _mixed("start", "end"),
        _mixed("end", "start"),
    )

    start: Annotated[
        BoundText,
        Meta(
            description="The lowest key: text, or hex as 0x…. Empty: no lower bound.", extra_json_schema={"default": ""}
        ),
    ] = ""
    end: Annotated[
        BoundText,
        Meta(
            description="The key after the last: text, or hex as 0x…. Empty: no end.", extra_json_schema={"default": ""}
        ),
    ] = ""

    def __str__(self) -> str:
        return f"[{self.start or '-∞'}, {self.end or '+∞'})"


class PartitionSpec(Model, frozen=True, kw_only=True):
    """A range and who owns it. The operator writes primary, proxy and epoch."""

    rules: ClassVar[tuple[Rule, ...]] = (
        immutable("range"),
        immutable("keyspace"),
        Rule(rule="self.epoch >= oldSelf.epoch", message="epoch never decreases", field=".epoch"),
        Rule(
            rule=f"self.epoch <= oldSelf.epoch + {EPOCH_JUMP}",
            message=f"epoch grows by at most {EPOCH_JUMP} at a time",
            field=".epoch",
        ),
        Rule(
            rule="!has(self.primary) || (has(oldSelf.primary) && self.primary == oldSelf.primary) || "
            "self.epoch > oldSelf.epoch",
            message="a new primary needs a higher epoch; create an Assignment, which sees to it",
            field=".primary",
            reason="FieldValueForbidden",
        ),
        Rule(
            rule="!has(self.primary) || !has(self.proxy) || self.primary != self.proxy",
            message="proxy must be another pod than primary",
            field=".proxy",
        ),
    )

    keyspace: Annotated[KeyspaceName, Meta(description="The Keyspace it belongs to. Cannot change.")] = "default"
    range: Annotated[KeyRange, Meta(description="Its keys, closed-open. Cannot change.")]
    primary: Annotated[PodName | None, Meta(description="The pod that serves it. Absent: nobody does.")] = None
    proxy: Annotated[
        PodName | None,
        Meta(description="The pod that passes requests of stale clients on, after a move or merge."),
    ] = None
    epoch: Annotated[
        int,
        Meta(
            ge=0,
            le=COUNT_MAX,
            description="Grows with every change of ownership; at most one pod accepts writes in an epoch.",
        ),
    ] = 0

    @property
    def merged_away(self) -> bool:
        """Another serves its keys; it only passes requests on, for a moment."""
        return self.primary is None and self.proxy is not None


class PartitionStatus(Model, frozen=True, kw_only=True):
    """What the operator last saw of a partition."""

    phase: Annotated[
        PartitionPhase | None,
        Meta(
            description="unassigned: nobody serves it; loading: its pod prepares to; ready: its pod serves it; "
            "proxying: it is merged away and only passes requests on; unavailable: its pod is gone or silent; invalid: "
            "it cannot be served as it stands, see conditions."
        ),
    ] = None
    conditions: Conditions = ()
    history: History = ()
    rows: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Rows, as last reported.")] = 0
    bytes: Annotated[int, Meta(ge=0, le=COUNT_MAX, description="Bytes of keys and values, as last reported.")] = 0
    operations_per_second: Annotated[
        int,
        Meta(ge=0, le=COUNT_MAX, description="Reads and writes per second, a moving average, as last reported."),
    ] = 0
    bytes_per_second: Annotated[
        int,
        Meta(ge=0, le=COUNT_MAX, description="Bytes of keys and values that they carry, as last reported."),
    ] = 0
    sequence: Annotated[
        int,
        Meta(
            ge=0,
            le=COUNT_MAX,
            description="Sequence of the last write that its primary had on disk, as last reported; with Memory 0.",
        ),
    ] = 0
    incarnation: Annotated[
        str,
        Meta(
            max_length=253,
            description="The life of the primary (pod UID/boot nonce) that was last confirmed to serve it; another one "
            "has not got its rows, unless they are on disk.",
        ),
    ] = ""
    observed_generation: Annotated[
        int, Meta(ge=0, le=COUNT_MAX, description="The metadata.generation that this is about.")
    ] = 0

    @property
    def was_served(self) -> bool:
        """Whether some life of its primary was confirmed to serve it, whether or not that can be reached now."""
        return self.phase in (PartitionPhase.READY, PartitionPhase.UNAVAILABLE)


class Partition(Model, frozen=True, kw_only=True, tag_field="kind", tag="Partition"):
    """One closed-open range of a keyspace and the pod that owns it."""

    DATA_LOST: ClassVar[str] = "DataLost"
    """Condition: rows that the partition held went with its worker, or its disk is older than it was."""
    MISFIT: ClassVar[str] = "Misfit"
    """Condition: what its worker holds is of an earlier Keyspace of this name, with other fields, and is not served."""
    REPAIRED: ClassVar[str] = "Repaired"
    """Condition: somebody had edited or deleted the object, and it was set right; the reason says what."""
    INVALID: ClassVar[str] = "Invalid"
    """Condition: nobody can serve it as it stands; the reason says why."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: Annotated[PartitionSpec, Meta(description="Its range and owner.")]
    status: Annotated[PartitionStatus, Meta(description="What the operator last saw.")] = field(
        default_factory=PartitionStatus
    )

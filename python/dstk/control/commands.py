"""Commands: what the operator tells a worker to do with one partition, as plain data.

Every command is idempotent: told twice, it changes nothing more. Bounds are bytes, padded to the keyspace's key length;
an empty end is +∞.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, get_args

__all__ = [
    "COMMANDS",
    "AwaitApplied",
    "Command",
    "Drop",
    "Fence",
    "Follow",
    "Merge",
    "MergePart",
    "Promote",
    "Proxy",
    "Release",
    "Request",
    "Serve",
    "Split",
    "Unfence",
    "name_of",
    "word_of",
]


@dataclass(frozen=True, slots=True)
class Serve:
    """Be the primary of the range: with the rows that are held when it is held, else empty. Lifts no fence.

    `durable`: what is acknowledged is on disk. `lease_seconds`: for so long after the operator was heard; 0: for ever.
    """

    start: bytes
    end: bytes
    key_length: int
    durable: bool = False
    lease_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Follow:
    """Load a snapshot from `source`, then follow its log. Told again, it resumes.

    `size`: what the rows take at the source, in bytes. The worker keeps so much free, or refuses; 0: not known.
    """

    start: bytes
    end: bytes
    key_length: int
    source: str
    source_address: str
    source_incarnation: str
    durable: bool = False
    lease_seconds: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Fence:
    """Hold new requests. The log ends at the sequence in the state that comes back.

    The worker grants a `token` once, and only when it is above every token that it has seen for the partition;
    else the call is stale. Where there is a fence already, it has the new token from then on. So one who was
    answered knows that no call of anybody else, however late, can lift the fence unseen: whoever lifts it has been
    granted a higher token before, which shows.
    """

    token: int = 0


@dataclass(frozen=True, slots=True)
class Unfence:
    """Let held and new requests run, provided that the fence's token is not above `token`; else the call is stale.

    Told where there is no fence, the term and the token are taken note of. With token 0, which no fence has, that
    is all that ever happens: a fence stays, and the call succeeds.
    """

    token: int = 0


@dataclass(frozen=True, slots=True)
class AwaitApplied:
    """Answered once `sequence` is applied, or after `timeout_seconds`; not being there in time is no failure."""

    sequence: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Promote:
    """Become primary, provided that exactly `sequence` is applied and the rows have this digest."""

    sequence: int
    digest: int


@dataclass(frozen=True, slots=True)
class Proxy:
    """Stop being primary; pass on what was held, in order, then all that comes."""

    to: str
    to_address: str


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a proxied partition."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a partition that loads or follows. Never a primary."""


@dataclass(frozen=True, slots=True)
class Split:
    """Cut the partition at `keys` (ascending) into `names` (one more than keys), all primary at the action's epoch."""

    parent_epoch: int
    keys: tuple[bytes, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergePart:
    """One part of a merge, and the epoch it must have."""

    partition: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Join the parts, in key order, into the action's partition."""

    parts: tuple[MergePart, ...]
    start: bytes
    end: bytes


# fmt: off
Command: TypeAlias = (
    Serve | Follow | Fence | Unfence | AwaitApplied | Promote | Proxy | Release | Drop | Split
    | Merge
)
# fmt: on


COMMANDS: tuple[type[Command], ...] = get_args(Command)


@dataclass(frozen=True, slots=True)
class Request:
    """What a worker is told to do: a command on one partition, by the operator of `term`, for `incarnation`."""

    incarnation: str
    term: int
    keyspace: str
    partition: str
    epoch: int
    command: Command


def name_of(command: Command | type[Command]) -> str:
    """What it does, in a word: ``AwaitApplied`` is await-applied."""
    return word_of(command if isinstance(command, type) else type(command))


def word_of(kind: type) -> str:
    """The name of a class in lower case, with hyphens."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)[1:]

"""What a worker holds and refuses: the node of ``rust/core/src/node`` and the checks before it, without time."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dstk.control import commands
from dstk.control.views import PartitionView, Role
from dstk.span import Span

from .clock import Failed

__all__ = ["Flip", "Part", "Refused", "Request", "Route", "Worker"]

EPOCH_NUMBERS = 1000
"""Sequence numbers of an epoch."""
REMEMBERED = 64
"""Partitions that a worker remembers to have let go."""


class Refused(Failed):
    """The worker refused; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A control call as it travels."""

    incarnation: str
    term: int
    partition: str
    epoch: int
    command: commands.Command


@dataclass(frozen=True, slots=True)
class Route:
    """An entry of the routing table; no owner is nobody."""

    start: bytes
    end: bytes
    epoch: int
    owner: str

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)


@dataclass(slots=True)
class Part:
    """A partition that a worker holds. Rows are a value and its version; the log is every write, by sequence."""

    name: str
    start: bytes
    end: bytes
    role: Role
    epoch: int
    sequence: int = 0
    fenced: bool = False
    token: int = 0
    rows: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    log: list[tuple[int, bytes, int]] = field(default_factory=list)
    caught_up: bool = False
    error: str = ""
    source: str = ""
    source_incarnation: str = ""
    stream: int = 0
    """Number of the stream that it follows by; 0: none."""
    heard: int = 0
    """The source's sequence, as last heard."""
    proxy_to: str = ""
    quiet_since: float = 0.0
    synced: int = 0
    """The sequence up to which everything is on disk."""
    held: list[object] = field(default_factory=list)
    """Requests behind the fence."""

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)

    def meets(self, start: bytes, end: bytes) -> bool:
        return (not end or self.start < end) and (not self.end or start < self.end)

    @property
    def digest(self) -> int:
        return zlib.crc32(repr(sorted(self.rows.items())).encode())

    @property
    def accepts(self) -> bool:
        return self.role == "primary" and not self.fenced

    def write(self, key: bytes, value: int) -> int:
        """The version that the row has now."""
        self.sequence += 1
        self.rows[key] = value, self.sequence
        self.log.append((self.sequence, key, value))
        return self.sequence

    def follow_no_more(self) -> None:
        self.source = self.source_incarnation = self.error = ""
        self.stream, self.caught_up = 0, False

    def copied(self) -> Part:
        """As it is now, without what only memory holds."""
        return replace(self, rows=dict(self.rows), log=list(self.log), held=[])


@dataclass(frozen=True, slots=True)
class Flip:
    """A split or merge that was carried out."""

    epoch: int
    gone: tuple[tuple[str, int], ...]
    come: tuple[str, ...]


class Worker:
    """One life of a worker. ``changed`` names what is to be written to disk."""

    def __init__(self, name: str, incarnation: str) -> None:
        self.name = name
        self.incarnation = incarnation
        self.term = 0
        self.parts: dict[str, Part] = {}
        self.routes: dict[str, Route] = {}
        self.flips: list[Flip] = []
        self.let_go: dict[str, int] = {}
        """Epochs at which partitions were let go, by name: they are not served from empty at or below them."""
        self.streams = 0
        self.changed: set[str] = set()

    # What a call must pass

    def admit(self, incarnation: str, term: int) -> None:
        """Refuse what is meant for another life, or comes from an operator whose term is over."""
        self.check_incarnation(incarnation)
        self.check_term(term)
        self.term = max(self.term, term)

    def check_incarnation(self, incarnation: str) -> None:
        if incarnation != self.incarnation:
            raise Refused(f"this is {self.incarnation}, not {incarnation}")

    def check_term(self, term: int) -> None:
        if term < self.term:
            raise Refused(f"has seen term {self.term}, {term} is over")

    def check_epoch(self, part: Part, epoch: int) -> None:
        """Refuse an older epoch than the one held."""
        if epoch < part.epoch:
            raise Refused(f"{part.name} is at epoch {part.epoch}, not {epoch}")

    def check_same_epoch(self, part: Part, epoch: int) -> None:
        self.check_epoch(part, epoch)
        if epoch > part.epoch:
            raise Refused(f"{part.name} is not yet at epoch {epoch}")

    def check_not_let_go(self, name: str, epoch: int) -> None:
        """Refuse to serve from empty what was let go in that epoch or later, or what the routes know of a later one."""
        if epoch <= self.let_go.get(name, 0):
            raise Refused(f"has let {name} go at epoch {self.let_go[name]}")
        route = self.routes.get(name)
        if route is not None and route.epoch > epoch:
            raise Refused(f"knows {name} at epoch {route.epoch}")

    def primary(self, name: str, epoch: int) -> Part:
        """The partition, provided that it is primary in that very epoch."""
        part = self.parts.get(name)
        if part is None:
            raise Refused(f"does not hold {name}")
        self.check_epoch(part, epoch)
        if part.role != "primary":
            raise Refused(f"{name} is {part.role}")
        self.check_same_epoch(part, epoch)
        return part

    # Actions

    def act(self, request: Request, now: float) -> list[str]:
        """Carry out, or raise Refused. Names of the partitions that it is about."""
        name, epoch = request.partition, request.epoch
        part = self.parts.get(name)
        about = [name]
        match request.command:
            case commands.Serve(start, end, _):
                self._serve(name, epoch, part, start, end)
            case commands.Follow() as follow:
                self._follow(name, epoch, part, follow)
            case commands.Fence(token):
                self.fence(self.primary(name, epoch), token)
            case commands.Unfence(token):
                self.unfence(self.primary(name, epoch), token)
            case commands.AwaitApplied():
                if part is None:
                    raise Refused(f"does not hold {name}")
                self.check_epoch(part, epoch)
            case commands.Promote(sequence, digest):
                self._promote(epoch, part, sequence, digest)
            case commands.Proxy(to, _):
                self._proxy(epoch, part, to, now)
            case commands.Release():
                self._forget(part, epoch, ("proxy",))
            case commands.Drop():
                self._forget(part, epoch, ("loading", "following"))
            case commands.Split(parent_epoch, keys, names):
                self._split(name, epoch, parent_epoch, keys, names)
                about = list(names)
            case commands.Merge(parts, start, end):
                self._merge(name, epoch, parts, start, end)
        self.changed.update((name, *about))
        return about

    def fence(self, part: Part, token: int) -> None:
        if token <= part.token:
            raise Refused(f"has seen token {part.token}")
        part.fenced, part.token = True, token

    def unfence(self, part: Part, token: int) -> None:
        if part.fenced and 0 < token < part.token:
            raise Refused(f"is fenced with token {part.token}")
        if token:
            part.fenced, part.token = False, max(part.token, token)

    def _add(self, part: Part) -> Part:
        for other in self.parts.values():
            if other.meets(part.start, part.end):
                raise Refused(f"{part.name} overlaps {other.name}")
        self.parts[part.name] = part
        return part

    def _serve(self, name: str, epoch: int, part: Part | None, start: bytes, end: bytes) -> None:
        if part is None:
            self.check_not_let_go(name, epoch)
            first = sequence_before(epoch)
            self._add(Part(name, start, end, "primary", epoch, first, synced=first))
            return
        self.check_epoch(part, epoch)
        if part.role != "primary":
            raise Refused(f"{name} is {part.role}")
        if epoch > part.epoch:
            part.epoch, part.sequence, part.log = epoch, max(part.sequence, sequence_before(epoch)), []

    def _follow(self, name: str, epoch: int, part: Part | None, follow: commands.Follow) -> None:
        if follow.source == self.name:
            raise Refused("cannot follow itself")
        if part is None:
            part = self._add(Part(name, follow.start, follow.end, "loading", epoch))
        self.check_epoch(part, epoch)
        if part.role == "primary":
            raise Refused(f"{name} is primary")
        same = (part.source, part.source_incarnation) == (follow.source, follow.source_incarnation)
        if same and part.epoch == epoch and not part.error:
            return
        self.streams += 1
        part.role, part.epoch, part.proxy_to = "loading", epoch, ""
        part.source, part.source_incarnation = follow.source, follow.source_incarnation
        part.stream, part.caught_up, part.error = self.streams, False, ""

    def _promote(self, epoch: int, part: Part | None, sequence: int, digest: int) -> None:
        if part is None:
            raise Refused("does not hold it")
        self.check_epoch(part, epoch)
        if part.role == "primary" and part.epoch == epoch:
            return
        if part.role not in ("loading", "following"):
            raise Refused(f"{part.name} is {part.role}")
        if epoch == part.epoch:
            raise Refused("follows in that epoch")
        self.check_complete(part, sequence, digest)
        part.role, part.epoch = "primary", epoch
        part.follow_no_more()

    def check_complete(self, part: Part, sequence: int, digest: int) -> None:
        if not part.caught_up or (part.sequence, part.digest) != (sequence, digest):
            raise Refused(f"{part.name} is at {part.sequence}, not {sequence}, or has other rows")

    def _proxy(self, epoch: int, part: Part | None, to: str, now: float) -> None:
        if part is None:
            raise Refused("does not hold it")
        if to == self.name:
            raise Refused("cannot be its own proxy")
        self.check_epoch(part, epoch)
        if part.role not in ("primary", "proxy") or (part.role == "primary" and epoch == part.epoch):
            raise Refused(f"{part.name} is {part.role} in epoch {part.epoch}")
        if part.role == "primary":
            part.quiet_since = now
        part.role, part.epoch, part.fenced, part.proxy_to = "proxy", epoch, False, to
        part.rows, part.log = {}, []

    def _forget(self, part: Part | None, epoch: int, roles: Collection[Role]) -> None:
        if part is None:
            return
        self.check_epoch(part, epoch)
        if part.role not in roles:
            raise Refused(f"{part.name} is {part.role}")
        self._let_go(part, epoch)

    def _let_go(self, part: Part, epoch: int) -> None:
        del self.parts[part.name]
        self.let_go.pop(part.name, None)
        self.let_go[part.name] = max(part.epoch, epoch)
        if len(self.let_go) > REMEMBERED:
            del self.let_go[next(iter(self.let_go))]

    def repeated(self, flip: Flip) -> bool:
        return flip in self.flips

    def _split(self, name: str, epoch: int, parent_epoch: int, keys: tuple[bytes, ...], names: tuple[str, ...]) -> None:
        flip = Flip(epoch, ((name, parent_epoch),), names)
        if self.repeated(flip):
            return
        parent = self.primary(name, parent_epoch)
        if parent.fenced:
            raise Refused("fenced")
        if epoch <= parent_epoch or any(child in self.parts for child in names):
            raise Refused("epoch too low, or a name is taken")
        self._let_go(parent, parent_epoch)
        bounds = [parent.start, *keys, parent.end]
        for child, start, end in zip(names, bounds[:-1], bounds[1:], strict=True):
            piece = self._add(Part(child, start, end, "primary", epoch, parent.sequence))
            piece.rows = {key: row for key, row in parent.rows.items() if piece.holds(key)}
        self.flips.append(flip)

    def _merge(self, name: str, epoch: int, parts: tuple[commands.MergePart, ...], start: bytes, end: bytes) -> None:
        flip = Flip(epoch, tuple((part.partition, part.epoch) for part in parts), (name,))
        if self.repeated(flip):
            return
        olds = [self.primary(part.partition, part.epoch) for part in parts]
        if any(old.fenced for old in olds):
            raise Refused("fenced")
        if name in self.parts or any(part.epoch >= epoch for part in parts):
            raise Refused("epoch too low, or the name is taken")
        if any(part.meets(start, end) for part in self.parts.values() if part not in olds):
            raise Refused("somebody lies between the parts")
        for old in olds:
            self._let_go(old, old.epoch)
            self.changed.add(old.name)
        whole = self._add(Part(name, start, end, "primary", epoch, max(old.sequence for old in olds) + 1))
        for old in olds:
            whole.rows.update(old.rows)
        self.flips.append(flip)

    # Asking

    def find(self, key: bytes) -> Part | None:
        for part in self.parts.values():
            if part.holds(key):
                return part
        return None

    def route(self, key: bytes) -> Route | None:
        """Where the routes say that a key is served; the latest epoch counts."""
        found = [route for route in self.routes.values() if route.holds(key)]
        best = max(found, key=lambda route: route.epoch, default=None)
        return best if best is not None and best.owner else None

    def learn(self, routes: Mapping[str, Route]) -> None:
        self.routes = dict(routes)

    def views(self, names: Iterable[str], now: float) -> dict[str, PartitionView]:
        return {name: view(self.parts[name], now) for name in names if name in self.parts}


def sequence_before(epoch: int) -> int:
    """The sequence that a range goes on from when it is served or confirmed in an epoch."""
    return max(epoch - 1, 0) * EPOCH_NUMBERS


def view(part: Part, now: float) -> PartitionView:
    return PartitionView(
        role=part.role,
        epoch=part.epoch,
        span=Span(part.start, part.end),
        sequence=part.sequence,
        fenced=part.fenced,
        fence_token=part.token,
        rows=len(part.rows),
        digest=part.digest,
        lag=max(0, part.heard - part.sequence),
        caught_up=part.caught_up,
        follow_error=part.error,
        quiet_seconds=now - part.quiet_since if part.role == "proxy" else 0.0,
        source=part.source,
        proxy_to=part.proxy_to,
    )

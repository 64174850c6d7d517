"""A worker as the life cycle knows it: partitions, roles, epochs and fences, with rows that can be compared."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from dstk.lifecycle import actions
from dstk.lifecycle.observed import PartView
from dstk.lifecycle.vocabulary import Role


class Refused(Exception):
    """The worker refused; nothing has changed."""


@dataclass
class SimPart:
    """A partition that a worker holds. The log is every write since the first, by sequence."""

    start: bytes
    end: bytes
    role: Role
    epoch: int
    sequence: int = 0
    fenced: bool = False
    token: int = 0
    rows: dict[bytes, int] = field(default_factory=dict)
    log: list[tuple[int, bytes, int]] = field(default_factory=list)
    caught_up: bool = False
    error: str = ""
    source: str = ""
    source_incarnation: str = ""
    quiet_since: float = 0.0
    proxy_to: str = ""

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)

    @property
    def digest(self) -> int:
        return zlib.crc32(repr(sorted(self.rows.items())).encode())

    @property
    def accepts(self) -> bool:
        return self.role == "primary" and not self.fenced

    def write(self, key: bytes, value: int) -> None:
        self.sequence += 1
        self.rows[key] = value
        self.log.append((self.sequence, key, value))


@dataclass
class SimWorker:
    """One life of a worker. `find` looks up the partition that a follower follows, or None."""

    name: str
    incarnation: str
    random: random.Random
    find: Callable[[str, str, str], SimPart | None]
    clock: Callable[[], float]
    term: int = 0
    parts: dict[str, SimPart] = field(default_factory=dict)

    def act(self, tell: actions.Tell, term: int) -> None:
        """Carry out, or raise Refused."""
        if tell.incarnation != self.incarnation or term < self.term:
            raise Refused("stale")
        self.term = term
        name, epoch, part = tell.partition, tell.epoch, self.parts.get(tell.partition)
        match tell.command:
            case actions.Serve(start, end, _):
                self._serve(name, epoch, part, start, end)
            case actions.Follow() as follow:
                self._follow(name, epoch, part, follow)
            case actions.Fence(token):
                self._fence(self._primary(part, epoch), token)
            case actions.Unfence(token):
                self._unfence(self._primary(part, epoch), token)
            case actions.AwaitApplied(sequence, _):
                self._await_applied(name, part, sequence)
            case actions.Promote(sequence, digest):
                self._promote(epoch, part, sequence, digest)
            case actions.Proxy(to, _):
                self._proxy(epoch, part, to)
            case actions.Release():
                self._forget(name, part, ("proxy",))
            case actions.Drop():
                self._forget(name, part, ("loading", "following"))
            case actions.Split(parent_epoch, keys, names):
                self._split(name, epoch, part, parent_epoch, keys, names)
            case actions.Merge(parts, start, end):
                self._merge(name, epoch, parts, start, end)

    def tick(self) -> None:
        """Followers get on a little."""
        for name, part in self.parts.items():
            if part.role in ("loading", "following"):
                self._catch_up(name, part, self.random.choice((0, 1, 3, 50)))

    def views(self) -> dict[str, PartView]:
        return {name: self._view(name, part) for name, part in self.parts.items()}

    def _view(self, name: str, part: SimPart) -> PartView:
        source = self.find(part.source, part.source_incarnation, name) if part.source else None
        return PartView(
            role=part.role,
            epoch=part.epoch,
            start=part.start,
            end=part.end,
            sequence=part.sequence,
            fenced=part.fenced,
            fence_token=part.token,
            rows=len(part.rows),
            digest=part.digest,
            lag=source.sequence - part.sequence if source is not None else 0,
            caught_up=part.caught_up,
            follow_error=part.error,
            quiet_seconds=self.clock() - part.quiet_since if part.role == "proxy" else 0.0,
            source=part.source,
            proxy_to=part.proxy_to,
        )

    def _primary(self, part: SimPart | None, epoch: int) -> SimPart:
        if part is None or part.role != "primary" or part.epoch != epoch:
            raise Refused("not primary in that epoch")
        return part

    def _fence(self, part: SimPart, token: int) -> None:
        if token <= part.token:
            raise Refused(f"has seen token {part.token}")
        part.fenced, part.token = True, token

    def _unfence(self, part: SimPart, token: int) -> None:
        if part.fenced and 0 < token < part.token:
            raise Refused(f"is fenced with token {part.token}")
        if token:
            part.fenced, part.token = False, max(part.token, token)

    def _serve(self, name: str, epoch: int, part: SimPart | None, start: bytes, end: bytes) -> None:
        if part is None:
            self.parts[name] = SimPart(start, end, "primary", epoch)
        elif part.role != "primary" or epoch < part.epoch:
            raise Refused(f"is {part.role} in epoch {part.epoch}")
        else:
            part.epoch = epoch

    def _follow(self, name: str, epoch: int, part: SimPart | None, follow: actions.Follow) -> None:
        if part is None:
            part = self.parts[name] = SimPart(follow.start, follow.end, "loading", epoch)
        elif part.role not in ("loading", "following") or part.epoch != epoch:
            raise Refused(f"is {part.role} in epoch {part.epoch}")
        part.source, part.source_incarnation, part.error = follow.source, follow.source_incarnation, ""

    def _catch_up(self, name: str, part: SimPart, steps: int) -> None:
        source = self.find(part.source, part.source_incarnation, name)
        if source is None or source.role != "primary" or source.epoch != part.epoch:
            part.error = "the source does not hold it as primary"
            return
        if not part.caught_up and steps and not part.error:
            part.rows, part.sequence = dict(source.rows), source.sequence
            part.role, part.caught_up = "following", True
        elif not part.error:
            missed = [entry for entry in source.log if entry[0] > part.sequence][:steps]
            for sequence, key, value in missed:
                part.rows[key], part.sequence = value, sequence
                part.log.append((sequence, key, value))

    def _await_applied(self, name: str, part: SimPart | None, sequence: int) -> None:
        if part is None or part.role != "following":
            raise Refused("does not follow")
        if self.random.random() < 0.8:
            self._catch_up(name, part, sequence)

    def _promote(self, epoch: int, part: SimPart | None, sequence: int, digest: int) -> None:
        if part is not None and part.role == "primary" and part.epoch == epoch:
            return
        if part is None or part.role != "following" or (part.sequence, part.digest) != (sequence, digest):
            raise Refused("not ready")
        part.role, part.epoch, part.source, part.caught_up = "primary", epoch, "", False

    def _proxy(self, epoch: int, part: SimPart | None, to: str) -> None:
        if part is None or part.role not in ("primary", "proxy") or epoch < part.epoch:
            raise Refused("not primary before that epoch")
        part.role, part.epoch, part.fenced, part.proxy_to = "proxy", epoch, False, to
        part.quiet_since = self.clock()

    def _forget(self, name: str, part: SimPart | None, roles: tuple[Role, ...]) -> None:
        if part is not None and part.role not in roles:
            raise Refused(f"is {part.role}")
        self.parts.pop(name, None)

    def _split(
        self,
        name: str,
        epoch: int,
        part: SimPart | None,
        parent_epoch: int,
        keys: tuple[bytes, ...],
        names: tuple[str, ...],
    ) -> None:
        if part is None and all(child in self.parts and self.parts[child].epoch == epoch for child in names):
            return
        parent = self._primary(part, parent_epoch)
        if parent.fenced:
            raise Refused("fenced")
        del self.parts[name]
        bounds = [parent.start, *keys, parent.end]
        for child, start, end in zip(names, bounds[:-1], bounds[1:], strict=True):
            piece = self.parts[child] = SimPart(start, end, "primary", epoch, parent.sequence)
            piece.rows = {key: value for key, value in parent.rows.items() if piece.holds(key)}

    def _merge(self, name: str, epoch: int, parts: tuple[actions.Part, ...], start: bytes, end: bytes) -> None:
        if name in self.parts and self.parts[name].epoch == epoch:
            return
        olds = [self._primary(self.parts.get(part.partition), part.epoch) for part in parts]
        if any(old.fenced for old in olds):
            raise Refused("fenced")
        for part in parts:
            del self.parts[part.partition]
        merged = self.parts[name] = SimPart(start, end, "primary", epoch, max(old.sequence for old in olds) + 1)
        for old in olds:
            merged.rows.update(old.rows)

"""A worker's process and its disk: it serves clients, follows sources, stands still, dies and comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dstk.control import commands

from .clock import Process, Reply, Steps
from .worker import Flip, Part, Refused, Request, Worker

if TYPE_CHECKING:
    from .world import World

__all__ = ["Answer", "Operation", "Pod"]

HOLD_SECONDS = 1.5
"""So long a request waits behind a fence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets: ``ok``; ``no`` (not applied, try again); ``mismatch`` (of the version asked for)."""

    said: str
    value: int = 0
    version: int = 0
    by: str = ""


@dataclass(slots=True)
class Operation:
    """A client's request. ``value`` None reads; ``version`` is what a conditional write asks for."""

    number: int
    key: bytes
    value: int | None
    version: int | None
    answer: Callable[[Answer], None]
    expires: float = 0.0


@dataclass(slots=True)
class Disk:
    """What is synced, and comes back after a crash."""

    parts: dict[str, Part] = field(default_factory=dict)
    let_go: dict[str, int] = field(default_factory=dict)
    flips: list[Flip] = field(default_factory=list)
    term: int = 0


class Pod(Process):
    """One life of a worker under its name."""

    def __init__(self, world: World, name: str, disk: Disk | None) -> None:
        super().__init__()
        world.lives += 1
        self.world = world
        self.clock = world.clock
        self.name = name
        self.worker = Worker(name, f"{name}/{world.lives}")
        self.disk = disk
        self.full_until = 0.0
        self.slow_until = 0.0
        self._flush_due = False
        self._unsynced: list[int] = []
        self._unanswered: list[Callable[[], None]] = []
        if disk is not None:
            self.come_back(disk)

    # Disk

    def come_back(self, disk: Disk) -> None:
        """Hold what was synced; serve nothing before the operator says so."""
        self.worker.term = disk.term
        self.worker.let_go, self.worker.flips = dict(disk.let_go), list(disk.flips)
        for name, kept in disk.parts.items():
            part = self.worker.parts[name] = kept.copied()
            if part.role == "primary":
                self.fence_restarted(part)
            elif part.role in ("loading", "following"):
                part.caught_up, part.error = part.role == "following", "the worker was restarted"
            part.synced = part.sequence

    def fence_restarted(self, part: Part) -> None:
        """A fence is no record of the log: every primary comes back behind one, and tokens are counted from there."""
        part.fenced, part.token = True, 1

    def synced(self, then: Callable[[], None]) -> None:
        """Call once what is now in memory is on disk; at once where nothing is kept there."""
        if self.disk is None:
            then()
            return
        self._unanswered.append(then)
        if not self._flush_due:
            self._flush_due = True
            self.clock.after(0.0005 + 0.004 * self.clock.random.random() * self._slowness, self._flush)

    def answered_when_synced(self, then: Callable[[], None]) -> None:
        """What a caller is told is told when it is on disk."""
        self.synced(then)

    def _flush(self) -> None:
        if not self.alive:
            return
        self._flush_due = False
        self.write_now()
        calls, self._unanswered = self._unanswered, []
        for call in calls:
            call()

    def write_now(self) -> None:
        """Have on disk what is in memory, where anything is kept there."""
        if self.disk is None:
            return
        for name in sorted(self.worker.changed):
            part = self.worker.parts.get(name)
            if part is None:
                self.disk.parts.pop(name, None)
            else:
                part.synced = part.sequence
                self.disk.parts[name] = part.copied()
        self.worker.changed.clear()
        self._unsynced.clear()
        self.disk.let_go, self.disk.flips = dict(self.worker.let_go), list(self.worker.flips)
        self.disk.term = self.worker.term

    def die(self) -> Disk | None:
        """What is left of it. What was written and not synced may be found again, or not."""
        if self.disk is not None and self.clock.random.random() < self.world.weather.keeps_unsynced:
            self.write_now()
        for value in self._unsynced:
            self.world.checker.unwritten(value)
        self.alive = False
        return self.disk

    # Calls

    @property
    def _slowness(self) -> float:
        return 30.0 if self.slow_until > self.clock.now else 1.0

    def receive(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Take in a call; False where nobody is listening. Who stands still takes it in later, in order."""
        if not self.alive:
            return False
        wait = max(self.paused_until - self.clock.now, 0.0)
        if self.slow_until > self.clock.now:
            wait += 0.1 * self.clock.random.random()
        if wait:
            self.clock.after(wait, self._if_alive, call, arguments)
        else:
            call(*arguments)
        return True

    def _if_alive(self, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        left = self.paused_until - self.clock.now
        if self.alive and left > 0:
            self.clock.after(left, self._if_alive, call, arguments)
        elif self.alive:
            call(*arguments)

    def act(self, request: Request, reply: Reply) -> None:
        """One control call."""
        worker, world = self.worker, self.world
        before = worker.parts.get(request.partition)
        try:
            worker.admit(request.incarnation, request.term)
            about = worker.act(request, self.clock.now)
        except Refused as refused:
            world.note("%s refuses %s of %s: %s", self.name, type(request.command).__name__, request.term, refused)
            error = refused
            self.answered_when_synced(lambda: world.back(reply.fail, error))
            return
        world.note("%s did %s %s", self.name, request.partition, request.command)
        world.checker.suspect_all()
        match request.command:
            case commands.AwaitApplied(sequence, seconds):
                self.clock.spawn(self, self._await_applied(request.partition, sequence, seconds, reply))
                return
            case commands.Follow():
                part = worker.parts[request.partition]
                self.clock.spawn(self, self._stream(part, part.stream))
        if before is not None and request.partition not in worker.parts:
            self.disconnect(before)
        for name in about:
            if name in worker.parts:
                self._release_held(worker.parts[name])
        self._answer_views(about, reply)

    def _answer_views(self, about: list[str], reply: Reply) -> None:
        views = self.worker.views(about, self.clock.now)
        self.answered_when_synced(lambda: self.world.back(reply.succeed, views))

    def look(self, names: list[str] | None, reply: Reply) -> None:
        """A status call: incarnation, term, and what is held of `names` (None: everything)."""
        worker = self.worker
        views = worker.views(list(worker.parts) if names is None else names, self.clock.now)
        said = worker.incarnation, worker.term, views
        self.answered_when_synced(lambda: self.world.back(reply.succeed, said))

    def take_routes(self, term: int, routes: dict[str, Any], reply: Reply) -> None:
        try:
            self.worker.check_term(term)
        except Refused as refused:
            self.world.back(reply.fail, refused)
            return
        self.worker.term = max(self.worker.term, term)
        self.worker.learn(routes)
        self.world.back(reply.succeed, None)

    # Following

    def _stream(self, part: Part, number: int) -> Steps:
        """A snapshot of the source, then its log. Only what the source has synced is sent."""
        world, random = self.world, self.clock.random
        loaded = False
        while True:
            yield (0.003 + 0.02 * random.random()) * self._slowness
            if part.stream != number or self.worker.parts.get(part.name) is not part or part.error:
                return
            source = world.pods.get(part.source)
            if source is not None and source.paused_until > self.clock.now:
                continue
            held = self._source_part(source, part)
            if held is None:
                part.error = "the source does not serve it in that epoch"
                self.worker.changed.add(part.name)
                return
            if not loaded:
                snapshot = dict(held.rows), held.sequence
                if held.synced < held.sequence:
                    continue
                yield 0.005 + 0.1 * random.random()
                if part.stream != number or self.worker.parts.get(part.name) is not part or part.error:
                    return
                part.rows, part.sequence = snapshot
                part.role, part.caught_up, loaded, part.log = "following", True, True, []
            for sequence, key, value in held.log:
                if part.sequence < sequence <= held.synced and random.random() < 0.9:
                    if sequence != part.sequence + 1:
                        break
                    part.rows[key], part.sequence = (value, sequence), sequence
            part.heard = held.sequence
            self.worker.changed.add(part.name)

    def _source_part(self, source: Pod | None, part: Part) -> Part | None:
        if source is None or not source.alive or source.worker.incarnation != part.source_incarnation:
            return None
        held = source.worker.parts.get(part.name)
        return held if held is not None and held.role == "primary" and held.epoch == part.epoch else None

    def _await_applied(self, name: str, sequence: int, seconds: float, reply: Reply) -> Steps:
        until = self.clock.now + seconds
        while self.clock.now < until:
            part = self.worker.parts.get(name)
            if part is None or not part.stream or part.error:
                break
            if part.role == "following" and part.sequence >= sequence:
                break
            yield 0.01
        self._answer_views([name], reply)

    # Clients

    def serve(self, operation: Operation, hops: int = 3) -> None:
        """Answer, hold, or pass on."""
        part = self.worker.find(operation.key)
        target = ""
        if part is None:
            route = self.worker.route(operation.key)
            target = route.owner if route is not None else ""
        elif part.role == "primary":
            if part.fenced:
                self._hold(part, operation)
            else:
                self._carry_out(part, operation)
            return
        elif part.role == "proxy":
            part.quiet_since, target = self.clock.now, part.proxy_to
        else:
            route = self.worker.route(operation.key)
            if route is None or route.epoch <= part.epoch:
                target = part.source
            elif route.owner != self.name:
                target = route.owner
            elif part.role == "following":
                self._hold(part, operation)
                return
        self._pass_on(operation, target, hops)

    def _pass_on(self, operation: Operation, target: str, hops: int) -> None:
        if not target or target == self.name or hops <= 0:
            operation.answer(Answer("no", by=self.name))
            return
        self.world.to_pod(target, operation, hops - 1)

    def _hold(self, part: Part, operation: Operation) -> None:
        part.held.append(operation)
        operation.expires = self.clock.now + HOLD_SECONDS
        self.clock.after(HOLD_SECONDS, self._expire, part, operation)

    def _expire(self, part: Part, operation: Operation) -> None:
        if self.alive and operation in part.held:
            part.held.remove(operation)
            operation.answer(Answer("no", by=self.name))

    def _release_held(self, part: Part) -> None:
        """What was held runs here, or is passed on, in order, once the fence is gone."""
        if part.fenced or part.role in ("loading", "following"):
            return
        held, part.held = part.held, []
        for operation in held:
            assert isinstance(operation, Operation)
            self.serve(operation)

    def disconnect(self, part: Part) -> None:
        """Requests held for a partition that is gone are not applied."""
        for operation in part.held:
            assert isinstance(operation, Operation)
            operation.answer(Answer("no", by=self.name))

    def _carry_out(self, part: Part, operation: Operation) -> None:
        checker, key = self.world.checker, operation.key
        value, version = part.rows.get(key, (0, 0))
        if operation.value is None:
            checker.reads(operation.number, key, value)
            answer = Answer("ok", value, version, self.name)
        elif self.full_until > self.clock.now:
            answer = Answer("no", by=self.name)
        elif operation.version is not None and not self.has_version(version, operation.version):
            answer = Answer("mismatch", value, version, self.name)
        else:
            version = part.write(key, operation.value)
            self.worker.changed.add(part.name)
            if self.disk is None:
                part.synced = part.sequence
            else:
                self._unsynced.append(operation.value)
            checker.writes(operation.number, key, operation.value)
            answer = Answer("ok", operation.value, version, self.name)
        self.answered_when_synced(lambda: operation.answer(answer))

    def has_version(self, version: int, wanted: int) -> bool:
        return version == wanted

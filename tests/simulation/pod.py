"""A worker's process: the node and the control service that ship, and around them what a network would do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dstk._core import PassiveNode, PassiveStream
from dstk.control.commands import AwaitApplied, Request
from dstk.control.views import LoadReport, Role
from dstk.errors import DstkError, Unavailable
from dstk.worker.control import Control

from .loop import LoopClock, Process

if TYPE_CHECKING:
    from dstk._core import Answer as Said

    from .world import World

__all__ = ["KEYSPACE", "Answer", "Operation", "Pod", "Row"]

KEYSPACE = "default"
TICK_SECONDS = 0.2
AGAIN = object()
OK, NO_ROW, MISMATCH, UNKNOWN = 0, 1, 2, 4

NodeSettings: TypeAlias = dict[str, int | float | str]


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


@dataclass(frozen=True, slots=True)
class Row:
    """What a worker holds of a key: in which partition and role, and the row's value (0: there is none)."""

    partition: str
    role: Role
    epoch: int
    accepts: bool
    caught_up: bool
    value: int


class _Inline(Executor):
    """Carries out at once, where the worker has threads; what waits there is asked again and again."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        match arguments:
            case (Request(command=AwaitApplied(sequence, seconds)) as request,):
                until = self._pod.loop.time() + seconds
                self._await_applied(done, work, request, sequence, until)
            case _:
                self._run(done, work, *arguments, **named)
        return done

    def _run(self, done: Future[Any], work: Any, /, *arguments: Any, **named: Any) -> None:
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        self._pod.collect()

    def _await_applied(self, done: Future[Any], work: Any, request: Request, sequence: int, until: float) -> None:
        once: Future[Any] = Future()
        self._run(once, work, replace(request, command=AwaitApplied(sequence, 0.0)))
        loop = self._pod.loop
        if once.exception() is None and loop.time() < until and _is_behind(once.result(), sequence):
            loop.call_later(0.01, self._await_applied, done, work, request, sequence, until)
            return
        if (error := once.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(once.result())


def _is_behind(states: list[Any], sequence: int) -> bool:
    """Whether a copy may still get so far."""
    if not states or states[0].follow_error:
        return False
    held = states[0]
    return held.role == "loading" or (held.role == "following" and held.sequence < sequence)


class Pod(Process):
    """One life of a worker under its name."""

    def __init__(self, world: World, name: str, uid: str, address: str, directory: Path | None) -> None:
        super().__init__()
        world.lives += 1
        self.world = world
        self.loop = world.loop
        self.name = name
        self.address = address
        self.incarnation = f"{uid}/{world.lives}"
        self.full_until = 0.0
        self.slow_until = 0.0
        self.directory = directory
        settings: NodeSettings = {"hold_seconds": 1.5, "load_half_life_seconds": 2.0}
        if directory is not None:
            settings["data_dir"] = str(directory)
        self.node = PassiveNode(name, self.incarnation, world.node_clock, settings)
        self.node.listen(f"{address}:7070")
        self._calls: set[asyncio.Future[Any]] = set()
        self._reports: list[asyncio.Queue[LoadReport | None]] = []
        self._held: dict[int, Operation] = {}
        self._undurable: list[tuple[int, Callable[[], None]]] = []
        self._streams: list[PassiveStream] = []
        self._flush_due = False
        self._unsynced: list[int] = []
        self.control = self.context.run(self._make_control, uid)
        self.spawn(self.loop, self._tick())

    def _make_control(self, uid: str) -> Control:
        clock = LoopClock(self.loop)
        return Control(self.node, self.name, self.incarnation, f"{self.address}:7070", uid, clock, _Inline(self))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.node.tick()
            self.collect()
            self._flush_soon()

    # Its end

    def die(self) -> None:
        """What it had not on disk is gone, or found again, or torn; who is connected hears of it."""
        if self.directory is not None:
            draw, keeps = self.world.random.random(), self.world.weather.keeps_unsynced
            if draw < keeps:
                self.write_now()
            self.node.crash(draw > (1 + keeps) / 2)
        self.alive = False
        for value in self._unsynced:
            self.world.checker.unwritten(value)
        for call in self._calls:
            self.world.network.back(call, None, Unavailable("the connection broke"))
        for reports in self._reports:
            self.loop.outside(0.01, reports.put_nowait, None)

    # Control calls

    def carry_out(self, call: Callable[[Control], Any], to: asyncio.Future[Any] | None) -> None:
        """Have a call carried out; its answer leaves for `to`."""
        work = self.spawn(self.loop, self._carry_out(call))
        if to is not None:
            self._calls.add(to)
        work.add_done_callback(lambda done: self._answer(done, to), context=self.context)

    async def _carry_out(self, call: Callable[[Control], Any]) -> Any:
        if self.slow_until > self.loop.time():
            await asyncio.sleep(0.1 * self.world.random.random())
        try:
            return await call(self.control)
        finally:
            self.collect()
            self.world.checker.suspect_all()

    def _answer(self, done: asyncio.Task[Any], to: asyncio.Future[Any] | None) -> None:
        if to is None:
            done.exception()
            return
        self._calls.discard(to)
        error = done.exception()
        if error is not None and not isinstance(error, DstkError):
            self.world.fail(error)
        if error is not None:
            self.world.note("%s refuses: %s", self.name, error)
        value = None if error is not None else done.result()
        self.world.network.back(to, value, error)

    def stream_loads(self, interval: float, reports: asyncio.Queue[LoadReport | None]) -> asyncio.Task[None]:
        """Report loads into that queue for as long as the stream lasts."""
        self._reports.append(reports)
        return self.spawn(self.loop, self._stream_loads(interval, reports))

    async def _stream_loads(self, interval: float, reports: asyncio.Queue[LoadReport | None]) -> None:
        world, arrives = self.world, 0.0
        async for report in self.control.loads(interval):
            if world.network.is_cut_off(self.address_of_control):
                continue
            arrives = max(arrives + 1e-6, self.loop.time() + 0.001 + 0.01 * world.random.random())
            self.loop.outside(arrives - self.loop.time(), reports.put_nowait, report)
        self.loop.outside(0.01, reports.put_nowait, None)

    @property
    def address_of_control(self) -> str:
        return f"{self.address}:7071"

    # What the node wants to have sent

    def collect(self) -> None:
        """Take what the node has decided of requests that it held, and begin the streams that it wants."""
        for number, said in self.node.verdicts():
            operation = self._held.pop(number)
            if said[0] == "again":
                self.serve(operation)
            else:
                self._said(operation, said, hops=3)
        for stream in self.node.streams():
            self._streams.append(stream)
            self.spawn(self.loop, self._follow(stream))

    async def _follow(self, stream: PassiveStream) -> None:
        world, random = self.world, self.world.random
        while True:
            await asyncio.sleep((0.003 + 0.02 * random.random()) * self._slowness)
            try:
                if not await self._run_stream(stream):
                    break
            except Unavailable as error:
                world.note("%s: stream of %s from %s broke: %s", self.name, stream.partition, stream.source, error)
            await asyncio.sleep(0.05 + 0.2 * random.random())
        self._streams.remove(stream)

    async def _run_stream(self, stream: PassiveStream) -> bool:
        """Until nobody wants it any more: False. Raises Unavailable when it broke."""
        random, opened = self.world.random, None
        while True:
            source = self.world.pods.get(stream.source)
            if source is None or (opened is not None and source is not opened):
                stream.failed("the source has gone")
                raise Unavailable("the source has gone")
            if source.paused_until <= self.loop.time():
                wanted = stream.open(source.node) if opened is None else stream.advance(random.choice((1, 40, 1000)))
                self.world.checker.suspect_all()
                self.collect()
                if not wanted:
                    return False
                opened = source
            await asyncio.sleep((0.003 + 0.02 * random.random()) * self._slowness)

    def break_streams(self) -> None:
        for stream in self._streams:
            stream.failed("connection reset")

    @property
    def _slowness(self) -> float:
        return 30.0 if self.slow_until > self.loop.time() else 1.0

    # Clients

    def receive(self, operation: Operation, hops: int) -> bool:
        """Take in a request; False where nobody is listening. Who stands still takes it in later, in order."""
        if not self.alive:
            return False
        wait = 0.1 * self.world.random.random() if self.slow_until > self.loop.time() else 0.0
        self.loop.call_later(wait, self.serve, operation, hops, context=self.context)
        return True

    def serve(self, operation: Operation, hops: int = 3) -> None:
        """Answer, hold, or pass on."""
        number = next(self.world.numbers)
        value = operation.value.to_bytes(8, "big") if operation.value is not None else None
        said = self.node.execute(number, KEYSPACE, operation.key, value, self.condition(operation))
        if said[0] == "held":
            self._held[number] = operation
        else:
            self._said(operation, said, hops)

    def condition(self, operation: Operation) -> int:
        """As the node takes it: 0 for none."""
        return 0 if operation.version is None else operation.version + 1

    def _said(self, operation: Operation, said: Said, hops: int) -> None:
        what, code, version, value, after, worker, _ = said
        if what == "elsewhere":
            if worker and worker != self.name and hops > 0:
                self.world.to_pod(worker, operation, hops - 1)
            else:
                operation.answer(Answer("no", by=self.name))
        elif what != "done" or code not in (OK, NO_ROW, MISMATCH, UNKNOWN):
            operation.answer(Answer("no", by=self.name))
        elif code != UNKNOWN:
            found = int.from_bytes(value, "big") if value is not None else 0
            answer = self._carried_out(operation, code, version, found)
            self.answered_when_durable(after, lambda: operation.answer(answer))

    def _carried_out(self, operation: Operation, code: int, version: int, found: int) -> Answer:
        checker = self.world.checker
        if code == MISMATCH:
            return Answer("mismatch", 0, version, self.name)
        if operation.value is None:
            checker.reads(operation.number, operation.key, found)
            return Answer("ok", found, version, self.name)
        if self.directory is not None:
            self._unsynced.append(operation.value)
        checker.writes(operation.number, operation.key, operation.value)
        return Answer("ok", operation.value, version, self.name)

    def answered_when_durable(self, after: int, answer: Callable[[], None]) -> None:
        """What a client is told is told when it is on disk."""
        if self.node.is_durable(after):
            answer()
            return
        self._undurable.append((after, answer))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self.directory is not None and not self._flush_due:
            self._flush_due = True
            seconds = 0.0005 + 0.004 * self.world.random.random() * self._slowness
            self.loop.call_later(seconds, self._flush, context=self.context)

    def _flush(self) -> None:
        self._flush_due = False
        self.write_now()
        waiting, self._undurable = self._undurable, []
        for after, answer in waiting:
            if self.node.is_durable(after):
                answer()
            else:
                self._undurable.append((after, answer))

    def write_now(self) -> None:
        """Have on disk what was appended to the log."""
        self.node.flush()
        self._unsynced.clear()

    # What it holds

    def find(self, key: bytes) -> Row | None:
        """What is held of a key, whoever serves it."""
        seen = self.node.peek(KEYSPACE, key)
        if seen is None or seen[1] == "disconnected":
            return None
        partition, role, epoch, accepts, caught_up, _, value = seen
        return Row(partition, role, epoch, accepts, caught_up, int.from_bytes(value, "big") if value else 0)

    def parts(self) -> dict[str, Any]:
        """What it holds, by name."""
        return {state.partition: state for state in self.node.states() if state.role != "disconnected"}

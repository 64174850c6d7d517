"""Control calls from operators to workers: lost, doubled, late, or carried out with the answer lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from dstk.control.commands import AwaitApplied, Request
from dstk.control.views import LoadReport, PartitionView, Status
from dstk.errors import DstkError, Misdirected, Unavailable
from dstk.wire import Meant, RoutesUpdate
from dstk.wire.messages import encode_routes
from dstk.worker.control import Control

if TYPE_CHECKING:
    from .pod import Pod
    from .world import World

__all__ = ["Client", "Network"]

CONTROL_TIMEOUT = 1.0

Call = Callable[[Control], Awaitable[Any]]
"""What a call does once it has arrived."""


class Network:
    """Delivers calls. ``late`` counts those that are still under way though their sender has given up."""

    def __init__(self, world: World) -> None:
        self.late = 0
        self.unreachable: dict[str, float] = {}
        """Until when no operator reaches a worker."""
        self.listening: dict[str, Pod] = {}
        """Who listens at an address."""
        self._world = world
        self._loop = world.loop

    def is_cut_off(self, address: str) -> bool:
        pod = self.listening.get(address)
        return pod is not None and self.unreachable.get(pod.name, 0.0) > self._loop.time()

    def send(self, address: str, call: Call, *, repeatable: bool = True) -> asyncio.Future[Any]:
        """Have a call carried out at an address; its answer, if there is one."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        to: asyncio.Future[Any] | None = answer
        if self.is_cut_off(address):
            return answer
        weather, random = self._world.weather, self._world.random
        chance, delay = random.random(), 0.001 + 0.02 * random.random()
        if chance < weather.call_lost:
            return answer
        chance -= weather.call_lost
        if chance < weather.call_unanswered:
            to = None
        elif chance < weather.call_unanswered + weather.call_delayed:
            self._later(CONTROL_TIMEOUT * random.choice((0.5, 1.1, 1.5, 3.0, 8.0, 20.0)), address, call, answer)
            return answer
        elif repeatable and chance < weather.call_unanswered + weather.call_delayed + weather.call_twice:
            self._later(CONTROL_TIMEOUT * random.choice((0.01, 0.3, 2.0)), address, call, None)
        self._loop.outside(delay, self._deliver, address, call, to)
        return answer

    def _later(self, delay: float, address: str, call: Call, to: asyncio.Future[Any] | None) -> None:
        self.late += 1
        self._loop.outside(delay, self._deliver_late, address, call, to)

    def _deliver_late(self, address: str, call: Call, to: asyncio.Future[Any] | None) -> None:
        self.late -= 1
        self._world.note("late for %s", address)
        self._deliver(address, call, to)

    def _deliver(self, address: str, call: Call, to: asyncio.Future[Any] | None) -> None:
        pod = self.listening.get(address)
        if pod is None:
            self._loop.outside(0.001, settle, to, None, Unavailable("nobody listens"))
            return
        pod.carry_out(call, to)

    def back(self, to: asyncio.Future[Any] | None, value: Any, error: BaseException | None) -> None:
        """An answer on its way."""
        self._loop.outside(0.001 + 0.01 * self._world.random.random(), settle, to, value, error)


def settle(to: asyncio.Future[Any] | None, value: Any, error: BaseException | None) -> None:
    if to is None or to.done():
        return
    if error is not None:
        to.set_exception(error)
    else:
        to.set_result(value)


class Client:
    """One worker, as an operator reaches it (:class:`dstk.operator.ports.WorkerClient`)."""

    def __init__(self, network: Network, address: str, meant: Meant, *, timeout_seconds: float) -> None:
        self.address = address
        self._network = network
        self._meant = meant
        self._timeout = timeout_seconds
        self._closed = False

    async def _call(self, call: Call, timeout: float, *, repeatable: bool = True) -> Any:
        async def meet_and_call(control: Control) -> Any:
            await control.meet(self._meant)
            return await call(control)

        if self._closed:
            raise Unavailable("the channel is closed")
        try:
            async with asyncio.timeout(timeout):
                return await self._network.send(self.address, meet_and_call, repeatable=repeatable)
        except TimeoutError:
            raise Unavailable(f"worker at {self.address} did not answer") from None

    async def act(self, request: Request) -> dict[str, PartitionView]:
        more = request.command.timeout_seconds if isinstance(request.command, AwaitApplied) else 0.0
        found: dict[str, PartitionView] = await self._call(lambda control: control.act(request), self._timeout + more)
        return found

    async def status(self, partitions: Sequence[str] | None = None) -> Status:
        found: Status = await self._call(lambda control: control.status(partitions), self._timeout)
        return found

    async def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        """What is sent arrives in order; while nobody is reached, nothing does."""
        reports: asyncio.Queue[LoadReport | None] = asyncio.Queue()
        await self._call(_nothing, self._timeout, repeatable=False)
        pod = self._network.listening.get(self.address)
        if pod is None:
            raise Unavailable("nobody listens")
        stream = pod.stream_loads(interval_seconds, reports)
        try:
            while True:
                report = await reports.get()
                if report is None:
                    raise Unavailable("the stream broke")
                yield report
        finally:
            stream.cancel()

    def routes(self, term: int) -> Pusher:
        return Pusher(self, term)

    async def close(self) -> None:
        self._closed = True


async def _nothing(control: Control) -> None: ...


class Pusher:
    """A stream of routing updates (:class:`dstk.operator.ports.Pusher`)."""

    def __init__(self, client: Client, term: int) -> None:
        self._client = client
        self._term = term
        self._open = True
        self._said: float | None = None
        """When the worker said last that it had taken one, by its own clock."""

    async def push(self, update: RoutesUpdate, *, timeout_seconds: float = 10.0) -> None:
        encoded = encode_routes(update).SerializeToString()

        async def take(control: Control) -> None:
            await control.routes(self._term, encoded, self._said)
            self._said = asyncio.get_running_loop().time()

        try:
            if not self._open:
                raise Unavailable("the stream of routes is closed")
            await self._client._call(take, timeout_seconds, repeatable=False)
        except Misdirected:
            self._open = False
            raise
        except DstkError as error:
            self._open = False
            raise Unavailable(f"the routes were not taken: {error}") from error

    def close(self) -> None:
        self._open = False

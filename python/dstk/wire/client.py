"""The operator's side of the control plane: one channel to one worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio

from dstk import errors
from dstk.control import commands
from dstk.control.commands import Request
from dstk.control.views import LoadReport, PartitionView, Status
from dstk.wire import messages, refusals
from dstk.wire.identity import Meant, is_misdirected
from dstk.wire.messages import RoutesUpdate
from dstk.wire.v1 import control_pb2 as pb
from dstk.wire.v1 import control_pb2_grpc

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", 64 << 20),  # the status of ten thousand partitions
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A worker that came back is to be found within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
]


class ControlClient:
    """Talks to the control service of the worker `meant`, at ``host:port``.

    Every method raises :class:`~dstk.errors.Unavailable` when the worker does not answer in time: nothing is known
    then of whether it did what was asked. Refusals raise what :mod:`dstk.wire.refusals` says, and
    :class:`~dstk.errors.Misdirected` where another worker is at the address.
    """

    def __init__(self, address: str, meant: Meant | None = None, *, timeout_seconds: float = 10.0) -> None:
        self.address = address
        self._metadata = (meant or Meant()).metadata()
        self._timeout = timeout_seconds
        self._closed = False
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = control_pb2_grpc.ControlStub(self._channel)

    async def act(self, request: Request) -> dict[str, PartitionView]:
        """Carry out one action; the partitions it names, as the worker holds them afterwards."""
        timeout = self._timeout
        if isinstance(request.command, commands.AwaitApplied):
            timeout += request.command.timeout_seconds
        with self._calling():
            result = await self._stub.Act(messages.encode_request(request), timeout=timeout, metadata=self._metadata)
        if result.HasField("refusal"):
            raise refusals.decode(result.refusal)
        return messages.decode_parts(result.states)

    async def status(self, partitions: Sequence[str] | None = None) -> Status:
        """What the worker is, and of what it holds: all (None), or those of these names."""
        request = pb.StatusRequest(partitions=partitions or (), summary=partitions is not None and not partitions)
        with self._calling():
            answer = await self._stub.Status(request, timeout=self._timeout, metadata=self._metadata)
            return messages.decode_status(answer)

    async def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        """Load reports, one every `interval_seconds`, until the worker goes."""
        with self._calling():
            request = pb.LoadsRequest(interval_ms=round(interval_seconds * 1e3))
            call = self._stub.Loads(request, metadata=self._metadata)
            try:
                async for message in call:
                    yield messages.decode_loads(message)
            finally:
                call.cancel()

    def routes(self, term: int) -> RoutesPusher:
        """A stream of routing updates to the worker."""
        return RoutesPusher(self, term)

    async def close(self) -> None:
        """Close the channel; calls under way end as unavailable."""
        self._closed = True
        await self._channel.close(None)

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Turns what gRPC raises into our errors.

        A channel that is closed cancels its calls, and gRPC then raises CancelledError in tasks that nobody cancelled;
        and a task that is cancelled while its call fails gets the call's error instead.
        """
        task = asyncio.current_task()
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            if is_misdirected(error.trailing_metadata() or ()):
                raise errors.Misdirected(f"worker at {self.address} refuses: {error.details()}") from error
            kind = errors.NotReady if error.code() is grpc.StatusCode.UNIMPLEMENTED else errors.Unavailable
            message = f"worker at {self.address} did not answer: {error.code().name}: {error.details()}"
            raise kind(message) from error
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            if not self._closed or (task is not None and task.cancelling()):
                raise
            raise errors.Unavailable(f"the channel to the worker at {self.address} is closed") from error


class RoutesPusher:
    """Pushes routing updates, each awaited until the worker has applied it. One task uses it at a time."""

    def __init__(self, client: ControlClient, term: int) -> None:
        self._client = client
        self._term = term
        self._version = 0
        open_stream: Any = client._stub.Routes  # the stubs know only the form that takes an iterator
        with client._calling():
            self._call = open_stream(metadata=client._metadata)

    async def push(self, update: RoutesUpdate, *, timeout_seconds: float = 10.0) -> None:
        """Send `update`, and wait until it is applied."""
        self._version += 1
        message = pb.RoutesPush(term=self._term, version=self._version, update=messages.encode_routes(update))
        try:
            with self._client._calling():
                async with asyncio.timeout(timeout_seconds):
                    await self._call.write(message)
                    ack = await self._call.read()
        except (errors.DstkError, TimeoutError, asyncio.InvalidStateError) as error:
            self.close()
            raise errors.Unavailable(f"worker at {self._client.address} did not take the routes: {error}") from error
        if not isinstance(ack, pb.RoutesAck) or ack.version != self._version:
            self.close()
            raise errors.Unavailable(f"worker at {self._client.address} ended the stream of routes")

    def close(self) -> None:
        """End the stream."""
        self._call.cancel()

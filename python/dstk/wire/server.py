"""The worker's side of the control plane: a gRPC server around a plain handler."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from dstk import errors
from dstk.control.commands import Request
from dstk.control.views import LoadReport, PartitionView, Status
from dstk.wire import messages, refusals
from dstk.wire.identity import REFUSAL, Meant
from dstk.wire.v1 import control_pb2 as pb
from dstk.wire.v1 import control_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Handler(Protocol):
    """What a worker does when it is told to. Refusals are raised as errors."""

    async def meet(self, meant: Meant) -> None:
        """Asked before all else of a call. Raises Misdirected when it is meant for another worker."""

    async def act(self, request: Request) -> dict[str, PartitionView]:
        """Carry out one action; the partitions it names, afterwards."""

    async def status(self, partitions: Sequence[str] | None) -> Status:
        """What the worker is and holds: all (None) or these partitions."""

    def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        """Load reports, one every interval."""

    async def routes(self, term: int, update: bytes, said: float | None) -> None:
        """Apply a serialized ``dstk.v1.RoutesUpdate``. `said`: when what the operator has heard last was said, by the
        monotonic clock; None: it has not heard anything of this stream."""


class ControlServer:
    """The control service and ``grpc.health.v1`` on one port."""

    def __init__(self, handler: Handler) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 64 << 20),
                ("grpc.max_send_message_length", 64 << 20),
            ]
        )
        self._health = HealthServicer()
        control_pb2_grpc.add_ControlServicer_to_server(_Servicer(handler), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, address: str) -> str:
        """Listen on ``host:port`` (port 0: any); the bound address."""
        host, _, _ = address.rpartition(":")
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise errors.ConfigError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        return f"{host}:{port}"

    async def set_serving(self, serving: bool) -> None:
        """What health probes hear."""
        answer = health_pb2.HealthCheckResponse
        status = answer.SERVING if serving else answer.NOT_SERVING
        for service in ("", "dstk.v1.Control"):
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within the grace."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)


class _Servicer(control_pb2_grpc.ControlServicer):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def _meet(self, context: Context) -> None:
        try:
            await self._handler.meet(Meant.read(context.invocation_metadata() or ()))
        except errors.Misdirected as error:
            context.set_trailing_metadata((REFUSAL,))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except errors.DstkError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def Act(self, request: pb.Action, context: Context) -> pb.ActionResult:
        await self._meet(context)
        try:
            parts = await self._handler.act(messages.decode_request(request))
        except errors.DstkError as error:
            return pb.ActionResult(refusal=refusals.encode(error))
        return pb.ActionResult(states=[messages.encode_part(name, part) for name, part in parts.items()])

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.WorkerStatus:
        await self._meet(context)
        names = None if not request.partitions and not request.summary else list(request.partitions)
        return messages.encode_status(await self._handler.status(names))

    async def Loads(self, request: pb.LoadsRequest, context: Context) -> AsyncIterator[pb.LoadReport]:
        await self._meet(context)
        async for report in self._handler.loads(max(request.interval_ms, 10) / 1e3):
            yield messages.encode_loads(report)

    async def Routes(self, requests: AsyncIterator[pb.RoutesPush], context: Context) -> AsyncIterator[pb.RoutesAck]:
        await self._meet(context)
        said: float | None = None
        async for push in requests:
            # The next push is sent only when the acknowledgement of the one before has come.
            try:
                await self._handler.routes(push.term, push.update.SerializeToString(), said)
            except errors.DstkError as error:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            said = time.monotonic()
            yield pb.RoutesAck(version=push.version)

"""What the operator needs of a worker it is connected to; ``dstk.wire.ControlClient`` is the one over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from dstk.control.commands import Request
from dstk.control.views import LoadReport, PartitionView, Status
from dstk.wire import Meant, RoutesUpdate

__all__ = ["Dial", "Pusher", "WorkerClient"]


class Pusher(Protocol):
    """Pushes routing updates, each awaited until the worker has applied it. One task uses it at a time."""

    async def push(self, update: RoutesUpdate, *, timeout_seconds: float = 10.0) -> None:
        """Send `update`, and wait until it is applied. Raises Unavailable; the stream is over then."""

    def close(self) -> None:
        """End the stream."""


class WorkerClient(Protocol):
    """One worker. Every method raises Unavailable when it does not answer in time: nothing is known then."""

    address: str

    async def act(self, request: Request) -> dict[str, PartitionView]:
        """Carry out one action; the partitions it names, as the worker holds them afterwards."""

    async def status(self, partitions: Sequence[str] | None = None) -> Status:
        """What the worker is, and of what it holds: all (None), or those of these names."""

    def loads(self, interval_seconds: float) -> AsyncIterator[LoadReport]:
        """Load reports, one every `interval_seconds`, until the worker goes."""

    def routes(self, term: int) -> Pusher:
        """A stream of routing updates to the worker."""

    async def close(self) -> None:
        """Calls under way end as unavailable."""


class Dial(Protocol):
    """Gives a client of the worker `meant`, at ``host:port``."""

    def __call__(self, address: str, meant: Meant, *, timeout_seconds: float) -> WorkerClient: ...

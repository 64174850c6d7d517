"""Control messages ↔ plain data. Only here are protobuf messages taken apart or put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from dstk import errors
from dstk.control import commands
from dstk.control.commands import Command, MergePart, Request
from dstk.control.views import DiskView, Load, LoadReport, PartitionView, Role, Room, Status
from dstk.span import Span
from dstk.wire.v1 import control_pb2 as pb
from dstk.wire.v1 import data_pb2

Key: TypeAlias = bytes

_ROLES: dict[int, Role] = {
    pb.DISCONNECTED: "disconnected",
    pb.LOADING: "loading",
    pb.FOLLOWING: "following",
    pb.PRIMARY: "primary",
    pb.PROXY: "proxy",
}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}


@dataclass(frozen=True, slots=True)
class Route:
    """One range of the routing table. An empty `end` is +∞, an empty `owner` nobody."""

    partition: str
    start: bytes
    end: bytes
    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A range whose rows were lost, and nobody has accepted that. `since`: seconds of UTC. An empty `end` is +∞."""

    partition: str
    start: bytes
    end: bytes
    since: float
    reason: str
    held: bool


@dataclass(frozen=True, slots=True)
class KeyspaceRoutes:
    """What changed in one keyspace; `withdrawn` are partitions (name, epoch) that are gone without a successor.

    `losses`: all of them; None: as they were.
    """

    keyspace: str
    key_length: int
    routes: Sequence[Route] = ()
    withdrawn: Sequence[tuple[str, int]] = ()
    losses: Sequence[Loss] | None = None


class EncodedRoutes:
    """Many routes, which are sent many times and encoded once."""

    def __init__(self) -> None:
        self._keyspaces: list[data_pb2.KeyspaceRoutes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def begin(self, keyspace: str, key_length: int, losses: Sequence[Loss] = ()) -> None:
        """What is added from now on is of that keyspace."""
        said = _encode_losses(losses)
        self._keyspaces.append(data_pb2.KeyspaceRoutes(keyspace=keyspace, key_length=key_length, losses=said))

    def add(self, routes: Iterable[Route]) -> None:
        """More routes."""
        keyspace = self._keyspaces[-1].routes
        before = len(keyspace)
        keyspace.extend(map(_encode_route, routes))
        self._count += len(keyspace) - before


@dataclass(frozen=True, slots=True)
class RoutesUpdate:
    """`full`: replaces all that was known. `workers`: data address by worker name; "" means that it is gone."""

    full: bool
    keyspaces: Sequence[KeyspaceRoutes]
    workers: dict[str, str]
    encoded: EncodedRoutes | None = None
    """Further routes."""


_BOUNDS = ("start", "end")
_SECONDS, _MILLISECONDS = "_seconds", "_ms"
_KINDS: Mapping[str, type[Command]] = {commands.name_of(kind).replace("-", "_"): kind for kind in commands.COMMANDS}
"""Commands by the name that they have in the ``oneof`` of dstk.v1.Action.

A message has the fields of its command, by the same names, but for two: bounds are a Range, seconds are milliseconds.
"""


def encode_request(request: Request) -> pb.Action:
    """The protobuf message of `request`."""
    message = pb.Action(
        incarnation=request.incarnation,
        term=request.term,
        keyspace=request.keyspace,
        partition=request.partition,
        epoch=request.epoch,
    )
    encoded = getattr(message, commands.name_of(request.command).replace("-", "_"))
    encoded.SetInParent()
    for field in fields(request.command):
        _encode_field(encoded, field.name, getattr(request.command, field.name))
    return message


def _encode_field(message: Any, name: str, value: Any) -> None:
    if name in _BOUNDS:
        message.range.SetInParent()
        setattr(message.range, name, value)
    elif name.endswith(_SECONDS):
        setattr(message, name.removesuffix(_SECONDS) + _MILLISECONDS, round(value * 1e3))
    elif isinstance(value, tuple):
        repeated = getattr(message, name)
        for each in value:
            if isinstance(each, MergePart):
                repeated.add(partition=each.partition, epoch=each.epoch)
            else:
                repeated.append(each)
    else:
        setattr(message, name, value)


def _decode_field(message: Any, name: str) -> Any:
    if name in _BOUNDS:
        return getattr(message.range, name)
    if name.endswith(_SECONDS):
        return getattr(message, name.removesuffix(_SECONDS) + _MILLISECONDS) / 1e3
    value = getattr(message, name)
    if message.DESCRIPTOR.fields_by_name[name].is_repeated:
        return tuple(MergePart(each.partition, each.epoch) if isinstance(each, pb.Part) else each for each in value)
    return value


def decode_request(message: pb.Action) -> Request:
    """The request in `message`; InvalidRequest when it holds no command."""
    which = message.WhichOneof("action")
    if which is None:
        raise errors.InvalidRequest("the action names nothing to do; this worker may be older than the operator")
    encoded, kind = getattr(message, which), _KINDS[which]
    return Request(
        incarnation=message.incarnation,
        term=message.term,
        keyspace=message.keyspace,
        partition=message.partition,
        epoch=message.epoch,
        command=kind(*(_decode_field(encoded, field.name) for field in fields(kind))),
    )


def encode_part(name: str, part: PartitionView) -> pb.PartitionState:
    """The protobuf message of a held partition."""
    message = pb.PartitionState(
        keyspace=part.keyspace,
        partition=name,
        range=pb.Range(start=part.span.start, end=part.span.end),
        role=pb.Role.Name(_ROLE_NUMBERS[part.role]),
        epoch=part.epoch,
        sequence=part.sequence,
        fenced=part.fenced,
        fence_token=part.fence_token,
        rows=part.rows,
        bytes=part.bytes,
        size=part.size,
        digest=part.digest,
        quiet_ms=round(part.quiet_seconds * 1e3),
        last_pause_us=round(part.last_pause_seconds * 1e6),
        proxy_to=part.proxy_to,
        durable=part.durable,
        key_length=part.key_length,
    )
    if part.role in ("loading", "following"):
        message.follow.CopyFrom(
            pb.FollowProgress(
                source=part.source,
                rows_copied=part.rows_copied,
                bytes_copied=part.bytes_copied,
                bytes_total=part.bytes_total,
                lag=part.lag,
                caught_up=part.caught_up,
                error=part.follow_error,
                no_room=part.no_room,
            )
        )
    return message


def decode_parts(messages: Iterable[pb.PartitionState]) -> dict[str, PartitionView]:
    """Held partitions by name."""
    return {
        message.partition: PartitionView(
            role=_ROLES[message.role],
            epoch=message.epoch,
            span=Span(message.range.start, message.range.end),
            sequence=message.sequence,
            fenced=message.fenced,
            fence_token=message.fence_token,
            rows=message.rows,
            bytes=message.bytes,
            size=message.size,
            digest=message.digest,
            lag=message.follow.lag,
            caught_up=message.follow.caught_up,
            follow_error=message.follow.error,
            no_room=message.follow.no_room,
            quiet_seconds=message.quiet_ms / 1e3,
            rows_copied=message.follow.rows_copied,
            bytes_copied=message.follow.bytes_copied,
            bytes_total=message.follow.bytes_total,
            last_pause_seconds=message.last_pause_us / 1e6,
            source=message.follow.source,
            proxy_to=message.proxy_to,
            keyspace=message.keyspace,
            durable=message.durable if message.HasField("durable") else None,
            key_length=message.key_length,
        )
        for message in messages
    }


def encode_status(status: Status) -> pb.WorkerStatus:
    """The protobuf message of a worker's status."""
    return pb.WorkerStatus(
        worker=status.worker,
        incarnation=status.incarnation,
        data_address=status.data_address,
        term=status.term,
        draining=status.draining,
        partitions=[encode_part(name, part) for name, part in status.partitions.items()],
        disk=_encode_disk(status.disk),
    )


def _encode_disk(disk: DiskView | None) -> pb.DiskState | None:
    if disk is None:
        return None
    return pb.DiskState(
        directory=disk.directory, starts=disk.starts, lives=disk.lives, began=disk.began, position=disk.position
    )


def _decode_disk(message: pb.WorkerStatus) -> DiskView | None:
    if not message.HasField("disk") or not message.disk.lives:
        return None
    disk = message.disk
    return DiskView(disk.directory, tuple(disk.lives), disk.starts, disk.began, disk.position)


def decode_status(message: pb.WorkerStatus) -> Status:
    """A worker's status."""
    return Status(
        worker=message.worker,
        incarnation=message.incarnation,
        data_address=message.data_address,
        term=message.term,
        draining=message.draining,
        partitions=decode_parts(message.partitions),
        disk=_decode_disk(message),
    )


def encode_loads(report: LoadReport) -> pb.LoadReport:
    """The protobuf message of a load report."""
    room = report.room
    return pb.LoadReport(
        incarnation=report.incarnation,
        loads=[
            pb.PartitionLoad(
                keyspace=load.keyspace,
                partition=load.partition,
                epoch=load.epoch,
                rows=load.rows,
                bytes=load.bytes,
                operations_per_second=load.operations_per_second,
                bytes_per_second=load.bytes_per_second,
                median_key=load.median_key or b"",
                role=pb.Role.Name(_ROLE_NUMBERS[load.role]),
                size=load.size,
                key_length=load.key_length,
                durable=load.durable,
                sequence=load.sequence,
            )
            for load in report.loads
        ],
        gone=report.gone,
        draining=report.draining,
        room=pb.Room(limit=room.limit, used=room.used, promised=room.promised) if room is not None else None,
        position=report.position,
        last=report.last,
    )


def decode_loads(message: pb.LoadReport) -> LoadReport:
    """A load report."""
    room = message.room
    return LoadReport(
        incarnation=message.incarnation,
        loads=tuple(
            Load(
                keyspace=load.keyspace,
                partition=load.partition,
                epoch=load.epoch,
                rows=load.rows,
                bytes=load.bytes,
                operations_per_second=load.operations_per_second,
                bytes_per_second=load.bytes_per_second,
                median_key=load.median_key or None,
                role=_ROLES[load.role],
                size=load.size,
                key_length=load.key_length,
                durable=load.durable if load.HasField("durable") else None,
                sequence=load.sequence,
            )
            for load in message.loads
        ),
        gone=tuple(message.gone),
        draining=message.draining,
        room=Room(room.limit, room.used, room.promised) if message.HasField("room") else None,
        position=message.position,
        last=message.last,
    )


def _encode_route(route: Route) -> data_pb2.Route:
    return data_pb2.Route(
        partition=route.partition, start=route.start, end=route.end, epoch=route.epoch, owner=route.owner
    )


def _encode_losses(losses: Sequence[Loss]) -> data_pb2.Losses:
    return data_pb2.Losses(
        losses=[
            data_pb2.Loss(
                partition=loss.partition,
                start=loss.start,
                end=loss.end,
                since_ms=round(loss.since * 1000),
                reason=loss.reason,
                held=loss.held,
            )
            for loss in losses
        ]
    )


def encode_routes(update: RoutesUpdate) -> data_pb2.RoutesUpdate:
    """The protobuf message of a routing update."""
    message = data_pb2.RoutesUpdate(
        full=update.full,
        keyspaces=[
            data_pb2.KeyspaceRoutes(
                keyspace=keyspace.keyspace,
                key_length=keyspace.key_length,
                routes=map(_encode_route, keyspace.routes),
                withdrawn=[data_pb2.Withdrawal(partition=name, epoch=epoch) for name, epoch in keyspace.withdrawn],
                losses=None if keyspace.losses is None else _encode_losses(keyspace.losses),
            )
            for keyspace in update.keyspaces
        ],
        workers=[data_pb2.WorkerAddress(worker=name, address=address) for name, address in update.workers.items()],
    )
    if update.encoded is not None:
        message.keyspaces.extend(update.encoded._keyspaces)
    return message

"""The control plane's wire: the only place that knows protobuf and gRPC. Plain data goes in and comes out."""

from dstk.wire.client import ControlClient, RoutesPusher
from dstk.wire.identity import Meant, check_meant
from dstk.wire.messages import (
    EncodedRoutes,
    KeyspaceRoutes,
    Load,
    LoadReport,
    Loss,
    Request,
    Room,
    Route,
    RoutesUpdate,
    Status,
)
from dstk.wire.server import ControlServer, Handler

__all__ = [
    "ControlClient", "ControlServer", "EncodedRoutes", "Handler", "KeyspaceRoutes", "Load", "LoadReport", "Loss",
    "Meant", "Request", "Room", "Route", "RoutesPusher", "RoutesUpdate", "Status", "check_meant",
]  # fmt: skip

"""The control plane's wire: the only place that knows protobuf and gRPC. Plain data goes in and comes out."""

from dstk.wire.client import ControlClient, RoutesPusher
from dstk.wire.identity import Meant, check_meant
from dstk.wire.messages import EncodedRoutes, KeyspaceRoutes, Loss, Route, RoutesUpdate
from dstk.wire.server import ControlServer, Handler

__all__ = [
    "ControlClient", "ControlServer", "EncodedRoutes", "Handler", "KeyspaceRoutes", "Loss",
    "Meant", "Route", "RoutesPusher", "RoutesUpdate", "check_meant",
]  # fmt: skip

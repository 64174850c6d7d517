"""Refusals of a control action ↔ exceptions: the one map between the two."""

from __future__ import annotations

from dstk import errors
from dstk.wire.v1 import control_pb2 as pb

# The first class that fits is taken, so subclasses come before their parents.
_KINDS: tuple[tuple[type[errors.DstkError], pb.Refusal.Kind], ...] = (
    (errors.StaleRequest, pb.Refusal.STALE),
    (errors.NotHere, pb.Refusal.NOT_HERE),
    (errors.WrongRole, pb.Refusal.WRONG_ROLE),
    (errors.LimitReached, pb.Refusal.LIMIT),
    (errors.NotReady, pb.Refusal.NOT_READY),
    (errors.InvalidRequest, pb.Refusal.INVALID),
)
_ERRORS = {kind: error for error, kind in _KINDS}


def encode(error: errors.DstkError) -> pb.Refusal:
    """The refusal that tells `error` to the operator."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), pb.Refusal.UNKNOWN)
    return pb.Refusal(kind=kind, message=str(error))


def decode(refusal: pb.Refusal) -> errors.DstkError:
    """The exception that `refusal` tells of."""
    return _ERRORS.get(refusal.kind, errors.DstkError)(refusal.message)

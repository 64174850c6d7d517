"""The only part of dstk that talks to the Kubernetes API."""

from dstk.kube.api import Api, Expired, apply
from dstk.kube.backoff import Backoff, retry
from dstk.kube.cache import Cache, CacheSettings
from dstk.kube.connect import client_of, connect
from dstk.kube.connection import Connection, raise_if_cancelled
from dstk.kube.events import EventRecorder
from dstk.kube.lease import Election, ElectionSettings, Term
from dstk.kube.objects import Kind, ListPage, Objects, WatchEvent, is_conflict, is_not_found
from dstk.kube.resources import (
    EVENTS,
    LEASES,
    PODS,
    STATEFUL_SETS,
    Event,
    Lease,
    LeaseSpec,
    Meta,
    ObjectReference,
    OwnerReference,
    Pod,
    StatefulSet,
)

__all__ = [
    "EVENTS",
    "LEASES",
    "PODS",
    "STATEFUL_SETS",
    "Api",
    "Backoff",
    "Cache",
    "CacheSettings",
    "Connection",
    "Election",
    "ElectionSettings",
    "Event",
    "EventRecorder",
    "Expired",
    "Kind",
    "Lease",
    "LeaseSpec",
    "ListPage",
    "Meta",
    "ObjectReference",
    "Objects",
    "OwnerReference",
    "Pod",
    "StatefulSet",
    "Term",
    "WatchEvent",
    "apply",
    "client_of",
    "connect",
    "is_conflict",
    "is_not_found",
    "raise_if_cancelled",
    "retry",
]

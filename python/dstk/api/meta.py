"""Object metadata: the part of Kubernetes' ObjectMeta that dstk reads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, field

from dstk.api.model import COUNT_MAX, Model

__all__ = ["KeyspaceName", "ObjectMeta", "OwnerReference", "PartitionName", "PodName"]

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN: Final = rf"^{_LABEL}(\.{_LABEL})*$"
"""What Kubernetes takes as an object's name (RFC 1123 subdomain)."""

KeyspaceName = Annotated[str, Meta(min_length=1, max_length=63, pattern=SUBDOMAIN)]
PartitionName = Annotated[str, Meta(min_length=1, max_length=253, pattern=SUBDOMAIN)]
PodName = Annotated[str, Meta(min_length=1, max_length=253, pattern=SUBDOMAIN)]


class OwnerReference(Model, frozen=True, kw_only=True):
    """Who an object belongs to, and is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Model, frozen=True, kw_only=True):
    """Name, identity and bookkeeping of an object. What else the API server keeps there is left out on decoding."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Annotated[int, Meta(ge=0, le=COUNT_MAX)] = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()

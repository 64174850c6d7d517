"""The built-in kinds that dstk reads or writes, reduced to the fields it needs."""

from __future__ import annotations

import msgspec

from dstk.kube.objects import Kind

__all__ = [
    "EVENTS",
    "LEASES",
    "PODS",
    "STATEFUL_SETS",
    "Event",
    "Lease",
    "LeaseSpec",
    "Meta",
    "ObjectReference",
    "OwnerReference",
    "Pod",
    "StatefulSet",
]


class OwnerReference(msgspec.Struct):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Meta(msgspec.Struct, rename="camel", omit_defaults=True):
    """The part of ObjectMeta that is used here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: list[OwnerReference] = msgspec.field(default_factory=list)


class ContainerPort(msgspec.Struct, rename="camel"):
    container_port: int
    name: str = ""


class Container(msgspec.Struct):
    name: str = ""
    ports: list[ContainerPort] = msgspec.field(default_factory=list)


class PodSpec(msgspec.Struct):
    containers: list[Container] = msgspec.field(default_factory=list)


class PodStatus(msgspec.Struct, rename="camel"):
    phase: str = ""
    # `str | None`: the API server sends null for a pod without an address in some versions.
    pod_ip: str | None = msgspec.field(name="podIP", default=None)


class Pod(msgspec.Struct):
    """A worker's pod."""

    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    def address(self, port: str) -> str | None:
        """``host:port`` of the container port of that name; None while the pod has no address or no such port."""
        if not self.status.pod_ip or self.status.phase in ("Succeeded", "Failed"):
            return None
        host = f"[{self.status.pod_ip}]" if ":" in self.status.pod_ip else self.status.pod_ip
        for container in self.spec.containers:
            for candidate in container.ports:
                if candidate.name == port:
                    return f"{host}:{candidate.container_port}"
        return None


class Ordinals(msgspec.Struct):
    start: int = 0


class RollingUpdate(msgspec.Struct):
    partition: int = 0


class UpdateStrategy(msgspec.Struct, rename="camel"):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class StatefulSetSpec(msgspec.Struct, rename="camel"):
    replicas: int = 1
    ordinals: Ordinals | None = None
    update_strategy: UpdateStrategy = msgspec.field(default_factory=UpdateStrategy)


class StatefulSetStatus(msgspec.Struct, rename="camel"):
    update_revision: str = ""


class StatefulSet(msgspec.Struct):
    """What keeps the workers' pods: how many, and which revision they are to have."""

    metadata: Meta
    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = msgspec.field(default_factory=StatefulSetStatus)


class LeaseSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, omit_defaults=True):
    metadata: Meta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


class ObjectReference(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""


class Event(msgspec.Struct, rename="camel", omit_defaults=True):
    """A core/v1 Event."""

    metadata: Meta
    involved_object: ObjectReference = msgspec.field(default_factory=ObjectReference)
    type: str = "Normal"
    reason: str = ""
    message: str = ""
    count: int = 1
    first_timestamp: str | None = None
    last_timestamp: str | None = None


PODS = Kind("v1", "Pod", "pods", Pod)
STATEFUL_SETS = Kind("apps/v1", "StatefulSet", "statefulsets", StatefulSet)
LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases", Lease)
EVENTS = Kind("v1", "Event", "events", Event)

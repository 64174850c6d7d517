"""The kinds that are there from the start: the part of the core API that dstk and its tools use.

Longer than 400 lines: schemas, which are data.
"""

from __future__ import annotations

from typing import Any

from dstk.local.apiserver.resource import Column, Object, Resource
from dstk.local.apiserver.schema import Structure
from dstk.local.apiserver.tables import AGE, CREATED, NAME, age

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_INT: Schema = {"type": "integer"}
_BOOL: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True}
_STRINGS: Schema = {"type": "object", "additionalProperties": _STRING}


def _object(description: str = "", *, open_: bool = False, required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": fields}
    if description:
        schema["description"] = description
    if open_:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if required:
        schema["required"] = list(required)
    return schema


def _list(items: Schema, *keys: str, merge: str = "") -> Schema:
    schema: Schema = {"type": "array", "items": items}
    if keys:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = list(keys)
        schema["x-kubernetes-patch-strategy"] = "merge"
        schema["x-kubernetes-patch-merge-key"] = merge or keys[0]
    return schema


def _structure(description: str, **fields: Schema) -> Structure:
    raw = _object(description, apiVersion=_STRING, kind=_STRING, metadata={"type": "object", **_ANY})
    raw["properties"].update(fields)
    node = Structure(raw, root=True)
    node.compile()
    return node


_CONDITIONS = _list(
    _object(
        type=_STRING,
        status=_STRING,
        reason=_STRING,
        message=_STRING,
        observedGeneration=_INT,
        lastTransitionTime=_TIME,
        lastProbeTime=_TIME,
        lastUpdateTime=_TIME,
        open_=True,
        required=("type",),
    ),
    "type",
)

_CONTAINER_PORT = _object(
    name=_STRING,
    containerPort=_INT,
    hostPort=_INT,
    hostIP=_STRING,
    protocol={**_STRING, "default": "TCP"},
    required=("containerPort",),
)

_CONTAINERS = _list(
    _object(
        name=_STRING,
        image=_STRING,
        command=_list(_STRING),
        args=_list(_STRING),
        ports=_list(_CONTAINER_PORT, "containerPort", "protocol"),
        env=_list(_object(name=_STRING, value=_STRING, valueFrom=_ANY, required=("name",)), "name"),
        open_=True,
        required=("name",),
    ),
    "name",
)

_POD = _structure(
    "Pod is a collection of containers that can run on a host.",
    spec=_object(
        containers=_CONTAINERS,
        initContainers=_CONTAINERS,
        volumes=_list(_object(name=_STRING, open_=True), "name"),
        nodeName=_STRING,
        restartPolicy={**_STRING, "default": "Always"},
        securityContext={**_object(open_=True), "default": {}},
        open_=True,
        required=("containers",),
    ),
    status=_object(
        phase=_STRING,
        podIP=_STRING,
        hostIP=_STRING,
        startTime=_TIME,
        conditions=_CONDITIONS,
        containerStatuses=_list(_object(name=_STRING, open_=True)),
        open_=True,
    ),
)

_STATEFUL_SET = _structure(
    "StatefulSet represents a set of pods with consistent identities.",
    spec=_object(
        replicas={**_INT, "default": 1},
        serviceName=_STRING,
        selector=_object(matchLabels={**_STRINGS, "x-kubernetes-map-type": "atomic"}, open_=True),
        template=_object(
            metadata=_object(labels=_STRINGS, annotations=_STRINGS, open_=True),
            spec=_object(containers=_CONTAINERS, initContainers=_CONTAINERS, open_=True),
        ),
        ordinals=_object(start=_INT),
        updateStrategy=_object(type=_STRING, rollingUpdate=_object(partition=_INT, open_=True)),
        podManagementPolicy=_STRING,
        open_=True,
        required=("selector", "template"),
    ),
    status=_object(
        replicas=_INT, readyReplicas=_INT, currentRevision=_STRING, updateRevision=_STRING, observedGeneration=_INT,
        conditions=_CONDITIONS, open_=True,
    ),
)  # fmt: skip

_SERVICE = _structure(
    "Service is a named abstraction of software service.",
    spec=_object(
        type={**_STRING, "default": "ClusterIP"},
        selector={**_STRINGS, "x-kubernetes-map-type": "atomic"},
        clusterIP=_STRING,
        externalIPs=_list(_STRING),
        ports=_list(
            _object(
                name=_STRING,
                port=_INT,
                protocol={**_STRING, "default": "TCP"},
                targetPort=_INT_OR_STRING,
                nodePort=_INT,
                open_=True,
                required=("port",),
            ),
            "port",
            "protocol",
        ),
        open_=True,
    ),
    status={"type": "object", **_ANY},
)

_NAMESPACE = _structure(
    "Namespace provides a scope for Names.",
    spec=_object(finalizers=_list(_STRING)),
    status=_object(phase=_STRING, conditions=_CONDITIONS),
)

_REFERENCE = _object(
    apiVersion=_STRING,
    kind=_STRING,
    namespace=_STRING,
    name=_STRING,
    uid=_STRING,
    resourceVersion=_STRING,
    fieldPath=_STRING,
)

_EVENT = _structure(
    "Event is a report of an event somewhere in the cluster.",
    involvedObject=_REFERENCE,
    related=_REFERENCE,
    reason=_STRING,
    message=_STRING,
    type=_STRING,
    count=_INT,
    action=_STRING,
    source=_object(component=_STRING, host=_STRING),
    firstTimestamp=_TIME,
    lastTimestamp=_TIME,
    eventTime=_TIME,
    reportingComponent=_STRING,
    reportingInstance=_STRING,
    series=_object(count=_INT, lastObservedTime=_TIME),
)

_NEW_EVENT = _structure(
    "Event is a report of an event somewhere in the cluster.",
    regarding=_REFERENCE,
    related=_REFERENCE,
    reason=_STRING,
    note=_STRING,
    type=_STRING,
    action=_STRING,
    eventTime=_TIME,
    reportingController=_STRING,
    reportingInstance=_STRING,
    series=_object(count=_INT, lastObservedTime=_TIME),
    deprecatedCount=_INT,
    deprecatedSource=_object(component=_STRING, host=_STRING),
    deprecatedFirstTimestamp=_TIME,
    deprecatedLastTimestamp=_TIME,
)

_LEASE = _structure(
    "Lease defines a lease concept.",
    spec=_object(
        holderIdentity=_STRING,
        leaseDurationSeconds={**_INT, "minimum": 1},
        acquireTime=_TIME,
        renewTime=_TIME,
        leaseTransitions={**_INT, "minimum": 0},
        preferredHolder=_STRING,
        strategy=_STRING,
    ),
)

_CONFIG_MAP = _structure(
    "ConfigMap holds configuration data for pods to consume.", data=_STRINGS, binaryData=_STRINGS, immutable=_BOOL
)
_SECRET = _structure(
    "Secret holds secret data of a certain type.",
    data=_STRINGS,
    stringData=_STRINGS,
    type={**_STRING, "default": "Opaque"},
    immutable=_BOOL,
)
_SERVICE_ACCOUNT = _structure(
    "ServiceAccount binds together a name and a set of secrets.",
    secrets=_list(_object(name=_STRING, open_=True), "name"),
    imagePullSecrets=_list(_object(name=_STRING), "name"),
    automountServiceAccountToken=_BOOL,
)
_ENDPOINTS = _structure(
    "Endpoints is a collection of endpoints that implement the actual service.", subsets=_list(_ANY)
)
_NODE = _structure(
    "Node is a worker node in Kubernetes.",
    spec={"type": "object", **_ANY},
    status=_object(conditions=_CONDITIONS, addresses=_list(_ANY, "type"), open_=True),
)

_DEFINITION = _structure(
    "CustomResourceDefinition represents a resource that should be exposed on the API server.",
    spec={"type": "object", **_ANY},
    status=_object(conditions=_CONDITIONS, acceptedNames=_ANY, storedVersions=_list(_STRING)),
)

_RENAMED_IN_EVENTS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)
_TO_NEW = dict(_RENAMED_IN_EVENTS)
_TO_CORE = {new: old for old, new in _RENAMED_IN_EVENTS}


def _new_event(obj: Object) -> Object:
    """A core event as events.k8s.io/v1 shows it."""
    return {_TO_NEW.get(name, name): value for name, value in obj.items()} | {"apiVersion": "events.k8s.io/v1"}


def _core_event(obj: Object) -> Object:
    """An events.k8s.io/v1 event as it is stored."""
    return {_TO_CORE.get(name, name): value for name, value in obj.items()} | {"apiVersion": "v1"}


def _column(name: str, cell: Any, kind: str = "string", priority: int = 0, description: str = "") -> Column:
    return Column(name, kind, cell, description=description or name, priority=priority)


def _pod_ready(obj: Object, _: float) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    containers = (obj.get("spec") or {}).get("containers") or []
    return f"{sum(bool(one.get('ready')) for one in statuses)}/{len(containers)}"


def _pod_status(obj: Object, _: float) -> str:
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    found = obj.get("status") or {}
    for one in found.get("containerStatuses") or ():
        state = one.get("state") or {}
        for waiting in ("waiting", "terminated"):
            if (state.get(waiting) or {}).get("reason"):
                return str(state[waiting]["reason"])
    return str(found.get("reason") or found.get("phase") or "Pending")


def _pod_restarts(obj: Object, _: float) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    return str(sum(one.get("restartCount", 0) for one in statuses))


def _at(*path: str, absent: Any = "<none>") -> Any:
    def cell(obj: Object, _: float) -> Any:
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return absent if value in (None, "") else value

    return cell


def _ports(obj: Object, _: float) -> str:
    ports = (obj.get("spec") or {}).get("ports") or []
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


def _ready_replicas(obj: Object, _: float) -> str:
    return f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def _event_object(obj: Object, _: float) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _last_seen(obj: Object, now: float) -> str:
    series = (obj.get("series") or {}).get("lastObservedTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    return age(series or last or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"), now)


_EVENT_COLUMNS = (
    _column("Last Seen", _last_seen),
    _column("Type", _at("type", absent="")),
    _column("Reason", _at("reason", absent="")),
    _column("Object", _event_object),
    _column("Message", lambda obj, _: str(obj.get("message") or obj.get("note") or "").strip()),
    Column("Name", "string", NAME.cell, format="name", description=NAME.description, priority=1),
)

_EVENT_FIELDS = frozenset(
    {
        f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    | {"reason", "reportingComponent", "source", "type"}
)

_STATUS = frozenset({"status"})


def _core(plural: str, kind: str, structure: Structure, **rest: Any) -> Resource:
    rest.setdefault("namespaced", True)
    rest.setdefault("columns", (NAME, AGE))
    return Resource(
        group="", version="v1", plural=plural, singular=kind.lower(), kind=kind, structure=structure, **rest
    )


EVICTION = "eviction"
"""A subresource of pods that can only be created; it is an Eviction of policy/v1."""

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"

BUILTIN: tuple[Resource, ...] = (
    _core(
        "namespaces",
        "Namespace",
        _NAMESPACE,
        namespaced=False,
        short_names=("ns",),
        subresources=frozenset({"status", "finalize"}),
        selectable=frozenset({"status.phase"}),
        label_names=True,
        columns=(NAME, _column("Status", _at("status", "phase")), AGE),
    ),
    _core(
        "pods",
        "Pod",
        _POD,
        short_names=("po",),
        categories=("all",),
        subresources=_STATUS,
        counts_generation=True,
        selectable=frozenset(
            {
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
            }
        ),
        columns=(
            NAME,
            _column("Ready", _pod_ready),
            _column("Status", _pod_status),
            _column("Restarts", _pod_restarts),
            AGE,
            _column("IP", _at("status", "podIP"), priority=1),
            _column("Node", _at("spec", "nodeName"), priority=1),
            _column("Nominated Node", _at("status", "nominatedNodeName"), priority=1),
            _column("Readiness Gates", lambda _obj, _now: "<none>", priority=1),
        ),
    ),
    _core(
        "configmaps",
        "ConfigMap",
        _CONFIG_MAP,
        short_names=("cm",),
        columns=(
            NAME,
            _column(
                "Data", lambda obj, _: len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), kind="string"
            ),
            AGE,
        ),
    ),
    _core(
        "secrets",
        "Secret",
        _SECRET,
        selectable=frozenset({"type"}),
        columns=(
            NAME,
            _column("Type", _at("type")),
            _column("Data", lambda obj, _: len(obj.get("data") or {})),
            AGE,
        ),
    ),
    _core(
        "services",
        "Service",
        _SERVICE,
        short_names=("svc",),
        categories=("all",),
        subresources=_STATUS,
        label_names=True,
        selectable=frozenset({"spec.clusterIP", "spec.type"}),
        columns=(
            NAME,
            _column("Type", _at("spec", "type")),
            _column("Cluster-IP", _at("spec", "clusterIP")),
            _column("External-IP", lambda _obj, _now: "<none>"),
            _column("Port(s)", _ports),
            AGE,
        ),
    ),
    _core("endpoints", "Endpoints", _ENDPOINTS, short_names=("ep",)),
    _core("serviceaccounts", "ServiceAccount", _SERVICE_ACCOUNT, short_names=("sa",)),
    _core(
        "nodes",
        "Node",
        _NODE,
        namespaced=False,
        short_names=("no",),
        subresources=_STATUS,
        selectable=frozenset({"spec.unschedulable"}),
    ),
    _core("events", "Event", _EVENT, short_names=("ev",), selectable=_EVENT_FIELDS, columns=_EVENT_COLUMNS),
    Resource(
        group="events.k8s.io",
        version="v1",
        plural="events",
        singular="event",
        kind="Event",
        namespaced=True,
        structure=_NEW_EVENT,
        short_names=("ev",),
        columns=_EVENT_COLUMNS,
        selectable=frozenset({field.replace("involvedObject", "regarding") for field in _EVENT_FIELDS}),
        storage="events",
        stored_version="v1",
        convert_in=_core_event,
        convert_out=_new_event,
    ),
    Resource(
        group="apps",
        version="v1",
        plural="statefulsets",
        singular="statefulset",
        kind="StatefulSet",
        namespaced=True,
        structure=_STATEFUL_SET,
        short_names=("sts",),
        categories=("all",),
        subresources=_STATUS,
        counts_generation=True,
        columns=(NAME, _column("Ready", _ready_replicas), AGE),
    ),
    Resource(
        group="coordination.k8s.io",
        version="v1",
        plural="leases",
        singular="lease",
        kind="Lease",
        namespaced=True,
        structure=_LEASE,
        columns=(NAME, _column("Holder", _at("spec", "holderIdentity", absent="")), AGE),
    ),
    Resource(
        group="apiextensions.k8s.io",
        version="v1",
        plural="customresourcedefinitions",
        singular="customresourcedefinition",
        kind="CustomResourceDefinition",
        namespaced=False,
        structure=_DEFINITION,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=_STATUS,
        counts_generation=True,
        columns=(NAME, CREATED),
    ),
)

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

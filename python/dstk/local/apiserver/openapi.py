"""OpenAPI v3 documents: enough for `kubectl explain`, `apply` and server-side field validation to find their way."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from dstk.local.apiserver.resource import Registry, Resource

Document = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

_META_FIELDS: dict[str, tuple[Document, str]] = {
    "name": ({"type": "string"}, "Name must be unique within a namespace. Cannot be updated."),
    "generateName": ({"type": "string"}, "A prefix the server makes a unique name from when no name is given."),
    "namespace": ({"type": "string"}, "The space within which the name must be unique."),
    "uid": ({"type": "string"}, "Unique in time and space; set by the server."),
    "resourceVersion": ({"type": "string"}, "Opaque version of the stored object, for optimistic concurrency."),
    "generation": ({"type": "integer", "format": "int64"}, "Counts the changes of the desired state."),
    "creationTimestamp": ({"type": "string", "format": "date-time"}, "When the object was created."),
    "deletionTimestamp": ({"type": "string", "format": "date-time"}, "When its deletion was asked for."),
    "deletionGracePeriodSeconds": ({"type": "integer", "format": "int64"}, "Seconds allowed for termination."),
    "labels": ({"type": "object", "additionalProperties": {"type": "string"}}, "Keys and values to select by."),
    "annotations": ({"type": "object", "additionalProperties": {"type": "string"}}, "Keys and values for tools."),
    "finalizers": ({"type": "array", "items": {"type": "string"}}, "Must be empty before the object goes."),
    "ownerReferences": ({"type": "array", "items": {"type": "object"}}, "Objects this one depends on."),
    "managedFields": ({"type": "array", "items": {"type": "object"}}, "Which client manages which fields."),
}

V2: Document = {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {}}
"""`/openapi/v2`: nothing is described there. kubectl asks for it when version 3 does not know a kind."""

V2_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2_PROTOBUF_ASKED = (V2_PROTOBUF_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""Clients ask for it with an @, which is no media type that they could read in an answer."""

V2_PROTOBUF = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1"
"""The same as kubectl wants it: field 1 the version, field 2 title and version of what is described."""

_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")


def _schema_name(resource: Resource) -> str:
    if resource.group and not resource.builtin:
        domain = ".".join(reversed(resource.group.split(".")))
        return f"{domain}.{resource.version}.{resource.kind}"
    package = resource.group.split(".")[0] or "core"
    return f"io.k8s.api.{package}.{resource.version}.{resource.kind}"


def index(registry: Registry) -> Document:
    """`/openapi/v3`: one path a group version; the hash lets clients keep what they have."""
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(msgspec.json.encode(document(registry, group, version))).hexdigest()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest.upper()}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> Document | None:
    """`/openapi/v3/apis/GROUP/VERSION`; None where there is no such version."""
    resources = registry.of_version(group, version)
    if not resources:
        return None
    schemas: Document = {_META: _meta_schema()}
    paths: Document = {}
    for resource in resources:
        name = _schema_name(resource)
        schemas[name] = _schema(resource)
        schemas[f"{name}List"] = _list_schema(resource, name)
        paths.update(_paths(resource, name))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _meta_schema() -> Document:
    return {
        "type": "object",
        "description": "ObjectMeta is metadata that all persisted resources must have.",
        "properties": {name: {**schema, "description": text} for name, (schema, text) in _META_FIELDS.items()},
    }


def _kind(resource: Resource, kind: str) -> Document:
    return {"group": resource.group, "version": resource.version, "kind": kind}


def _schema(resource: Resource) -> Document:
    raw = resource.structure.raw
    properties = {
        "apiVersion": {"type": "string", "description": "The versioned schema of this representation of an object."},
        "kind": {"type": "string", "description": "The REST resource this object represents."},
        "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META}"}], "description": "Standard object metadata."},
        **{
            name: value
            for name, value in (raw.get("properties") or {}).items()
            if name not in ("apiVersion", "kind", "metadata")
        },
    }
    return {**raw, "properties": properties, "x-kubernetes-group-version-kind": [_kind(resource, resource.kind)]}


def _list_schema(resource: Resource, name: str) -> Document:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        },
        "x-kubernetes-group-version-kind": [_kind(resource, resource.kind_of_list)],
    }


def _operation(resource: Resource, action: str, schema: str) -> Document:
    reply = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    operation: Document = {
        "responses": {"200": {"description": "OK", "content": {"application/json": reply}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind(resource, resource.kind),
    }
    if action in ("post", "put", "patch"):
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in _QUERY
        ]
        operation["requestBody"] = {"content": {"application/json": reply}, "required": True}
    return operation


def _paths(resource: Resource, schema: str) -> Document:
    prefix = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    plural = f"{prefix}{place}/{resource.plural}"
    paths = {
        plural: {
            "get": _operation(resource, "list", f"{schema}List"),
            "post": _operation(resource, "post", schema),
            "delete": _operation(resource, "deletecollection", schema),
        },
        f"{plural}/{{name}}": _named(resource, schema, delete=True),
    }
    for name in resource.subresources:
        paths[f"{plural}/{{name}}/{name}"] = _named(resource, schema, delete=False)
    if resource.namespaced:
        paths[f"{prefix}/{resource.plural}"] = {"get": _operation(resource, "list", f"{schema}List")}
    return paths


def _named(resource: Resource, schema: str, *, delete: bool) -> Document:
    methods = {action: _operation(resource, action, schema) for action in ("get", "put", "patch")}
    if delete:
        methods["delete"] = _operation(resource, "delete", schema)
    return methods

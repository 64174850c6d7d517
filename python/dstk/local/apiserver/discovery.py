"""Discovery documents: which groups, versions and resources there are, in both forms that clients ask for."""

from __future__ import annotations

from typing import Any

from dstk.local.apiserver.builtin import EVICTION
from dstk.local.apiserver.resource import Registry, Resource
from dstk.local.apiserver.reviews import VIRTUAL

Document = dict[str, Any]

AGGREGATED_TYPES = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
)

_EVICTION = {"group": "policy", "version": "v1", "kind": "Eviction"}


def api_versions(address: str) -> Document:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _groups(registry: Registry) -> dict[str, list[str]]:
    groups = registry.groups()
    for group, version in VIRTUAL:
        groups.setdefault(group, []).append(version)
    groups.pop("", None)
    return groups


def _group(name: str, versions: list[str]) -> Document:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def group_list(registry: Registry) -> Document:
    groups = [_group(name, versions) for name, versions in _groups(registry).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Document | None:
    versions = _groups(registry).get(name)
    if versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(registry: Registry, group_name: str, version: str) -> Document | None:
    found = registry.of_version(group_name, version)
    virtual = VIRTUAL.get((group_name, version), {})
    if not found and not virtual:
        return None
    resources: list[Document] = []
    for resource in found:
        resources.append(_resource(resource))
        resources += [_subresource(resource, name) for name in sorted(resource.subresources)]
        if resource.collection == "pods":
            resources.append(
                {"name": f"pods/{EVICTION}", "singularName": "", "namespaced": True, **_EVICTION, "verbs": ["create"]}
            )
    resources += [
        {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind, "verbs": ["create"]}
        for plural, kind in virtual.items()
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group_name}/{version}" if group_name else version,
        "resources": resources,
    }


def _resource(resource: Resource) -> Document:
    entry: Document = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subresource(resource: Resource, name: str) -> Document:
    return {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    }


def aggregated(registry: Registry, media_type: str, *, core: bool) -> Document:
    """All groups with all their resources in one document, as kubectl asks for it."""
    version = "v2" if ";v=v2;" in media_type else "v2beta1"
    groups = {"": ["v1"]} if core else _groups(registry)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
                "versions": [_aggregated_version(registry, name, one) for one in versions],
            }
            for name, versions in groups.items()
        ],
    }


def _aggregated_version(registry: Registry, group_name: str, version: str) -> Document:
    resources = [_aggregated_resource(resource) for resource in registry.of_version(group_name, version)]
    resources += [
        {
            "resource": plural,
            "responseKind": {"group": group_name, "version": version, "kind": kind},
            "scope": "Cluster",
            "singularResource": kind.lower(),
            "verbs": ["create"],
        }
        for plural, kind in VIRTUAL.get((group_name, version), {}).items()
    ]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(resource: Resource) -> Document:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: Document = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": kind, "verbs": ["get", "patch", "update"]}
            for name in sorted(resource.subresources)
        ]
    if resource.collection == "pods":
        entry["subresources"].append({"subresource": EVICTION, "responseKind": _EVICTION, "verbs": ["create"]})
    return entry

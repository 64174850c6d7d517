"""The objects that a local cluster needs before its processes start."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from dstk import api, kube
from dstk.errors import ApiError, ConfigError
from dstk.local.apiserver.files import poll
from dstk.local.keyspace import changes, new_keyspace

__all__ = ["Provision"]

_POLL_SECONDS = 0.05
_NAMESPACES = "/api/v1/namespaces"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KEYSPACES: kube.Kind[dict[str, Any]] = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", dict)
_PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
_STRICT = {"fieldValidation": "Strict"}
_MERGE_PATCH = "application/merge-patch+json"


class Provision:
    """Sees to it that they are there, in one namespace. Errors are those of :class:`dstk.kube.Objects`, besides."""

    def __init__(self, connection: kube.Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._ours = f"/apis/{api.API_VERSION}/namespaces/{namespace}"

    async def namespace(self) -> str:
        """The namespace; its UID, empty when it may not be looked at."""
        try:
            found = await self._connection.request("GET", f"{_NAMESPACES}/{self._namespace}")
        except ApiError as error:
            if error.status == 403:
                return ""  # whoever may not look at it was given one
            if not kube.is_not_found(error):
                raise
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
            found = await self._connection.request("POST", _NAMESPACES, body=body)
        return str(json.loads(found)["metadata"]["uid"])

    async def definitions(self) -> None:
        """Server-side apply of dstk's definitions, so that those of an older version are brought up to date."""
        for definition in api.crds():
            path = f"{_DEFINITIONS}/{definition['metadata']['name']}"
            await kube.apply(self._connection, path, definition, manager="dstk-local")
        for kind in api.RESOURCES:
            await poll(partial(self._is_served, kind.plural), _POLL_SECONDS)

    async def _is_served(self, plural: str) -> bool:
        """A real API server serves a new definition a moment after it was established."""
        try:
            await self._connection.request("GET", f"{self._ours}/{plural}")
        except ApiError as error:
            if error.status != 404 and not error.retryable:
                raise
            return False
        return True

    async def keyspace(self, asked: Mapping[str, Any]) -> None:
        """The Keyspace as it is asked for. Raises ConfigError for what cannot be changed, ApiError for a field that
        does not exist.
        """
        name = asked["metadata"]["name"]
        found = await kube.Objects(self._connection, _KEYSPACES, self._namespace).find(name)
        path = f"{self._ours}/keyspaces"
        if found is None:
            body = {"apiVersion": api.API_VERSION, "kind": "Keyspace", **new_keyspace(asked)}
            await self._connection.request("POST", path, query=_STRICT, body=body)
        elif patch := changes(found, asked):
            await self._connection.request(
                "PATCH", f"{path}/{name}", query=_STRICT, body=patch, content_type=_MERGE_PATCH
            )

    async def check_spared(self, workers: Collection[str]) -> None:
        """Raises ConfigError when another worker than these has rows on its disk, which nobody would serve."""
        keyspaces = await kube.Objects(self._connection, _KEYSPACES, self._namespace).list_all()
        durable = {each["metadata"]["name"] for each in keyspaces if each["spec"]["durability"] == api.Durability.DISK}
        partitions = await kube.Objects(self._connection, _PARTITIONS, self._namespace).list_all()
        owners = Counter(each.spec.primary for each in partitions if each.spec.keyspace in durable)
        for name, count in sorted((name, count) for name, count in owners.items() if name and name not in workers):
            raise ConfigError(
                f"{name} has the rows of {count} partitions on its disk, so {len(workers)} workers are too few: start "
                f"as many as before, run `dstk cordon {name}`, and stop when `dstk status` shows nothing on it"
            )

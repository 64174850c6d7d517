"""Objects of one kind in one namespace: get, list, create, patch, delete, watch.

JSON goes straight into msgspec structs and never into the client library's generated models.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from dstk.errors import ApiError
from dstk.kube.api import Api, api_error

__all__ = ["Kind", "ListPage", "Objects", "WatchEvent", "is_conflict", "is_not_found"]

T = TypeVar("T")

_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A resource type of the API server and the struct its objects are decoded into."""

    api_version: str
    kind: str
    plural: str
    type: type[T]

    @property
    def root(self) -> str:
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _RawList(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _OnlyMeta(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """One page of a list. ``cursor`` is empty on the last one."""

    items: list[T]
    resource_version: str
    cursor: str


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark carries no object, only its version."""

    type: str
    object: T | None
    resource_version: str


def is_conflict(error: BaseException) -> bool:
    """The object has changed since it was read."""
    return isinstance(error, ApiError) and error.status == 409 and error.reason != "AlreadyExists"


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.status == 404


class Objects(Generic[T]):
    """The objects of one kind in one namespace.

    Errors: ApiError when the API server has answered with one; Unavailable when it could not be reached, so that
    nothing has happened; OutcomeUnknown when a write was sent and no answer came, so that it may have happened.
    ``on_write(verb, plural)`` is called for each write that is sent, for counting.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind[T],
        namespace: str,
        on_write: Callable[[str, str], None] | None = None,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._api = api
        self._on_write = on_write
        self._collection = f"{kind.root}/namespaces/{quote(namespace)}/{kind.plural}"
        self._decoder = msgspec.json.Decoder(kind.type)

    async def get(self, name: str) -> T:
        """The object as the API server holds it now. Raises ApiError 404 when there is none."""
        return self._decoder.decode(await self._request("GET", self._path(name)))

    async def find(self, name: str) -> T | None:
        """Like get; None when there is no such object."""
        try:
            return await self.get(name)
        except ApiError as error:
            if is_not_found(error):
                return None
            raise

    async def list_page(
        self, *, limit: int = 1000, cursor: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ListPage[T]:
        """One page of at most ``limit`` objects. Raises Expired when the cursor is too old."""
        query = {"limit": str(limit)}
        if cursor:
            query["continue"] = cursor
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        page = msgspec.json.decode(await self._request("GET", self._collection, query=query), type=_RawList)
        decode = self._decoder.decode
        return ListPage([decode(item) for item in page.items], page.metadata.resource_version, page.metadata.continue_)

    async def list_all(self) -> list[T]:
        """Every object, page by page. Raises Expired when that takes too long."""
        items: list[T] = []
        cursor = ""
        while True:
            page = await self.list_page(cursor=cursor)
            items += page.items
            cursor = page.cursor
            if not cursor:
                return items

    async def create(self, body: Mapping[str, Any] | msgspec.Struct) -> T:
        """Create the object. apiVersion and kind are filled in. Raises ApiError 409 AlreadyExists."""
        built = _builtins(body)
        built["apiVersion"], built["kind"] = self.kind.api_version, self.kind.kind
        return self._decoder.decode(await self._request("POST", self._collection, body=built))

    async def patch(self, name: str, body: Mapping[str, Any], *, resource_version: str = "") -> T:
        """Merge-patch (RFC 7386) everything but the status.

        With ``resource_version`` the patch is refused, as a conflict, unless the object is still that version.
        """
        return await self._patch(self._path(name), body, resource_version)

    async def patch_status(self, name: str, status: Mapping[str, Any], *, resource_version: str = "") -> T:
        """Merge-patch ``.status``."""
        return await self._patch(self._path(name) + "/status", {"status": status}, resource_version)

    async def replace(self, name: str, body: Mapping[str, Any] | msgspec.Struct) -> T:
        """Replace the object; its metadata.resourceVersion, when set, is the condition."""
        built = _builtins(body)
        built["apiVersion"], built["kind"] = self.kind.api_version, self.kind.kind
        return self._decoder.decode(await self._request("PUT", self._path(name), body=built))

    async def delete(
        self, name: str, *, uid: str = "", resource_version: str = "", grace_seconds: int | None = None
    ) -> None:
        """Ask for the object's deletion. Raises ApiError 404, or a conflict when it is not that object any more.

        A pod is gone at once with ``grace_seconds`` 0; otherwise it is when its node has seen its processes end.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {key: value for key, value in preconditions.items() if value}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions:
            body["preconditions"] = preconditions
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self._request("DELETE", self._path(name), body=body)

    async def evict(self, name: str, *, uid: str = "") -> bool:
        """Ask for the end of a pod as its PodDisruptionBudget allows it; False when it does not allow it now.

        Raises ApiError 404, or a conflict when it is not that pod any more.
        """
        options = {"preconditions": {"uid": uid}} if uid else {}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}
        try:
            await self._request("POST", self._path(name) + "/eviction", body=body)
        except ApiError as error:
            if error.status == 429:
                return False
            raise
        return True

    async def watch(
        self,
        resource_version: str,
        *,
        timeout_seconds: int = 300,
        idle_seconds: float = 90.0,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Changes after ``resource_version``, bookmarks included, until the server ends the stream.

        That the server has begun counts as a bookmark. Raises Expired when that version is too old, Unavailable when
        the stream breaks, Silent when nothing at all came for ``idle_seconds``: a server that has nothing to tell need
        not send bookmarks.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        lines = self._api.lines(self._collection, query=query, idle_seconds=idle_seconds)
        async with contextlib.aclosing(lines):
            async for line in lines:
                yield self._decode_event(line) if line else WatchEvent("BOOKMARK", None, resource_version)

    def _decode_event(self, line: bytes) -> WatchEvent[T]:
        event = msgspec.json.decode(line, type=_RawEvent)
        if event.type == "ERROR":
            raise api_error(0, event.object)
        version = msgspec.json.decode(event.object, type=_OnlyMeta).metadata.resource_version
        if event.type == "BOOKMARK":
            return WatchEvent("BOOKMARK", None, version)
        return WatchEvent(event.type, self._decoder.decode(event.object), version)

    def _path(self, name: str) -> str:
        return f"{self._collection}/{quote(name)}"

    async def _patch(self, path: str, body: Mapping[str, Any], resource_version: str) -> T:
        if resource_version:
            metadata = {**body.get("metadata", {}), "resourceVersion": resource_version}
            body = {**body, "metadata": metadata}
        return self._decoder.decode(await self._request("PATCH", path, body=body))

    async def _request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> bytes:
        if method != "GET" and self._on_write is not None:
            self._on_write(method, self.kind.plural)
        content_type = _MERGE_PATCH if method == "PATCH" else "application/json"
        return await self._api.request(method, path, query=query, body=body, content_type=content_type)


def _builtins(body: Mapping[str, Any] | msgspec.Struct) -> dict[str, Any]:
    built = msgspec.to_builtins(body)
    if not isinstance(built, dict):
        raise TypeError(f"a Kubernetes object is a mapping, not {type(built).__name__}")
    return built

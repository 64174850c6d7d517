"""Objects of one kind in one namespace: get, list, create, patch, delete, watch.

JSON goes straight into msgspec structs and never into the client library's generated models; its ApiClient gives the
session, TLS and credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from dstk.errors import ApiError, OutcomeUnknown, Unavailable
from dstk.kube.connect import Connection

__all__ = ["Expired", "Kind", "ListPage", "Objects", "WatchEvent", "is_conflict", "is_not_found"]

T = TypeVar("T")

REQUEST_SECONDS = 30.0
"""Time-out of a request that is not a watch."""

CONNECT_SECONDS = 5.0

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


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


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


class Expired(ApiError):
    """The resource version or list cursor is too old (410 Gone): list again."""


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
        connection: Connection,
        kind: Kind[T],
        namespace: str,
        on_write: Callable[[str, str], None] | None = None,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self._connection = connection
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

    async def delete(self, name: str, *, uid: str = "", resource_version: str = "") -> None:
        """Ask for the object's deletion. Raises ApiError 404, or a conflict when it is not that object any more."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {key: value for key, value in preconditions.items() if value}
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions:
            body["preconditions"] = preconditions
        await self._request("DELETE", self._path(name), body=body)

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

        Raises Expired when that version is too old, Unavailable when the stream breaks or nothing at all came for
        ``idle_seconds`` (the server sends a bookmark about every minute).
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
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        response = None
        try:
            response = await self._send("GET", self._collection, query=query, body=None, timeout=timeout)
            if response.status >= 400:
                raise _api_error(response.status, await response.read())
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield self._decode_event(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _raise_if_cancelled()
            raise Unavailable(f"watch of {self.kind.plural} broke: {error!r}") from error
        finally:
            if response is not None:
                response.close()

    def _decode_event(self, line: bytes) -> WatchEvent[T]:
        event = msgspec.json.decode(line, type=_RawEvent)
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_Status)
            raise _build_error(status.code, status.reason, status.message)
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
        writes = method != "GET"
        if writes and self._on_write is not None:
            self._on_write(method, self.kind.plural)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            response = await self._send(method, path, query=query, body=body, timeout=timeout)
            try:
                content = await response.read()
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _raise_if_cancelled()
            if writes:
                raise OutcomeUnknown(f"{method} {path}: no answer from the Kubernetes API: {error!r}") from error
            raise Unavailable(f"{method} {path}: no answer from the Kubernetes API: {error!r}") from error
        if response.status >= 400:
            raise _api_error(response.status, content)
        return content

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Any,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        api = self._connection.api
        headers = {"Accept": "application/json", "User-Agent": "dstk"}
        headers["Content-Type"] = _MERGE_PATCH if method == "PATCH" else "application/json"
        await api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._connection.server + path + ("?" + urlencode(query) if query else "")
        try:
            answer = await api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            _raise_if_cancelled()
            raise Unavailable(f"cannot reach the Kubernetes API at {self._connection.server}: {error}") from error
        response: aiohttp.ClientResponse = answer.response
        return response


def _raise_if_cancelled() -> None:
    """A cancellation that meets a breaking connection comes out of aiohttp as the connection's error: whoever waits
    for the task to end would wait for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _builtins(body: Mapping[str, Any] | msgspec.Struct) -> dict[str, Any]:
    built = msgspec.to_builtins(body)
    if not isinstance(built, dict):
        raise TypeError(f"a Kubernetes object is a mapping, not {type(built).__name__}")
    return built


def _api_error(status: int, content: bytes) -> ApiError:
    try:
        parsed = msgspec.json.decode(content, type=_Status)
    except (msgspec.DecodeError, msgspec.ValidationError):
        parsed = _Status(message=content[:200].decode("utf-8", "replace"))
    return _build_error(parsed.code or status, parsed.reason, parsed.message)


def _build_error(status: int, reason: str, message: str) -> ApiError:
    if status == 410 or reason in ("Expired", "Gone"):
        return Expired(status or 410, reason or "Expired", message)
    return ApiError(status, reason, message)

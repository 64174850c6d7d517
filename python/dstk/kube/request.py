"""One request to the API server, and what its failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from dstk.errors import ApiError, OutcomeUnknown, Unavailable
from dstk.kube.connect import Connection

__all__ = ["CONNECT_SECONDS", "Expired", "Silent", "api_error", "apply", "raise_if_cancelled", "request", "send"]

REQUEST_SECONDS = 30.0
"""Time-out of a request that is not a watch."""

CONNECT_SECONDS = 5.0

_APPLY_PATCH = "application/apply-patch+yaml"


class Expired(ApiError):
    """The resource version or list cursor is too old (410 Gone): list again."""


class Silent(Unavailable):
    """A watch has brought nothing for long."""


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


async def request(
    connection: Connection,
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    content_type: str = "application/json",
) -> bytes:
    """What the API server answers. Errors are those of :class:`dstk.kube.Objects`."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        response = await send(
            connection, method, path, query=query, body=body, timeout=timeout, content_type=content_type
        )
        try:
            content = await response.read()
        finally:
            response.release()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise_if_cancelled()
        said = f"{method} {path}: no answer from the Kubernetes API: {error!r}"
        raise (Unavailable(said) if method == "GET" else OutcomeUnknown(said)) from error
    if response.status >= 400:
        raise api_error(response.status, content)
    return content


def raise_if_cancelled() -> None:
    """A cancellation that meets a breaking connection comes out of aiohttp as the connection's error: whoever waits
    for the task to end would wait for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def apply(connection: Connection, path: str, body: Mapping[str, Any], *, manager: str) -> Any:
    """Server-side apply of an object, over whatever other managers say; the object as it is then."""
    query = {"fieldManager": manager, "force": "true"}
    return msgspec.json.decode(
        await request(connection, "PATCH", path, query=query, body=body, content_type=_APPLY_PATCH)
    )


async def send(
    connection: Connection,
    method: str,
    path: str,
    *,
    timeout: aiohttp.ClientTimeout,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    content_type: str = "application/json",
) -> aiohttp.ClientResponse:
    """The open answer, whatever its status. Raises Unavailable when the API server could not be reached at all."""
    api = connection.api
    headers = {"Accept": "application/json", "User-Agent": "dstk", "Content-Type": content_type}
    await api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
    url = connection.server + path + ("?" + urlencode(query) if query else "")
    try:
        answer = await api.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise_if_cancelled()
        raise Unavailable(f"cannot reach the Kubernetes API at {connection.server}: {error}") from error
    response: aiohttp.ClientResponse = answer.response
    return response


def api_error(status: int, content: bytes | msgspec.Raw) -> ApiError:
    """The error that an answer, or the ERROR event of a watch, tells of."""
    try:
        said = msgspec.json.decode(content, type=_Status)
    except (msgspec.DecodeError, msgspec.ValidationError):
        said = _Status(message=bytes(content)[:200].decode("utf-8", "replace"))
    code = said.code or status
    if code == 410 or said.reason in ("Expired", "Gone"):
        return Expired(code or 410, said.reason or "Expired", said.message)
    return ApiError(code, said.reason, said.message)

"""The API server over HTTP, by the session, TLS and credentials of the client library's ApiClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from dstk.errors import OutcomeUnknown, Unavailable
from dstk.kube.api import Silent, api_error

__all__ = ["Connection", "raise_if_cancelled"]

REQUEST_SECONDS = 30.0
"""Time-out of a request that is not a watch."""

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Connection:
    """An open client of one API server (:class:`dstk.kube.Api`). Close it with ``await connection.close()``."""

    api: ApiClient
    namespace: str
    """The context's or the pod's own namespace: the default where none is named."""

    @property
    def server(self) -> str:
        return str(self.api.configuration.host)

    @property
    def configuration(self) -> Configuration:
        configuration: Configuration = self.api.configuration
        return configuration

    async def token(self) -> str | None:
        """The bearer token in use, refreshed when it is about to expire, without its ``Bearer`` prefix."""
        settings = await self.configuration.auth_settings()
        value = settings.get("BearerToken", {}).get("value")
        return str(value).partition(" ")[2] or str(value) if value else None

    async def close(self) -> None:
        await self.api.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
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
            response = await self._send(
                method, path, query=query, body=body, timeout=timeout, content_type=content_type
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

    async def lines(self, path: str, *, query: Mapping[str, str], idle_seconds: float) -> AsyncGenerator[bytes, None]:
        """As :meth:`dstk.kube.Api.lines`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        response = None
        try:
            response = await self._send("GET", path, query=query, timeout=timeout)
            if response.status >= 400:
                raise api_error(response.status, await response.read())
            yield b""
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise_if_cancelled()
            if isinstance(error, TimeoutError):
                raise Silent(f"watch of {path}: nothing for {idle_seconds:g} s") from error
            raise Unavailable(f"watch of {path} broke: {error!r}") from error
        finally:
            if response is not None:
                response.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        """The open answer, whatever its status. Raises Unavailable when the API server could not be reached at all."""
        headers = {"Accept": "application/json", "User-Agent": "dstk", "Content-Type": content_type}
        await self.api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self.server + path + ("?" + urlencode(query) if query else "")
        try:
            answer = await self.api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise_if_cancelled()
            raise Unavailable(f"cannot reach the Kubernetes API at {self.server}: {error}") from error
        response: aiohttp.ClientResponse = answer.response
        return response


def raise_if_cancelled() -> None:
    """A cancellation that meets a breaking connection comes out of aiohttp as the connection's error: whoever waits
    for the task to end would wait for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

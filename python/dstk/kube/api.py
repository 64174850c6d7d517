"""An API server, as everything that is built on it needs one: requests, and streams of lines. And what failures are
called."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import msgspec

from dstk.errors import ApiError, Unavailable

__all__ = ["Api", "Expired", "Silent", "api_error", "apply"]

_APPLY_PATCH = "application/apply-patch+yaml"


class Expired(ApiError):
    """The resource version or list cursor is too old (410 Gone): list again."""


class Silent(Unavailable):
    """A watch has brought nothing for long."""


class Api(Protocol):
    """One API server. ``Connection`` is the one over HTTP."""

    @property
    def namespace(self) -> str:
        """The default where none is named."""

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

    def lines(self, path: str, *, query: Mapping[str, str], idle_seconds: float) -> AsyncGenerator[bytes, None]:
        """The lines of a watch, an empty one first when the server has begun, until the server ends it.

        Raises ApiError when it does not begin, Unavailable when it breaks, Silent when nothing came for so long.
        """


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


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


async def apply(api: Api, path: str, body: Mapping[str, Any], *, manager: str) -> Any:
    """Server-side apply of an object, over whatever other managers say; the object as it is then."""
    query = {"fieldManager": manager, "force": "true"}
    return msgspec.json.decode(await api.request("PATCH", path, query=query, body=body, content_type=_APPLY_PATCH))

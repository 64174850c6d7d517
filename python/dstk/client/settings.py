"""The client's settings, each with its unit, and how addresses are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dstk import errors


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Time and size limits of a client."""

    timeout_seconds: float = 30.0
    """Within this a call ends, unless it says otherwise itself."""
    connect_seconds: float = 10.0
    """Within this one connection is made; :func:`dstk.connect` as a whole ends within ``timeout_seconds``."""

    cluster: str = ""
    """The identity of the cluster that is meant (the UID of dstk's namespace); empty: that of the first worker that
    answers. A worker of another cluster that has come to an address is never read or written."""

    def native(self) -> dict[str, int | float | str]:
        """As the extension takes them."""
        return asdict(self)


def split_addresses(address: str | Sequence[str]) -> list[str]:
    """``host:port``, ``host:port,host:port`` or a sequence of them, checked, as a list."""
    parts = [part.strip() for part in address.split(",")] if isinstance(address, str) else list(address)
    parts = [part for part in parts if part]
    if not parts:
        raise errors.ConfigError("no worker address given; write host:port")
    for part in parts:
        host, colon, port = part.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise errors.ConfigError(f"{part!r} is no worker address; write host:port, for instance 127.0.0.1:7000")
    return parts

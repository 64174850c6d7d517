"""The client's settings, each with its unit, and how addresses are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
    close_seconds: float = 0.5
    """A client that is closed waits for so long for the answers to what was sent."""
    open_operations: int = 65_536
    """So many operations may be under way on one connection; more wait to be tried again."""
    open_bytes: int = 1 << 30
    """Their keys and values may be so many bytes."""

    def native(self) -> dict[str, int | float | str]:
        """As the extension takes them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Target:
    """What a client is connected to, checked."""

    addresses: list[str]
    keyspace: str
    settings: ClientSettings

    @classmethod
    def of(cls, address: str | Sequence[str], keyspace: str, settings: ClientSettings | None) -> Target:
        """Raises ConfigError for an address that is none, WrongType and InvalidRequest for what else is wrong."""
        if not isinstance(keyspace, str):
            raise errors.WrongType(f"keyspace is a name, a str, not {type(keyspace).__name__}")
        if not keyspace or not keyspace.isprintable():
            raise errors.InvalidRequest(f"keyspace {keyspace!r} is no name: pass that of a Keyspace object")
        if settings is not None and not isinstance(settings, ClientSettings):
            raise errors.WrongType(f"settings are ClientSettings, not {type(settings).__name__}")
        return cls(split_addresses(address), keyspace, settings or ClientSettings())


_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def split_addresses(address: str | Sequence[str]) -> list[str]:
    """``host:port``, ``host:port,host:port`` or a sequence of them, checked, as a list.

    Raises ConfigError when one of them is none, WrongType when they are not text.
    """
    if isinstance(address, str):
        parts = address.split(",")
    elif isinstance(address, bytes | bytearray | Mapping) or not isinstance(address, Iterable):
        raise errors.WrongType(f"an address is host:port as a str, or a list of such, not {type(address).__name__}")
    else:
        parts = list(address)
    for part in parts:
        if not isinstance(part, str):
            raise errors.WrongType(f"an address is host:port as a str, not {part!r}")
    parts = [part.strip() for part in parts if part.strip()]
    if not parts:
        raise errors.ConfigError("no worker address given; write host:port")
    for part in parts:
        host, _, port = part.rpartition(":")
        if not _HOST.fullmatch(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise errors.ConfigError(f"{part!r} is no worker address; write host:port, for instance 127.0.0.1:7000")
    return parts

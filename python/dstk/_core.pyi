"""Types of the extension module. One class a Rust file in rust/py/src."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

__version__: str

Role: TypeAlias = Literal["loading", "following", "primary", "proxy", "disconnected"]

@final
class Node:
    """The data plane of one worker: its partitions, data server, replication and forwarding, on threads of its own.

    Methods may be called from any thread; those that wait release the interpreter. Errors: ``dstk.errors``
    (StaleRequest, NotHere, WrongRole, NotReady, InvalidRequest, LimitReached).
    """

    def __new__(cls, name: str, incarnation: str, settings: Mapping[str, int | float | str] | None = None) -> Node: ...
    def listen(self, address: str) -> str:
        """Start the data server on ``host:port`` (port 0: any); the bound address."""
    def stop(self, grace_seconds: float) -> None:
        """Refuse new requests as retryable, let running ones end, close. Blocks."""
    # Actions: see proto/dstk/v1/control.proto. Each returns the state afterwards.
    def serve(self, keyspace: str, partition: str, epoch: int, key_length: int, start: bytes, end: bytes) -> PartitionState: ...
    def follow(
        self, keyspace: str, partition: str, epoch: int, key_length: int, start: bytes, end: bytes,
        source: str, source_address: str, source_incarnation: str,
    ) -> PartitionState: ...
    def fence(self, keyspace: str, partition: str, epoch: int) -> PartitionState: ...
    def unfence(self, keyspace: str, partition: str, epoch: int) -> PartitionState: ...
    def await_applied(self, keyspace: str, partition: str, epoch: int, sequence: int, timeout_seconds: float) -> PartitionState: ...
    def promote(self, keyspace: str, partition: str, epoch: int, sequence: int, digest: int) -> PartitionState: ...
    def proxy(self, keyspace: str, partition: str, epoch: int, to: str, to_address: str) -> PartitionState: ...
    def release(self, keyspace: str, partition: str, epoch: int) -> None: ...
    def drop(self, keyspace: str, partition: str, epoch: int) -> None: ...
    def split(
        self, keyspace: str, partition: str, parent_epoch: int, epoch: int, keys: Sequence[bytes], names: Sequence[str],
    ) -> list[PartitionState]: ...
    def merge(
        self, keyspace: str, parts: Sequence[tuple[str, int]], partition: str, epoch: int, start: bytes, end: bytes,
    ) -> PartitionState: ...
    def states(self, partitions: Sequence[str] | None = None) -> list[PartitionState]: ...
    def loads(self) -> list[tuple[str, str, int, int, int, float, float, bytes | None, Role]]:
        """(keyspace, partition, epoch, rows, bytes, operations/s, bytes/s, median key, role) of every partition."""
    def apply_routes(self, update: bytes) -> None:
        """A serialized dstk.v1.RoutesUpdate."""
    def counters(self) -> dict[str, int]:
        """Monotonic counters and gauges for /metrics, by name."""

@final
class PartitionState:
    """A partition as this worker holds it; field for field dstk.v1.PartitionState."""

    keyspace: str
    partition: str
    start: bytes
    end: bytes
    role: Role
    epoch: int
    sequence: int
    fenced: bool
    held: int
    rows: int
    bytes: int
    digest: int
    quiet_seconds: float
    last_pause_seconds: float
    proxy_to: str
    source: str
    rows_copied: int
    bytes_copied: int
    bytes_total: int
    lag: int
    caught_up: bool
    follow_error: str

@final
class Client:
    """Routing table, connections, batching, retries. Sync calls block with the interpreter released; the asyncio face
    submits with a token and collects completions in bulk after one wake-up through ``fileno()``."""

    def __new__(cls, addresses: Sequence[str], keyspace: str, settings: Mapping[str, int | float | str] | None = None) -> Client:
        """Connects, fetches the routing table. Raises Unavailable, UnknownKeyspace. Blocks."""
    @property
    def key_length(self) -> int: ...
    def close(self) -> None: ...
    # Sync verbs. `timeout` in seconds; None: the client's default.
    def get(self, key: bytes, timeout: float | None = None) -> tuple[bytes, int] | None: ...
    def put(self, key: bytes, value: bytes, if_version: int | None = None, timeout: float | None = None) -> int: ...
    def delete(self, key: bytes, if_version: int | None = None, timeout: float | None = None) -> int | None: ...
    def get_many(self, keys: Any, timeout: float | None = None) -> list[tuple[bytes, int] | None]: ...
    def put_many(self, keys: Any, values: Sequence[bytes], timeout: float | None = None) -> list[int | BaseException]: ...
    def delete_many(self, keys: Any, timeout: float | None = None) -> list[int | None | BaseException]: ...
    def scan(
        self, start: bytes, end: bytes, limit: int, reverse: bool = False, timeout: float | None = None,
    ) -> tuple[list[tuple[bytes, bytes, int]], bytes | None]:
        """Up to `limit` rows (key, value, version) over as many partitions as needed, and the cursor: None when done."""
    # Asyncio verbs: the result comes with completions() under the token.
    def submit_get(self, token: int, key: bytes, timeout: float | None = None) -> None: ...
    def submit_put(self, token: int, key: bytes, value: bytes, if_version: int | None = None, timeout: float | None = None) -> None: ...
    def submit_delete(self, token: int, key: bytes, if_version: int | None = None, timeout: float | None = None) -> None: ...
    def submit_get_many(self, token: int, keys: Any, timeout: float | None = None) -> None: ...
    def submit_put_many(self, token: int, keys: Any, values: Sequence[bytes], timeout: float | None = None) -> None: ...
    def submit_delete_many(self, token: int, keys: Any, timeout: float | None = None) -> None: ...
    def submit_scan(
        self, token: int, start: bytes, end: bytes, limit: int, reverse: bool = False, timeout: float | None = None,
    ) -> None: ...
    def fileno(self) -> int:
        """An eventfd that is readable while completions wait."""
    def completions(self) -> list[tuple[int, bool, Any]]:
        """(token, ok, result or exception) of all that ended since the last call."""
    def routes(self) -> list[tuple[bytes, bytes, str, int, str]]:
        """The routing table: (start, end, partition, epoch, owner), sorted."""
    def counters(self) -> dict[str, int]: ...

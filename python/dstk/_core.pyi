"""Types of the extension module. One class a Rust file in rust/py/src."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

__version__: str

Role: TypeAlias = Literal["loading", "following", "primary", "proxy", "disconnected"]

class Node:
    """The data plane of one worker: its partitions, data server, replication and forwarding, on threads of its own.

    Methods may be called from any thread; those that wait release the interpreter. Errors: ``dstk.errors``
    (StaleRequest, NotHere, WrongRole, NotReady, InvalidRequest, LimitReached).
    """

    def __new__(cls, name: str, incarnation: str, settings: Mapping[str, int | float | str] | None = None) -> Node:
        """With setting ``data_dir`` it starts with what is there. Raises ConfigError, DataDamaged."""
    @staticmethod
    def check_settings(settings: Mapping[str, int | float | str]) -> None:
        """Raises ConfigError for a setting that does not exist or cannot be."""
    def listen(self, address: str) -> str:
        """Start the data server on ``host:port`` (port 0: any); the bound address."""
    def stop(self, grace_seconds: float) -> None:
        """Refuse new requests as retryable, let running ones end, close. Blocks."""
    # Actions: see proto/dstk/v1/control.proto. Each returns the state afterwards.
    def serve(
        self,
        keyspace: str,
        partition: str,
        epoch: int,
        key_length: int,
        start: bytes,
        end: bytes,
        durable: bool,
    ) -> PartitionState: ...
    def follow(
        self,
        keyspace: str,
        partition: str,
        epoch: int,
        key_length: int,
        start: bytes,
        end: bytes,
        source: str,
        source_address: str,
        source_incarnation: str,
        durable: bool,
        size: int,
    ) -> PartitionState: ...
    def fence(self, keyspace: str, partition: str, epoch: int, token: int) -> PartitionState: ...
    def unfence(self, keyspace: str, partition: str, epoch: int, token: int) -> PartitionState: ...
    def await_applied(
        self, keyspace: str, partition: str, epoch: int, sequence: int, timeout_seconds: float
    ) -> PartitionState: ...
    def promote(self, keyspace: str, partition: str, epoch: int, sequence: int, digest: int) -> PartitionState: ...
    def proxy(self, keyspace: str, partition: str, epoch: int, to: str, to_address: str) -> PartitionState: ...
    def release(self, keyspace: str, partition: str, epoch: int) -> None: ...
    def drop(self, keyspace: str, partition: str, epoch: int) -> None: ...
    def split(
        self,
        keyspace: str,
        partition: str,
        parent_epoch: int,
        epoch: int,
        keys: Sequence[bytes],
        names: Sequence[str],
    ) -> list[PartitionState]: ...
    def merge(
        self,
        keyspace: str,
        parts: Sequence[tuple[str, int]],
        partition: str,
        epoch: int,
        start: bytes,
        end: bytes,
    ) -> PartitionState: ...
    def states(self, partitions: Sequence[str] | None = None) -> list[PartitionState]: ...
    def loads(
        self,
    ) -> list[tuple[str, str, int, int, int, float, float, bytes | None, Role, tuple[int, bool, int, int]]]:
        """(keyspace, partition, epoch, rows, bytes, operations/s, bytes/s, median key, role, (key length, whether it is
        durable, size, sequence on disk)) of every partition; a sequence of 0 is not known."""
    @property
    def cluster(self) -> str | None:
        """The cluster that the worker belongs to; None before an operator has named it."""
    def join(self, cluster: str) -> None:
        """Belong to `cluster` for good, also in later lives on this disk. Raises Misdirected when it is another's."""
    @property
    def room(self) -> tuple[int, int, int]:
        """Bytes that rows may take (0: no bound), that they take, and that copies on their way are still to take."""
    def see_term(self, term: int) -> None:
        """Note the term of an operator that speaks; a new one is on disk afterwards. Raises StaleRequest."""
    def set_lease(self, keyspace: str, key_length: int, seconds: float) -> None:
        """Serve a keyspace only for so long after an operator was heard; 0: for ever. Raises InvalidRequest."""
    def renew(self, seconds_ago: float) -> None:
        """An operator has shown that it heard what this worker said so long ago: leases run from then."""
    @property
    def lapses(self) -> int:
        """How often leases ran out; then partitions are fenced until an operator lifts the fence."""
    @property
    def term(self) -> int:
        """Highest term of an operator that was heard; 0: none was."""
    @property
    def origin(self) -> tuple[str, int, list[str], int] | None:
        """(the life that made the data directory, starts, the last lives that used it, where its log ended when this
        one began); None without a data directory."""
    @property
    def durable_position(self) -> int:
        """Up to where the log is on disk, over all lives of the data directory; 0 without one."""
    @property
    def failure(self) -> str | None:
        """Why the log cannot be written any more, if so: only a new start helps."""
    def checkpoint(self) -> bool:
        """Make a checkpoint and let the log before it go; False without a data directory. Raises Unavailable."""
    def apply_routes(self, update: bytes) -> None:
        """A serialized dstk.v1.RoutesUpdate."""
    def counters(self) -> dict[str, int]:
        """Monotonic counters (``…_total``) and gauges for /metrics, by name; those of partitions over all keyspaces."""
    def keyspace_counters(self) -> dict[str, dict[str, int]]:
        """Of :meth:`counters` those of partitions, each keyspace's own."""

@final
class ManualClock:
    """The time, which is set by hand; for :class:`PassiveNode`."""

    def __new__(cls) -> ManualClock: ...
    def set(self, nanos: int) -> None: ...
    @property
    def nanos(self) -> int: ...

Answer: TypeAlias = tuple[str, int, int, bytes | None, int, str, str]
"""What is said to a request: `done`, `held`, `elsewhere`, `refused`, `again` or `nobody`; then code, version, value,
the position of the log that has to be on disk before it is told, the worker that it is for, and why."""

@final
class PassiveNode(Node):
    """A node that nothing runs: whoever holds it says what time it is, and carries what it sends."""

    def __new__(
        cls, name: str, incarnation: str, clock: ManualClock, settings: Mapping[str, int | float | str] | None = None
    ) -> PassiveNode: ...
    def execute(
        self,
        number: int,
        keyspace: str,
        key: bytes,
        value: bytes | None = None,
        condition: int = 0,
        delete: bool = False,
    ) -> Answer:
        """One operation: reads without a `value`. `condition`: 0 none, 1 no row, v + 1 the row has version v. Where it
        is `held`, `verdicts` gives its answer, under its `number`."""
    def verdicts(self) -> list[tuple[int, Answer]]:
        """What became of requests that were held, since this was last asked."""
    def streams(self) -> list[PassiveStream]:
        """Streams that the node wants to follow by, since this was last asked."""
    def tick(self) -> None:
        """What falls due by itself: requests that were held for too long, room, leases. Several times a second."""
    def is_durable(self, position: int) -> bool: ...
    def flush(self) -> None:
        """Have on disk what has been appended to the log. Nothing else does, but who waits for it."""
    def crash(self, torn: bool) -> None:
        """End as a killed process does: what was not flushed is lost; `torn`: half of it was being written."""
    def is_leased(self, keyspace: str) -> bool: ...
    def peek(self, keyspace: str, key: bytes) -> tuple[str, Role, int, bool, bool, int, bytes | None] | None:
        """What is held of a key, whoever serves it: partition, role, epoch, whether writes are taken, whether a copy
        has caught up, version (0: no row) and value."""

@final
class PassiveStream:
    """A stream that a node wants to follow by."""

    @property
    def partition(self) -> str: ...
    @property
    def source(self) -> str: ...
    def open(self, source: PassiveNode) -> bool:
        """Load what the source has. False: nobody wants this stream any more. Raises Unavailable when it broke."""
    def advance(self, max_bytes: int) -> bool:
        """Bring so many bytes of the log at most, or where there are none the source's state. As `open`."""
    def failed(self, reason: str) -> None:
        """The connection broke."""

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
    fence_token: int
    held: int
    rows: int
    bytes: int
    digest: int
    quiet_seconds: float
    last_pause_seconds: float
    proxy_to: str
    durable: bool
    source: str
    rows_copied: int
    bytes_copied: int
    bytes_total: int
    lag: int
    caught_up: bool
    follow_error: str
    no_room: bool
    """Whether it ended because this worker has no room for the rows."""
    size: int
    """What its rows take, in bytes: keys, values and what is around them."""

@final
class Client:
    """Routing table, connections, batching, retries. Sync calls block with the interpreter released; the asyncio face
    submits with a token and collects completions in bulk after one wake-up through ``fileno()``."""

    def __new__(
        cls, addresses: Sequence[str], keyspace: str, settings: Mapping[str, int | float | str] | None = None
    ) -> Client:
        """Connects, fetches the routing table. Raises Unavailable, UnknownKeyspace. Blocks."""
    @property
    def key_length(self) -> int: ...
    def losses(self) -> list[tuple[bytes, bytes, str, int, str, bool]]:
        """(start, end, partition, since in milliseconds of UTC, reason, held) of each range whose rows were lost."""
    def close(self) -> None:
        """Refuses later calls, and blocks until those under way have ended: see rust/net/src/client/life.rs."""
    # Sync verbs. `timeout` in seconds; None: the client's default.
    def get(self, key: bytes, timeout: float | None = None) -> tuple[bytes, int] | None: ...
    def put(self, key: bytes, value: bytes, if_version: int | None = None, timeout: float | None = None) -> int: ...
    def delete(self, key: bytes, if_version: int | None = None, timeout: float | None = None) -> int | None: ...
    def get_many(self, keys: Any, timeout: float | None = None) -> list[tuple[bytes, int] | None]: ...
    def put_many(self, keys: Any, values: Any, timeout: float | None = None) -> list[int | BaseException]: ...
    def delete_many(self, keys: Any, timeout: float | None = None) -> list[int | BaseException | None]: ...
    def scan(
        self,
        start: bytes | None,
        end: bytes | None,
        limit: int | None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> tuple[list[tuple[bytes, bytes, int]], bytes | None]:
        """Up to `limit` rows (key, value, version) over as many partitions as needed; cursor None: done."""
    # Asyncio verbs: the result comes with completions() under the token.
    def submit_get(self, token: int, key: bytes, timeout: float | None = None) -> None: ...
    def submit_put(
        self, token: int, key: bytes, value: bytes, if_version: int | None = None, timeout: float | None = None
    ) -> None: ...
    def submit_delete(
        self, token: int, key: bytes, if_version: int | None = None, timeout: float | None = None
    ) -> None: ...
    def submit_get_many(self, token: int, keys: Any, timeout: float | None = None) -> None: ...
    def submit_put_many(self, token: int, keys: Any, values: Any, timeout: float | None = None) -> None: ...
    def submit_delete_many(self, token: int, keys: Any, timeout: float | None = None) -> None: ...
    def submit_scan(
        self,
        token: int,
        start: bytes | None,
        end: bytes | None,
        limit: int | None,
        reverse: bool = False,
        timeout: float | None = None,
    ) -> None: ...
    def submit_close(self, token: int) -> None:
        """Close without blocking: a completion with None comes after all others."""
    def give_up(self, token: int) -> None:
        """No completion of this call is wanted: what was not sent is never sent."""
    def abandon(self) -> None:
        """Give everything up, and close."""
    def fileno(self) -> int:
        """An eventfd that is readable while completions wait."""
    def completions(self) -> list[tuple[int, bool, Any]]:
        """(token, ok, result or exception) of all that ended since the last call."""
    def routes(self) -> list[tuple[bytes, bytes, str, int, str]]:
        """The routing table: (start, end, partition, epoch, owner), sorted."""
    def counters(self) -> dict[str, int]: ...

def fault_points() -> dict[str, str]:
    """The fault points inside this module, and when each is reached."""

def set_fault_hook(hook: Callable[[str, str], None]) -> None:
    """Have ``hook(point, partition)`` called at every fault point from now on, on whichever thread has come there.

    Partition "": the worker as a whole. What the hook raises, the deed fails with. Raises ConfigError when one is set.
    """

def check_data(directory: PathLike[str]) -> tuple[str, int, int, int, int, int, int, int]:
    """What a data directory that no worker uses holds, after everything in it has been checked.

    Worker, partitions, rows, bytes of keys and values, files of the log, bytes and records after the last checkpoint,
    highest term. Raises DataDamaged, ConfigError.
    """

Route: TypeAlias = tuple[bytes, bytes, str, int, str]
"""(start, end, partition, epoch, owner); an empty end means none, an empty owner nobody."""

@final
class RangeIndex:
    """An immutable index over closed-open ranges of keys of one length, 1 to 1024 bytes. Gaps are allowed.

    A key or bound that is shorter than the key length stands for itself padded with zero bytes. numpy's `S{n}` drops
    trailing zero bytes, so nothing is lost. Many keys are given as one of

    - a numpy array of dtype `S{n}` or `V{n}` with one dimension, or of uint8 with shape `(keys, n)`, of any strides;
    - a numpy array of uint64: keys of eight bytes, as numbers of the same order;
    - a buffer of bytes (bytearray, memoryview, mmap, array): flat, one key after the other, or of shape `(keys, n)`;
    - an Arrow array of fixed-size binary without nulls, from any library (`__arrow_c_array__`);
    - any iterable of bytes, which is copied.

    The others are read where they lie, except for native uint64 that is not contiguous, and must not be written
    meanwhile: batches of 256 keys and more are looked up with the interpreter released.

    Errors of all methods: KeyLengthError for a key that is too long, WrongType for what is no key, InvalidRange for
    ranges that are empty, unsorted or overlap.

    `RangeIndex(starts, ends=None, owners=None, *, key_length=None)` takes the ranges by column, sorted by start. An end
    without bytes, or of zero bytes alone, is no end. Without `ends` each range goes up to the next start, and the last
    one has no end. `owners` are integers in 0..2**24 - 1, one a range; without them each range has an owner of its own,
    numbered by position. Without `key_length` it is the width of the widest bound.
    """

    def __new__(
        cls, starts: Any, ends: Any = None, owners: Any = None, *, key_length: int | None = None
    ) -> RangeIndex: ...
    def find(self, key: bytes, /) -> int:
        """The position of the range that holds `key`, counted from 0 in the order of keys; -1 when no range does.

        `key` is bytes, `key_length` of them at most. Raises KeyLengthError, WrongType.
        """
    def owner(self, key: bytes, /) -> int:
        """The owner of the range that holds `key`; -1 when no range does.

        `key` is bytes, `key_length` of them at most. Raises KeyLengthError, WrongType.
        """
    def find_many(
        self, keys: Any, out: npt.NDArray[np.int64] | None = None, *, threads: int = 1
    ) -> npt.NDArray[np.int64]:
        """The position of the range that holds each of `keys`, int64 of shape `(keys,)`; -1 where no range does.

        `keys` is whatever the class takes for many keys. With `out`, a contiguous int64 array of shape `(keys,)`,
        the result is written there and `out` is returned. At most `threads` threads share the work; each gets
        16,384 keys or more.

        Raises KeyLengthError for keys that are too wide, WrongType for what is no keys or for an `out` of another
        dtype, InvalidRequest for `threads` below 1 and for an `out` that has another length, cannot be written or
        lies in the memory of `keys`.
        """
    def group(
        self,
        keys: Any,
        out: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
        *,
        threads: int = 1,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which keys go to which owner: `(order, offsets)`, two int64 arrays of shape `(keys,)` and `(owners + 2,)`.

        `order[offsets[o]:offsets[o + 1]]` are the positions in `keys` of those that owner `o` has, in the order of
        `keys`. The positions of keys that no range holds come last: `order[offsets[owners]:]`. With `out`, a pair
        of contiguous int64 arrays of these shapes, the result is written there. `threads` share the look-ups, not
        the sorting.

        Raises what `find_many` raises, and InvalidRequest when the two arrays of `out` lie in one another.
        """
    def apply(self, remove: Sequence[bytes], add: Sequence[tuple[bytes, bytes | None, int]]) -> RangeIndex:
        """The next version: without the ranges that start at the keys `remove`, with the ranges `add`.

        `add` holds tuples `(start, end, owner)`; an `end` of None or b"" is no end. This version stays as it is,
        and the two share what did not change: a change costs microseconds, however many ranges there are.

        Raises InvalidRange when no range starts at a key of `remove`, or when ranges would be empty or overlap,
        KeyLengthError for a bound that is too long, InvalidRequest for an owner that is not in 0..2**24 - 1.
        """
    def bounds(self, position: int) -> tuple[bytes, bytes]:
        """`(start, end)` of the range at a position, as bytes of the key length; the end is b"" when there is none.

        Raises IndexError for a position that is not in 0..len(index) - 1.
        """
    def __len__(self) -> int: ...
    @property
    def key_length(self) -> int:
        """Bytes of every key, 1 to 1024."""
    @property
    def owners(self) -> int:
        """One more than the highest owner of this version and of those it came from."""
    @property
    def nbytes(self) -> int:
        """Memory of this version in bytes, what it shares with other versions included."""

@final
class RoutingTable:
    """The overlay of all partitions of one keyspace by epoch, and where their owners listen. Safe to share by threads.

    A partition has the keys of its range that no partition of a higher epoch claims; of two in one epoch, the one that
    shows stays. A partition counts in its newest epoch only; routes of it in one epoch add up. What was cut off does
    not come back by a withdrawal: apply it again. Each change costs microseconds, however many routes there are.
    """

    def __new__(cls, key_length: int) -> RoutingTable: ...
    def apply(self, start: bytes, end: bytes | None, partition: str, epoch: int, owner: str = "") -> bool:
        """Lays a route over the table; whether that changed anything. Raises KeyLengthError, InvalidRange."""
    def withdraw(self, partition: str, epoch: int) -> bool:
        """Takes out what `partition` shows at `epoch` or older; whether that was anything."""
    def replace_all(self, entries: Sequence[Route]) -> bool:
        """Makes the table what shows of `entries`, whatever their order; whether that changed anything."""
    def lookup(self, key: bytes) -> Route | None:
        """The route that has `key`; None in a gap."""
    def entries(self) -> list[Route]:
        """All routes, sorted; they do not overlap."""
    def entries_of(self, partition: str) -> list[Route]:
        """What `partition` shows, sorted."""
    def overlapping(self, start: bytes, end: bytes | None) -> list[Route]:
        """The routes that share a key with the range, sorted."""
    def set_worker(self, name: str, address: str) -> bool:
        """Sets where a worker's data plane listens (host:port); whether that changed anything."""
    def remove_worker(self, name: str) -> bool:
        """Forgets where a worker listens; whether it was known."""
    def address(self, name: str) -> str | None: ...
    def addresses(self) -> dict[str, str]: ...
    def snapshot(self) -> RoutingTable:
        """A table of its own with the same content; costs no copy."""
    def changes_since(self, older: RoutingTable) -> tuple[list[tuple[str, int]], list[Route], dict[str, str]]:
        """What makes `older` into this: withdrawals (partition, epoch) first, then routes, and addresses ("": gone)."""
    def __len__(self) -> int: ...
    @property
    def version(self) -> int:
        """Grows with every change."""
    @property
    def key_length(self) -> int: ...

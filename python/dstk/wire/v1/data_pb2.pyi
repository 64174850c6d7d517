from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OK: _ClassVar[Code]
    NO_ROW: _ClassVar[Code]
    VERSION_MISMATCH: _ClassVar[Code]
    UNAVAILABLE: _ClassVar[Code]
    OUTCOME_UNKNOWN: _ClassVar[Code]
    INVALID: _ClassVar[Code]
    UNKNOWN_KEYSPACE: _ClassVar[Code]
    TOO_LARGE: _ClassVar[Code]
    LIMIT: _ClassVar[Code]
OK: Code
NO_ROW: Code
VERSION_MISMATCH: Code
UNAVAILABLE: Code
OUTCOME_UNKNOWN: Code
INVALID: Code
UNKNOWN_KEYSPACE: Code
TOO_LARGE: Code
LIMIT: Code

class Batch(_message.Message):
    __slots__ = ("keyspace", "hops", "ids", "kinds", "keys", "value_lengths", "values", "conditions")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUE_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    hops: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    kinds: bytes
    keys: bytes
    value_lengths: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    conditions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, keyspace: _Optional[str] = ..., hops: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., kinds: _Optional[bytes] = ..., keys: _Optional[bytes] = ..., value_lengths: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ..., conditions: _Optional[_Iterable[int]] = ...) -> None: ...

class Replies(_message.Message):
    __slots__ = ("ids", "codes", "versions", "value_lengths", "values", "hints", "failures")
    IDS_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    VALUE_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    codes: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    value_lengths: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    hints: _containers.RepeatedCompositeFieldContainer[Hint]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., codes: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., value_lengths: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ..., hints: _Optional[_Iterable[_Union[Hint, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("index", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    message: str
    def __init__(self, index: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Hint(_message.Message):
    __slots__ = ("route", "address")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    route: Route
    address: str
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ..., address: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("keyspace", "key")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    key: bytes
    def __init__(self, keyspace: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("keyspace", "key", "value", "condition")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    key: bytes
    value: bytes
    condition: int
    def __init__(self, keyspace: _Optional[str] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., condition: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("keyspace", "key", "condition")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    key: bytes
    condition: int
    def __init__(self, keyspace: _Optional[str] = ..., key: _Optional[bytes] = ..., condition: _Optional[int] = ...) -> None: ...

class RowReply(_message.Message):
    __slots__ = ("code", "version", "value", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: Code
    version: int
    value: bytes
    message: str
    def __init__(self, code: _Optional[_Union[Code, str]] = ..., version: _Optional[int] = ..., value: _Optional[bytes] = ..., message: _Optional[str] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("keyspace", "start", "end", "reverse", "limit", "hops", "max_bytes")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    start: bytes
    end: bytes
    reverse: bool
    limit: int
    hops: int
    max_bytes: int
    def __init__(self, keyspace: _Optional[str] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., reverse: _Optional[bool] = ..., limit: _Optional[int] = ..., hops: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class ScanReply(_message.Message):
    __slots__ = ("code", "message", "rows", "keys", "versions", "value_lengths", "values", "cursor", "done")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    VALUE_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    code: Code
    message: str
    rows: int
    keys: bytes
    versions: _containers.RepeatedScalarFieldContainer[int]
    value_lengths: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    cursor: bytes
    done: bool
    def __init__(self, code: _Optional[_Union[Code, str]] = ..., message: _Optional[str] = ..., rows: _Optional[int] = ..., keys: _Optional[bytes] = ..., versions: _Optional[_Iterable[int]] = ..., value_lengths: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ..., cursor: _Optional[bytes] = ..., done: _Optional[bool] = ...) -> None: ...

class RoutesRequest(_message.Message):
    __slots__ = ("keyspace",)
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    def __init__(self, keyspace: _Optional[str] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("partition", "start", "end", "epoch", "owner")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    partition: str
    start: bytes
    end: bytes
    epoch: int
    owner: str
    def __init__(self, partition: _Optional[str] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., epoch: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class KeyspaceRoutes(_message.Message):
    __slots__ = ("keyspace", "key_length", "routes", "withdrawn", "losses")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    key_length: int
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    withdrawn: _containers.RepeatedCompositeFieldContainer[Withdrawal]
    losses: Losses
    def __init__(self, keyspace: _Optional[str] = ..., key_length: _Optional[int] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., withdrawn: _Optional[_Iterable[_Union[Withdrawal, _Mapping]]] = ..., losses: _Optional[_Union[Losses, _Mapping]] = ...) -> None: ...

class Losses(_message.Message):
    __slots__ = ("losses",)
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    def __init__(self, losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("partition", "start", "end", "since_ms", "reason", "held")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    partition: str
    start: bytes
    end: bytes
    since_ms: int
    reason: str
    held: bool
    def __init__(self, partition: _Optional[str] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., since_ms: _Optional[int] = ..., reason: _Optional[str] = ..., held: _Optional[bool] = ...) -> None: ...

class Withdrawal(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: str
    epoch: int
    def __init__(self, partition: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class WorkerAddress(_message.Message):
    __slots__ = ("worker", "address")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    worker: str
    address: str
    def __init__(self, worker: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class RoutesUpdate(_message.Message):
    __slots__ = ("full", "keyspaces", "workers")
    FULL_FIELD_NUMBER: _ClassVar[int]
    KEYSPACES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    full: bool
    keyspaces: _containers.RepeatedCompositeFieldContainer[KeyspaceRoutes]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerAddress]
    def __init__(self, full: _Optional[bool] = ..., keyspaces: _Optional[_Iterable[_Union[KeyspaceRoutes, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[WorkerAddress, _Mapping]]] = ...) -> None: ...

class ReplicateRequest(_message.Message):
    __slots__ = ("keyspace", "partition", "epoch", "follower", "source_incarnation", "digests", "applied")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    partition: str
    epoch: int
    follower: str
    source_incarnation: str
    digests: bytes
    applied: int
    def __init__(self, keyspace: _Optional[str] = ..., partition: _Optional[str] = ..., epoch: _Optional[int] = ..., follower: _Optional[str] = ..., source_incarnation: _Optional[str] = ..., digests: _Optional[bytes] = ..., applied: _Optional[int] = ...) -> None: ...

class ReplicateMessage(_message.Message):
    __slots__ = ("snapshot_start", "chunk", "drop", "snapshot_end", "entries", "source", "failed")
    SNAPSHOT_START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_END_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    snapshot_start: SnapshotStart
    chunk: bytes
    drop: DropRange
    snapshot_end: SnapshotEnd
    entries: LogEntries
    source: SourceState
    failed: str
    def __init__(self, snapshot_start: _Optional[_Union[SnapshotStart, _Mapping]] = ..., chunk: _Optional[bytes] = ..., drop: _Optional[_Union[DropRange, _Mapping]] = ..., snapshot_end: _Optional[_Union[SnapshotEnd, _Mapping]] = ..., entries: _Optional[_Union[LogEntries, _Mapping]] = ..., source: _Optional[_Union[SourceState, _Mapping]] = ..., failed: _Optional[str] = ...) -> None: ...

class SnapshotStart(_message.Message):
    __slots__ = ("sequence", "rows", "bytes", "bytes_to_send")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_TO_SEND_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    rows: int
    bytes: int
    bytes_to_send: int
    def __init__(self, sequence: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., bytes_to_send: _Optional[int] = ...) -> None: ...

class DropRange(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ...) -> None: ...

class SnapshotEnd(_message.Message):
    __slots__ = ("sequence", "rows", "digest")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    rows: int
    digest: int
    def __init__(self, sequence: _Optional[int] = ..., rows: _Optional[int] = ..., digest: _Optional[int] = ...) -> None: ...

class LogEntries(_message.Message):
    __slots__ = ("first", "kinds", "keys", "value_lengths", "values", "checksum")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUE_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    first: int
    kinds: bytes
    keys: bytes
    value_lengths: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    checksum: int
    def __init__(self, first: _Optional[int] = ..., kinds: _Optional[bytes] = ..., keys: _Optional[bytes] = ..., value_lengths: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SourceState(_message.Message):
    __slots__ = ("sequence", "fenced")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    fenced: bool
    def __init__(self, sequence: _Optional[int] = ..., fenced: _Optional[bool] = ...) -> None: ...

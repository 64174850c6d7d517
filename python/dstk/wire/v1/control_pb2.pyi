from dstk.wire.v1 import data_pb2 as _data_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISCONNECTED: _ClassVar[Role]
    LOADING: _ClassVar[Role]
    FOLLOWING: _ClassVar[Role]
    PRIMARY: _ClassVar[Role]
    PROXY: _ClassVar[Role]
DISCONNECTED: Role
LOADING: Role
FOLLOWING: Role
PRIMARY: Role
PROXY: Role

class Action(_message.Message):
    __slots__ = ("incarnation", "term", "keyspace", "partition", "epoch", "serve", "follow", "fence", "unfence", "await_applied", "promote", "proxy", "release", "drop", "split", "merge")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    UNFENCE_FIELD_NUMBER: _ClassVar[int]
    AWAIT_APPLIED_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    term: int
    keyspace: str
    partition: str
    epoch: int
    serve: Serve
    follow: Follow
    fence: Fence
    unfence: Unfence
    await_applied: AwaitApplied
    promote: Promote
    proxy: Proxy
    release: Release
    drop: Drop
    split: Split
    merge: Merge
    def __init__(self, incarnation: _Optional[str] = ..., term: _Optional[int] = ..., keyspace: _Optional[str] = ..., partition: _Optional[str] = ..., epoch: _Optional[int] = ..., serve: _Optional[_Union[Serve, _Mapping]] = ..., follow: _Optional[_Union[Follow, _Mapping]] = ..., fence: _Optional[_Union[Fence, _Mapping]] = ..., unfence: _Optional[_Union[Unfence, _Mapping]] = ..., await_applied: _Optional[_Union[AwaitApplied, _Mapping]] = ..., promote: _Optional[_Union[Promote, _Mapping]] = ..., proxy: _Optional[_Union[Proxy, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., drop: _Optional[_Union[Drop, _Mapping]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., merge: _Optional[_Union[Merge, _Mapping]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ...) -> None: ...

class Serve(_message.Message):
    __slots__ = ("range", "key_length", "durable", "lease_ms")
    RANGE_FIELD_NUMBER: _ClassVar[int]
    KEY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    range: Range
    key_length: int
    durable: bool
    lease_ms: int
    def __init__(self, range: _Optional[_Union[Range, _Mapping]] = ..., key_length: _Optional[int] = ..., durable: _Optional[bool] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class Follow(_message.Message):
    __slots__ = ("range", "key_length", "source", "source_address", "source_incarnation", "durable", "lease_ms", "size")
    RANGE_FIELD_NUMBER: _ClassVar[int]
    KEY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    range: Range
    key_length: int
    source: str
    source_address: str
    source_incarnation: str
    durable: bool
    lease_ms: int
    size: int
    def __init__(self, range: _Optional[_Union[Range, _Mapping]] = ..., key_length: _Optional[int] = ..., source: _Optional[str] = ..., source_address: _Optional[str] = ..., source_incarnation: _Optional[str] = ..., durable: _Optional[bool] = ..., lease_ms: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class Fence(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: int
    def __init__(self, token: _Optional[int] = ...) -> None: ...

class Unfence(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: int
    def __init__(self, token: _Optional[int] = ...) -> None: ...

class AwaitApplied(_message.Message):
    __slots__ = ("sequence", "timeout_ms")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    timeout_ms: int
    def __init__(self, sequence: _Optional[int] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class Promote(_message.Message):
    __slots__ = ("sequence", "digest")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    digest: int
    def __init__(self, sequence: _Optional[int] = ..., digest: _Optional[int] = ...) -> None: ...

class Proxy(_message.Message):
    __slots__ = ("to", "to_address")
    TO_FIELD_NUMBER: _ClassVar[int]
    TO_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    to: str
    to_address: str
    def __init__(self, to: _Optional[str] = ..., to_address: _Optional[str] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Drop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Split(_message.Message):
    __slots__ = ("parent_epoch", "keys", "names")
    PARENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    parent_epoch: int
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent_epoch: _Optional[int] = ..., keys: _Optional[_Iterable[bytes]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class Merge(_message.Message):
    __slots__ = ("parts", "range")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    range: Range
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., range: _Optional[_Union[Range, _Mapping]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("partition", "epoch")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    partition: str
    epoch: int
    def __init__(self, partition: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class PartitionState(_message.Message):
    __slots__ = ("keyspace", "partition", "range", "role", "epoch", "sequence", "fenced", "held", "rows", "bytes", "digest", "follow", "quiet_ms", "last_pause_us", "proxy_to", "fence_token", "size", "durable", "key_length")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    QUIET_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_PAUSE_US_FIELD_NUMBER: _ClassVar[int]
    PROXY_TO_FIELD_NUMBER: _ClassVar[int]
    FENCE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    partition: str
    range: Range
    role: Role
    epoch: int
    sequence: int
    fenced: bool
    held: int
    rows: int
    bytes: int
    digest: int
    follow: FollowProgress
    quiet_ms: int
    last_pause_us: int
    proxy_to: str
    fence_token: int
    size: int
    durable: bool
    key_length: int
    def __init__(self, keyspace: _Optional[str] = ..., partition: _Optional[str] = ..., range: _Optional[_Union[Range, _Mapping]] = ..., role: _Optional[_Union[Role, str]] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., fenced: _Optional[bool] = ..., held: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., digest: _Optional[int] = ..., follow: _Optional[_Union[FollowProgress, _Mapping]] = ..., quiet_ms: _Optional[int] = ..., last_pause_us: _Optional[int] = ..., proxy_to: _Optional[str] = ..., fence_token: _Optional[int] = ..., size: _Optional[int] = ..., durable: _Optional[bool] = ..., key_length: _Optional[int] = ...) -> None: ...

class FollowProgress(_message.Message):
    __slots__ = ("source", "rows_copied", "bytes_copied", "bytes_total", "lag", "caught_up", "error", "no_room")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ROWS_COPIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_COPIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NO_ROOM_FIELD_NUMBER: _ClassVar[int]
    source: str
    rows_copied: int
    bytes_copied: int
    bytes_total: int
    lag: int
    caught_up: bool
    error: str
    no_room: bool
    def __init__(self, source: _Optional[str] = ..., rows_copied: _Optional[int] = ..., bytes_copied: _Optional[int] = ..., bytes_total: _Optional[int] = ..., lag: _Optional[int] = ..., caught_up: _Optional[bool] = ..., error: _Optional[str] = ..., no_room: _Optional[bool] = ...) -> None: ...

class ActionResult(_message.Message):
    __slots__ = ("refusal", "states")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    refusal: Refusal
    states: _containers.RepeatedCompositeFieldContainer[PartitionState]
    def __init__(self, refusal: _Optional[_Union[Refusal, _Mapping]] = ..., states: _Optional[_Iterable[_Union[PartitionState, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("kind", "message")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Refusal.Kind]
        STALE: _ClassVar[Refusal.Kind]
        NOT_HERE: _ClassVar[Refusal.Kind]
        WRONG_ROLE: _ClassVar[Refusal.Kind]
        INVALID: _ClassVar[Refusal.Kind]
        NOT_READY: _ClassVar[Refusal.Kind]
        LIMIT: _ClassVar[Refusal.Kind]
    UNKNOWN: Refusal.Kind
    STALE: Refusal.Kind
    NOT_HERE: Refusal.Kind
    WRONG_ROLE: Refusal.Kind
    INVALID: Refusal.Kind
    NOT_READY: Refusal.Kind
    LIMIT: Refusal.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: Refusal.Kind
    message: str
    def __init__(self, kind: _Optional[_Union[Refusal.Kind, str]] = ..., message: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("partitions", "summary")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedScalarFieldContainer[str]
    summary: bool
    def __init__(self, partitions: _Optional[_Iterable[str]] = ..., summary: _Optional[bool] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("worker", "incarnation", "data_address", "term", "draining", "partitions", "disk")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DATA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    worker: str
    incarnation: str
    data_address: str
    term: int
    draining: bool
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionState]
    disk: DiskState
    def __init__(self, worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., data_address: _Optional[str] = ..., term: _Optional[int] = ..., draining: _Optional[bool] = ..., partitions: _Optional[_Iterable[_Union[PartitionState, _Mapping]]] = ..., disk: _Optional[_Union[DiskState, _Mapping]] = ...) -> None: ...

class DiskState(_message.Message):
    __slots__ = ("directory", "starts", "lives", "began", "position")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    LIVES_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    directory: str
    starts: int
    lives: _containers.RepeatedScalarFieldContainer[str]
    began: int
    position: int
    def __init__(self, directory: _Optional[str] = ..., starts: _Optional[int] = ..., lives: _Optional[_Iterable[str]] = ..., began: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class LoadsRequest(_message.Message):
    __slots__ = ("interval_ms",)
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    interval_ms: int
    def __init__(self, interval_ms: _Optional[int] = ...) -> None: ...

class PartitionLoad(_message.Message):
    __slots__ = ("keyspace", "partition", "epoch", "rows", "bytes", "operations_per_second", "bytes_per_second", "median_key", "role", "sequence", "size", "key_length", "durable")
    KEYSPACE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_KEY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    KEY_LENGTH_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    keyspace: str
    partition: str
    epoch: int
    rows: int
    bytes: int
    operations_per_second: float
    bytes_per_second: float
    median_key: bytes
    role: Role
    sequence: int
    size: int
    key_length: int
    durable: bool
    def __init__(self, keyspace: _Optional[str] = ..., partition: _Optional[str] = ..., epoch: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., operations_per_second: _Optional[float] = ..., bytes_per_second: _Optional[float] = ..., median_key: _Optional[bytes] = ..., role: _Optional[_Union[Role, str]] = ..., sequence: _Optional[int] = ..., size: _Optional[int] = ..., key_length: _Optional[int] = ..., durable: _Optional[bool] = ...) -> None: ...

class Room(_message.Message):
    __slots__ = ("limit", "used", "promised")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    limit: int
    used: int
    promised: int
    def __init__(self, limit: _Optional[int] = ..., used: _Optional[int] = ..., promised: _Optional[int] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("incarnation", "loads", "gone", "draining", "position", "last", "room")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    loads: _containers.RepeatedCompositeFieldContainer[PartitionLoad]
    gone: _containers.RepeatedScalarFieldContainer[str]
    draining: bool
    position: int
    last: bool
    room: Room
    def __init__(self, incarnation: _Optional[str] = ..., loads: _Optional[_Iterable[_Union[PartitionLoad, _Mapping]]] = ..., gone: _Optional[_Iterable[str]] = ..., draining: _Optional[bool] = ..., position: _Optional[int] = ..., last: _Optional[bool] = ..., room: _Optional[_Union[Room, _Mapping]] = ...) -> None: ...

class RoutesPush(_message.Message):
    __slots__ = ("term", "version", "update")
    TERM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    term: int
    version: int
    update: _data_pb2.RoutesUpdate
    def __init__(self, term: _Optional[int] = ..., version: _Optional[int] = ..., update: _Optional[_Union[_data_pb2.RoutesUpdate, _Mapping]] = ...) -> None: ...

class RoutesAck(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

"""Encoders from values to bytes of fixed length that sort as the values do, their decoders, and bounds as text."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid as uuid_module
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt

from dstk.errors import InvalidRange, InvalidRequest, KeyLengthError, WrongType
from dstk.keys.checks import exact, integer, octets, string

__all__ = [
    "MAX_KEY_LENGTH",
    "check_integers",
    "compose",
    "decode_i64",
    "decode_text",
    "decode_timestamp",
    "decode_timestamp_ns",
    "decode_u64",
    "decode_uuid",
    "decompose",
    "format_bound",
    "hash_of",
    "hashed",
    "i64",
    "pad",
    "parse_bound",
    "shown",
    "text",
    "timestamp",
    "u64",
    "unhashed",
    "uuid",
]

MAX_KEY_LENGTH = 1024
"""The longest key a keyspace may have, in bytes."""

Integers = npt.NDArray[np.integer[Any]]
Keys = npt.NDArray[np.bytes_]

_SIGN = 1 << 63
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def pad(key: bytes, length: int) -> bytes:
    """``key`` with zero bytes up to ``length``: the lowest key of that length that starts with it.

    Raises KeyLengthError if it is longer.
    """
    key, length = octets(key), integer(length)
    if not 1 <= length <= MAX_KEY_LENGTH:
        raise KeyLengthError(f"key length {length} is not in 1..{MAX_KEY_LENGTH}: choose one that is")
    if len(key) > length:
        raise KeyLengthError(f"key {shown(key)} is {len(key)} bytes; at most {length} fit: shorten it")
    return key.ljust(length, b"\0")


@overload
def u64(value: int) -> bytes: ...
@overload
def u64(value: Integers) -> Keys: ...
def u64(value: int | Integers) -> bytes | Keys:
    """An integer in 0..2**64 - 1 as 8 bytes, big-endian; an integer array as ``S8``.

    Raises InvalidRequest out of that range.
    """
    if isinstance(value, np.ndarray):
        check_integers(value)
        if value.size and int(value.min()) < 0:
            raise InvalidRequest(f"{int(value.min())} is below 0: use dstk.keys.i64 for numbers with a sign")
        return _as_keys(value.astype(">u8"))
    number = integer(value)
    if not 0 <= number < 1 << 64:
        raise InvalidRequest(f"{number} is not in 0..2**64 - 1, so it is no u64")
    return number.to_bytes(8)


@overload
def decode_u64(key: bytes) -> int: ...
@overload
def decode_u64(key: Keys) -> npt.NDArray[np.uint64]: ...
def decode_u64(key: bytes | Keys) -> int | npt.NDArray[np.uint64]:
    """The inverse of :func:`u64`. Raises KeyLengthError for what is longer than 8 bytes."""
    if isinstance(key, np.ndarray):
        return _as_integers(key)
    return int.from_bytes(pad(key, 8))


@overload
def i64(value: int) -> bytes: ...
@overload
def i64(value: Integers) -> Keys: ...
def i64(value: int | Integers) -> bytes | Keys:
    """An integer in -2**63..2**63 - 1 as 8 bytes, big-endian with the sign bit turned; an integer array as ``S8``.

    Raises InvalidRequest out of that range.
    """
    if isinstance(value, np.ndarray):
        check_integers(value)
        if value.size and int(value.max()) >= _SIGN:
            raise InvalidRequest(f"{int(value.max())} is above 2**63 - 1: use dstk.keys.u64 for such numbers")
        return _as_keys((value.astype(np.int64).view(np.uint64) ^ np.uint64(_SIGN)).astype(">u8"))
    number = integer(value)
    if not -_SIGN <= number < _SIGN:
        raise InvalidRequest(f"{number} is not in -2**63..2**63 - 1, so it is no i64")
    return (number + _SIGN).to_bytes(8)


@overload
def decode_i64(key: bytes) -> int: ...
@overload
def decode_i64(key: Keys) -> npt.NDArray[np.int64]: ...
def decode_i64(key: bytes | Keys) -> int | npt.NDArray[np.int64]:
    """The inverse of :func:`i64`. Raises KeyLengthError for what is longer than 8 bytes."""
    if isinstance(key, np.ndarray):
        return (_as_integers(key) ^ np.uint64(_SIGN)).view(np.int64)
    return int.from_bytes(pad(key, 8)) - _SIGN


def uuid(value: uuid_module.UUID | str) -> bytes:
    """A UUID as its 16 bytes: sorts as its text does, and by time for version 7."""
    if isinstance(value, uuid_module.UUID):
        return value.bytes
    try:
        return uuid_module.UUID(string(value)).bytes
    except ValueError:
        raise InvalidRequest(f"{value!r} is not a UUID: 32 hex digits, hyphens allowed") from None


def decode_uuid(key: bytes) -> uuid_module.UUID:
    """The inverse of :func:`uuid`."""
    return uuid_module.UUID(bytes=pad(key, 16))


@overload
def timestamp(value: dt.datetime | int) -> bytes: ...
@overload
def timestamp(value: npt.NDArray[np.datetime64] | Integers) -> Keys: ...
def timestamp(value: dt.datetime | int | npt.NDArray[np.datetime64] | Integers) -> bytes | Keys:
    """A moment as 8 bytes: nanoseconds since 1970 (UTC) as :func:`i64`, so from 1677 to 2262.

    Takes a datetime with a time zone, nanoseconds, or an array of datetime64 (UTC, as numpy has it) or nanoseconds.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "M":
            if np.isnat(value).any():
                raise InvalidRequest("the array holds NaT, which is no moment: leave it out")
            nanoseconds = value.astype("datetime64[ns]")
            if (nanoseconds.astype(value.dtype) != value).any():
                raise InvalidRequest("the array holds a moment out of 1677..2262, which nanoseconds cannot count to")
            return i64(nanoseconds.view(np.int64))
        return i64(cast(Integers, value))
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            raise InvalidRequest(f"{value.isoformat()} has no time zone: say which, such as tzinfo=datetime.UTC")
        return i64((value - _EPOCH) // dt.timedelta(microseconds=1) * 1000)
    return i64(value)


def decode_timestamp(key: bytes) -> dt.datetime:
    """The inverse of :func:`timestamp` as a datetime in UTC, to the microsecond below."""
    return _EPOCH + dt.timedelta(microseconds=decode_timestamp_ns(key) // 1000)


def decode_timestamp_ns(key: bytes) -> int:
    """The inverse of :func:`timestamp` in nanoseconds since 1970."""
    return decode_i64(key)


def text(value: str, length: int) -> bytes:
    """Text as UTF-8, padded with zero bytes to ``length``: sorts by code point.

    Raises KeyLengthError if its UTF-8 is longer, InvalidRequest if it holds NUL, which padding could not be told from.
    """
    value, length = string(value), integer(length)
    if "\0" in value:
        raise InvalidRequest(f"{value!r} holds a NUL character: text keys end with those, so it may have none")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{value!r} holds half of a surrogate pair, which UTF-8 has no bytes for") from None
    if len(encoded) > length:
        raise KeyLengthError(f"text {value!r} is {len(encoded)} bytes in UTF-8; at most {length} fit: shorten it")
    return pad(encoded, length)


def decode_text(key: bytes) -> str:
    """The inverse of :func:`text`."""
    try:
        return octets(key).rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"key {shown(key)} is not UTF-8, so it was not made by dstk.keys.text") from None


def hashed(key: bytes, prefix_bytes: int = 2) -> bytes:
    """``key`` behind ``prefix_bytes`` (1..64) bytes of its hash (BLAKE2b): spreads keys that would sit in one place.

    Rows can then be found by key, but a scan no longer follows the order of keys.
    """
    prefix_bytes = integer(prefix_bytes)
    if not 1 <= prefix_bytes <= 64:
        raise InvalidRequest(f"prefix_bytes={prefix_bytes} is not in 1..64; 2 spread over 65,536 places")
    return hash_of(key, prefix_bytes) + key


def hash_of(key: bytes, length: int) -> bytes:
    """``length`` bytes of hash (BLAKE2b)."""
    return hashlib.blake2b(exact(key), digest_size=length).digest()


def unhashed(key: bytes, prefix_bytes: int = 2) -> bytes:
    """The inverse of :func:`hashed`."""
    if integer(prefix_bytes) < 0:
        raise InvalidRequest(f"prefix_bytes={prefix_bytes} is below 0: give as many as hashed was given")
    return octets(key)[prefix_bytes:]


@overload
def compose(*parts: bytes) -> bytes: ...
@overload
def compose(*parts: bytes | Keys) -> Any: ...
def compose(*parts: bytes | Keys) -> bytes | Keys:
    """Parts of fixed length side by side: sorts by the first, then the second and so on.

    With arrays of keys among the parts, all of one length, an array of keys; ``bytes`` then stand in each of them.
    """
    checked = [_as_bytes(part) if isinstance(part, np.ndarray) else exact(part) for part in parts]
    lengths = {len(part) for part in checked if isinstance(part, np.ndarray)}
    if not lengths:
        return b"".join(part for part in checked if isinstance(part, bytes))
    if len(lengths) > 1:
        raise InvalidRequest(f"the arrays have {sorted(lengths)} keys: they have to be of one length")
    count = lengths.pop()
    columns = [
        part if isinstance(part, np.ndarray) else np.tile(np.frombuffer(part, np.uint8), (count, 1)) for part in checked
    ]
    joined = np.ascontiguousarray(np.hstack(columns))
    return joined.view(f"S{joined.shape[1]}").reshape(count)


def decompose(key: bytes, *lengths: int) -> tuple[bytes, ...]:
    """The inverse of :func:`compose`: ``key`` cut into parts of these lengths, which have to be all of it."""
    if min(map(integer, lengths), default=0) < 0:
        raise InvalidRequest(f"parts of {lengths} bytes: a part has 0 bytes or more")
    if sum(lengths) != len(octets(key)):
        raise KeyLengthError(f"key {shown(key)} is {len(key)} bytes; parts of {lengths} bytes make {sum(lengths)}")
    ends = [sum(lengths[: count + 1]) for count in range(len(lengths))]
    return tuple(key[end - length : end] for end, length in zip(ends, lengths, strict=True))


def parse_bound(bound: str, key_length: int) -> bytes:
    """A bound as a resource has it, as a key of ``key_length`` bytes: text, or hex as ``0x…``; b"" for "", no bound.

    Raises KeyLengthError if it is longer, InvalidRange if the hex is none.
    """
    if not string(bound):
        return b""
    if not bound.startswith("0x"):
        try:
            return pad(bound.encode(), key_length)
        except UnicodeEncodeError:
            raise InvalidRange(f"bound {bound!r} holds half of a surrogate pair; give it in hex, as 0x…") from None
    try:
        if len(bound) == 2 or not bound.isalnum():
            raise ValueError
        return pad(bytes.fromhex(bound[2:]), key_length)
    except KeyLengthError:
        raise
    except ValueError:
        raise InvalidRange(f"bound {bound!r} is not hex: after 0x come pairs of the digits 0-9a-f") from None


def format_bound(bound: bytes) -> str:
    """The inverse of :func:`parse_bound`, in the shortest form: zero padding is left out, hex where text cannot be.

    Text is printable ASCII that neither begins with ``0x`` nor begins or ends with a space.
    """
    if not octets(bound):
        return ""
    used = bound.rstrip(b"\0")
    printable = all(0x20 <= byte < 0x7F for byte in used)
    if used and printable and used.strip() == used and not used.startswith(b"0x"):
        return used.decode("ascii")
    return "0x" + (used or b"\0").hex()


def shown(key: bytes) -> str:
    """A key as messages show it."""
    return format_bound(key) if len(key) <= 64 else format_bound(key[:64]) + "…"


def check_integers(values: npt.NDArray[Any]) -> None:
    """Raises WrongType for an array that is not of integers, in one dimension."""
    if values.dtype.kind not in "iu" or values.ndim != 1:
        found = f"dtype {values.dtype}, {values.ndim} dimensions"
        raise WrongType(f"an array of integers with one dimension is needed, not {found}")


def _as_keys(values: npt.NDArray[Any]) -> Keys:
    return np.ascontiguousarray(values).view("S8")


def _as_bytes(keys: Keys) -> npt.NDArray[np.uint8]:
    if keys.dtype.kind != "S" or keys.ndim != 1:
        raise WrongType(f"an array of keys has dtype S{{n}} and one dimension, not {keys.dtype} and {keys.ndim}")
    return np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), keys.dtype.itemsize)


def _as_integers(keys: Keys) -> npt.NDArray[np.uint64]:
    width = _as_bytes(keys).shape[1]
    if width > 8:
        raise KeyLengthError(f"keys are {width} bytes wide; a number has 8")
    return np.ascontiguousarray(keys.astype("S8")).view(">u8").astype(np.uint64)

"""The parts of a composite key: each turns values of one kind into so many bytes that sort as they do, and back."""

from __future__ import annotations

import datetime as dt
import uuid as uuid_module
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from dstk.errors import InvalidRequest, KeyLengthError, WrongType
from dstk.keys import encoders
from dstk.keys.checks import integer
from dstk.keys.encoders import MAX_KEY_LENGTH

__all__ = ["Part", "PartLike", "digest", "hashed", "part_of", "raw", "text", "uint"]

T = TypeVar("T")
Rows = npt.NDArray[np.uint8]
"""Parts of n keys: shape (n, length)."""


class Part(ABC, Generic[T]):
    """How values of one kind become ``length`` bytes of a key.

    ``uint(4)``, ``text(8)``, ``raw(12)``, ``digest(16)`` and ``hashed(…)`` make one; ``u64``, ``i64``, ``uuid`` and
    ``timestamp`` stand for one.
    """

    length: int
    """Bytes of it."""

    @abstractmethod
    def encode(self, value: T) -> bytes:
        """``length`` bytes. Raises WrongType, InvalidRequest, KeyLengthError for a value that it cannot take."""

    @abstractmethod
    def decode(self, key: bytes) -> T:
        """The inverse of :meth:`encode`. Raises InvalidRequest for bytes that no value becomes."""

    def encode_many(self, values: Any) -> Rows:
        """What :meth:`encode` gives for n values of an array or a sequence, as uint8 of shape (n, length)."""
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        return _rows(b"".join(map(self.encode, listed)), self.length)

    def decode_many(self, rows: Rows) -> npt.NDArray[Any]:
        """What :meth:`decode` gives for uint8 of shape (n, length), as an array of n values."""
        found = np.empty(len(rows), object)
        found[:] = [self.decode(row.tobytes()) for row in rows]
        return found


@dataclass(frozen=True)
class _Uint(Part[int]):
    length: int

    def encode(self, value: int) -> bytes:
        number = integer(value)
        if not 0 <= number < 1 << 8 * self.length:
            raise InvalidRequest(f"{number} is not in 0..2**{8 * self.length} - 1, which {self!r} holds")
        return number.to_bytes(self.length)

    def decode(self, key: bytes) -> int:
        return int.from_bytes(key)

    def encode_many(self, values: Any) -> Rows:
        if not isinstance(values, np.ndarray):
            return super().encode_many(values)
        encoders.check_integers(values)
        if values.size and int(values.max()) >> 8 * self.length:
            self.encode(int(values.max()))
        if values.size and int(values.min()) < 0:
            self.encode(int(values.min()))
        return values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - self.length :]

    def decode_many(self, rows: Rows) -> npt.NDArray[np.uint64]:
        return _wide(rows).astype(np.uint64)

    def __repr__(self) -> str:
        return "u64" if self.length == 8 else f"uint({self.length})"


@dataclass(frozen=True)
class _I64(Part[int]):
    length: int = 8

    def encode(self, value: int) -> bytes:
        return encoders.i64(integer(value))

    def decode(self, key: bytes) -> int:
        return encoders.decode_i64(key)

    def encode_many(self, values: Any) -> Rows:
        return _of_keys(encoders.i64(values)) if isinstance(values, np.ndarray) else super().encode_many(values)

    def decode_many(self, rows: Rows) -> npt.NDArray[np.int64]:
        return (_wide(rows).astype(np.uint64) ^ np.uint64(1 << 63)).view(np.int64)

    def __repr__(self) -> str:
        return "i64"


@dataclass(frozen=True)
class _Timestamp(Part[dt.datetime]):
    length: int = 8

    def encode(self, value: dt.datetime) -> bytes:
        if not isinstance(value, dt.datetime):
            raise WrongType(f"{value!r} is no datetime; for nanoseconds as a number take i64")
        return encoders.timestamp(value)

    def decode(self, key: bytes) -> dt.datetime:
        return encoders.decode_timestamp(key)

    def encode_many(self, values: Any) -> Rows:
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            return _of_keys(encoders.timestamp(values))
        return super().encode_many(values)

    def decode_many(self, rows: Rows) -> npt.NDArray[np.datetime64]:
        return _I64().decode_many(rows).view("datetime64[ns]")

    def __repr__(self) -> str:
        return "timestamp"


@dataclass(frozen=True)
class _Uuid(Part[uuid_module.UUID]):
    length: int = 16

    def encode(self, value: uuid_module.UUID | str) -> bytes:
        if not isinstance(value, uuid_module.UUID | str):
            raise WrongType(f"{value!r} is no UUID: give a uuid.UUID or its text")
        return encoders.uuid(value)

    def decode(self, key: bytes) -> uuid_module.UUID:
        return encoders.decode_uuid(key)

    def __repr__(self) -> str:
        return "uuid"


@dataclass(frozen=True)
class _Text(Part[str]):
    length: int

    def encode(self, value: str) -> bytes:
        if not isinstance(value, str):
            raise WrongType(f"{value!r} is no text")
        return encoders.text(value, self.length)

    def decode(self, key: bytes) -> str:
        value = encoders.decode_text(key)
        if "\0" in value:
            raise InvalidRequest(f"{key!r} holds a zero byte before its end, so it was not made by {self!r}")
        return value

    def __repr__(self) -> str:
        return f"text({self.length})"


@dataclass(frozen=True)
class _Raw(Part[bytes]):
    length: int

    def encode(self, value: bytes) -> bytes:
        if not isinstance(value, bytes):
            raise WrongType(f"{value!r} is not bytes")
        if len(value) != self.length:
            raise KeyLengthError(f"{value!r} is {len(value)} bytes; {self!r} takes exactly {self.length}")
        return value

    def decode(self, key: bytes) -> bytes:
        return key

    def encode_many(self, values: Any) -> Rows:
        # Lists of numpy's S{n} lose zero bytes at their end; its memory has them.
        if isinstance(values, np.ndarray) and values.dtype.kind in "SV" and values.ndim == 1:
            if values.dtype.itemsize != self.length:
                raise KeyLengthError(f"the array is {values.dtype}; {self!r} takes S{self.length} or V{self.length}")
            return _of_keys(values)
        return super().encode_many(values)

    def decode_many(self, rows: Rows) -> npt.NDArray[np.void]:
        return np.ascontiguousarray(rows).view(f"V{self.length}").reshape(-1)

    def __repr__(self) -> str:
        return f"raw({self.length})"


@dataclass(frozen=True)
class _Digest(Part[Any]):
    length: int

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, str | bytes):
            raise WrongType(f"{value!r} is neither text nor bytes; a number is short enough for hashed(u64)")
        return encoders.hash_of(value.encode() if isinstance(value, str) else value, self.length)

    def decode(self, key: bytes) -> bytes:
        return key

    def decode_many(self, rows: Rows) -> npt.NDArray[np.void]:
        return _Raw(self.length).decode_many(rows)

    def __repr__(self) -> str:
        return f"digest({self.length})"


@dataclass(frozen=True)
class _Hashed(Part[T]):
    part: Part[T]
    prefix_bytes: int

    @property
    def length(self) -> int:  # type: ignore[override]
        return self.prefix_bytes + self.part.length

    def encode(self, value: T) -> bytes:
        return encoders.hashed(self.part.encode(value), self.prefix_bytes)

    def decode(self, key: bytes) -> T:
        inner = encoders.unhashed(key, self.prefix_bytes)
        if encoders.hashed(inner, self.prefix_bytes) != key:
            raise InvalidRequest(
                f"{key!r} does not begin with the hash of what follows, so it was not made by {self!r}"
            )
        return self.part.decode(inner)

    def encode_many(self, values: Any) -> Rows:
        inner = self.part.encode_many(values)
        flat, length = inner.tobytes(), self.part.length
        hashes = b"".join(
            encoders.hash_of(flat[at : at + length], self.prefix_bytes) for at in range(0, len(flat), length)
        )
        return np.hstack([_rows(hashes, self.prefix_bytes), inner])

    def decode_many(self, rows: Rows) -> npt.NDArray[Any]:
        inner = np.ascontiguousarray(rows[:, self.prefix_bytes :])
        again = self.encode_many(values := self.part.decode_many(inner))
        wrong = np.flatnonzero((again != rows).any(axis=1))
        if wrong.size:
            self.decode(rows[wrong[0]].tobytes())
        return values

    def __repr__(self) -> str:
        return f"hashed({self.part!r}{'' if self.prefix_bytes == 2 else f', {self.prefix_bytes}'})"


PartLike = Part[Any] | Callable[..., Any]
"""A part, or an encoder that stands for the part of its kind: ``u64``, ``i64``, ``uuid`` or ``timestamp``."""

_ENCODERS: dict[Any, Part[Any]] = {
    encoders.u64: _Uint(8),
    encoders.i64: _I64(),
    encoders.uuid: _Uuid(),
    encoders.timestamp: _Timestamp(),
}


def part_of(part: PartLike) -> Part[Any]:
    """The part that is given or stood for. Raises WrongType for anything else."""
    if isinstance(part, Part):
        return part
    found = _ENCODERS.get(part) if callable(part) else None
    if found is None:
        raise WrongType(
            f"{part!r} is no part of a key: take u64, i64, uuid, timestamp, uint(bytes), text(bytes), raw(bytes), "
            "digest(bytes) or hashed(…)"
        )
    return found


def uint(length: int) -> Part[int]:
    """The part of a key that holds integers in 0..256**length - 1, in ``length`` bytes (1..8), big-endian."""
    return _Uint(_bytes_of("uint", length, 1, 8))


def raw(length: int) -> Part[bytes]:
    """The part of a key that holds bytes as they are, exactly ``length`` (1..1024) of them."""
    return _Raw(_bytes_of("raw", length, 1, MAX_KEY_LENGTH))


def digest(length: int = 16) -> Part[Any]:
    """The part of a key that holds only a hash (BLAKE2b) of text or bytes, of ``length`` (8..64) bytes.

    It spreads, and takes texts of any length. The value cannot be read from the key: decoding gives the hash.

    Two values with one hash would share their rows. That is why 8 bytes are the least: then two of a million values
    have one hash with probability 3e-8, two of a thousand million with 3e-2. With 16 bytes it does not happen.
    """
    return _Digest(_bytes_of("digest", length, 8, 64))


@overload
def text(value: str, length: int) -> bytes: ...
@overload
def text(value: int) -> Part[str]: ...
def text(value: str | int, length: int | None = None) -> bytes | Part[str]:
    """Text as UTF-8, padded with zero bytes to ``length`` bytes: sorts by code point.

    ``text("cart", 8)`` is the key of a value; ``text(8)`` is the part of a :class:`Layout` that holds such values.
    Raises KeyLengthError if the UTF-8 is longer, InvalidRequest for text that holds NUL, which padding could not be
    told from, or that UTF-8 cannot hold.
    """
    if isinstance(value, str):
        if length is None:
            raise WrongType(f"text({value!r}) lacks its length: text({value!r}, 16) pads it to 16 bytes")
        return encoders.text(value, length)
    if length is not None:
        raise WrongType(f"{value!r} is no text")
    return _Text(_bytes_of("text", value, 1, MAX_KEY_LENGTH))


@overload
def hashed(key: bytes, prefix_bytes: int = 2) -> bytes: ...
@overload
def hashed(key: Part[T], prefix_bytes: int = 2) -> Part[T]: ...
@overload
def hashed(key: Callable[..., Any], prefix_bytes: int = 2) -> Part[Any]: ...
def hashed(key: bytes | PartLike, prefix_bytes: int = 2) -> bytes | Part[Any]:
    """Behind ``prefix_bytes`` (1..64) bytes of its hash (BLAKE2b): spreads what would sit in one place.

    ``hashed(key)`` takes the bytes of a key; ``hashed(u64)`` is the part of a :class:`Layout` for a number behind
    its hash. The value stays readable: decoding gives it back. Keys that begin so do not sort as their values.
    Two bytes spread over 65,536 places. Raises InvalidRequest for other ``prefix_bytes``.
    """
    if isinstance(key, bytes):
        return encoders.hashed(key, prefix_bytes)
    return _Hashed(part_of(key), _bytes_of("hashed: prefix_bytes", prefix_bytes, 1, 64))


def _bytes_of(what: str, length: int, least: int, most: int) -> int:
    number = integer(length)
    if not least <= number <= most:
        raise InvalidRequest(f"{what} of {number} bytes: choose {least} to {most}")
    return number


def _rows(flat: bytes, length: int) -> Rows:
    return np.frombuffer(flat, np.uint8).reshape(-1, length)


def _of_keys(keys: npt.NDArray[Any]) -> Rows:
    return np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), keys.dtype.itemsize)


def _wide(rows: Rows) -> npt.NDArray[Any]:
    """Numbers of up to eight bytes, big-endian, as eight."""
    padded = np.zeros((len(rows), 8), np.uint8)
    padded[:, 8 - rows.shape[1] :] = rows
    return padded.view(">u8").reshape(-1)


def is_column(values: object) -> bool:
    """Whether these are many values and not one."""
    return isinstance(values, np.ndarray) or (isinstance(values, Sequence) and not isinstance(values, str | bytes))

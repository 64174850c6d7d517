"""Composite keys: parts with names, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from dstk.errors import DstkError, InvalidRequest, KeyLengthError, WrongType
from dstk.keys.encoders import MAX_KEY_LENGTH, pad, shown
from dstk.keys.parts import Part, PartLike, is_column, part_of

__all__ = ["Layout"]


class Layout:
    """What a key is made of: parts of fixed length, each with a name, in this order. Immutable.

    Keys sort by the first part, then by the second and so on. So rows that agree in the first parts lie together, and
    one scan reads them.

    >>> carts = Layout(tenant=hashed(u64), kind=text(6), n=u64)
    >>> carts.length
    24
    >>> key = carts.encode(tenant=7, kind="cart", n=3)
    >>> carts.decode(key)
    {'tenant': 7, 'kind': 'cart', 'n': 3}
    >>> start, end = carts.prefix(tenant=7, kind="cart")
    >>> start <= key < end
    True

    ``key_length`` is the keyspace's, where that is more than the parts have: zero bytes then end each key. Raises
    WrongType for what is no part, KeyLengthError when the parts are longer than that or than 1,024 bytes.
    """

    def __init__(self, key_length: int | None = None, /, **parts: PartLike) -> None:
        if not parts:
            raise InvalidRequest(
                "a layout without parts: name at least one, such as user=dstk.keys.hashed(dstk.keys.u64)"
            )
        found: dict[str, Part[Any]] = {}
        for name, part in parts.items():
            with _named(name):
                found[name] = part_of(part)
        self._used = sum(part.length for part in found.values())
        self.parts: Mapping[str, Part[Any]] = MappingProxyType(found)
        """The parts by name, in their order."""
        self.length = self._used if key_length is None else key_length
        """Bytes of each key."""
        if not self._used <= self.length <= MAX_KEY_LENGTH:
            sizes = " + ".join(f"{name} {part.length}" for name, part in found.items())
            room = MAX_KEY_LENGTH if key_length is None else key_length
            raise KeyLengthError(f"the parts have {self._used} bytes ({sizes}); keys of {room} have no room for them")

    def encode(self, **values: Any) -> bytes:
        """The key of these values, one for each part.

        Raises InvalidRequest when one is missing or is no part's. Errors of a part name it and the value:
        ``n: -1 is not in 0..2**64 - 1``.
        """
        self._all(values)
        return pad(self._joined(values), self.length)

    def decode(self, key: bytes) -> dict[str, Any]:
        """The values of a key by part: the inverse of :meth:`encode`.

        Raises KeyLengthError for another length, InvalidRequest for a key that no values have.
        """
        if not isinstance(key, bytes):
            raise WrongType(f"{key!r} is no key: a key is bytes")
        if len(key) != self.length:
            raise KeyLengthError(f"key {shown(key)} is {len(key)} bytes; keys of this layout have {self.length}")
        if key[self._used :].strip(b"\0"):
            raise InvalidRequest(f"key {shown(key)} goes on after its parts, so it is not of this layout")
        values = {}
        for name, part, start in self._places():
            try:
                values[name] = part.decode(key[start : start + part.length])
            except DstkError as error:
                raise _of_part(name, error) from None
        return values

    def prefix(self, **values: Any) -> tuple[bytes, bytes | None]:
        """(start, end) of the keys with these values in their first parts, for ``client.scan(*layout.prefix(user=7))``.

        ``start <= key < end`` holds for those keys and for no other of the layout; end is None where no key is higher.
        Without values, all keys. Raises InvalidRequest when a part before one that is given is missing.
        """
        missing = next((name for name in self.parts if name not in values), None)
        if missing is not None:
            self._known(values)
            names = list(self.parts)
            later = [name for name in names[names.index(missing) :] if name in values]
            if later:
                raise InvalidRequest(
                    f"a prefix with {later[0]} needs {missing} too: parts sort in the order {self._order()}"
                )
        start = self._joined(values)
        kept = start.rstrip(b"\xff")
        end = kept[:-1] + bytes([kept[-1] + 1]) if kept else None
        return pad(start, self.length), None if end is None else pad(end, self.length)

    def encode_many(self, **columns: Any) -> npt.NDArray[np.uint8]:
        """The keys of n rows as uint8 of shape (n, length), which ``get_many`` and ``RangeIndex.find_many`` take.

        For each part an array or a list of n values, or one value for all rows: integers of any dtype, datetime64, text
        as numpy's ``U`` or ``str``. Raises InvalidRequest when columns differ in length or all are single values, else
        what :meth:`encode` raises.
        """
        self._all(columns)
        lengths = {name: len(column) for name, column in columns.items() if is_column(column)}
        if len(set(lengths.values())) != 1:
            said = ", ".join(f"{name} {count}" for name, count in lengths.items()) or "none has more than one value"
            raise InvalidRequest(f"the columns are of one length, or one value for all rows; here: {said}")
        keys = np.zeros((next(iter(lengths.values())), self.length), np.uint8)
        for name, part, start in self._places():
            with _named(name):
                column = columns[name]
                keys[:, start : start + part.length] = (
                    part.encode_many(column) if is_column(column) else np.frombuffer(part.encode(column), np.uint8)
                )
        return keys

    def decode_many(self, keys: Any) -> dict[str, npt.NDArray[Any]]:
        """The values of n keys by part, an array of n each: uint64, int64, datetime64[ns], ``V{n}``, else objects.

        `keys` are uint8 of shape (n, length), ``S{length}``, or a list of bytes. Raises what :meth:`decode` raises.
        """
        rows = self._rows(keys)
        if rows[:, self._used :].any():
            raise InvalidRequest("some keys go on after their parts, so they are not of this layout")
        values = {}
        for name, part, start in self._places():
            with _named(name):
                values[name] = part.decode_many(rows[:, start : start + part.length])
        return values

    def __repr__(self) -> str:
        padding = [] if self.length == self._used else [str(self.length)]
        return f"Layout({', '.join([*padding, *(f'{name}={part!r}' for name, part in self.parts.items())])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def _places(self) -> Iterator[tuple[str, Part[Any], int]]:
        start = 0
        for name, part in self.parts.items():
            yield name, part, start
            start += part.length

    def _joined(self, values: Mapping[str, Any]) -> bytes:
        joined = b""
        for name, part in self.parts.items():
            if name in values:
                try:  # not by _named, which would double the time that this takes
                    joined += part.encode(values[name])
                except DstkError as error:
                    raise _of_part(name, error) from None
        return joined

    def _rows(self, keys: Any) -> npt.NDArray[np.uint8]:
        if not isinstance(keys, np.ndarray):
            wrong = next((key for key in keys if len(key) != self.length), None)
            if wrong is not None:
                raise KeyLengthError(
                    f"key {shown(wrong)} is {len(wrong)} bytes; keys of this layout have {self.length}"
                )
            return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, self.length)
        if keys.dtype.kind in "SV" and keys.ndim == 1 and keys.dtype.itemsize == self.length:
            return np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), self.length)
        if keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == self.length:
            return keys
        raise KeyLengthError(
            f"keys are {keys.dtype} of shape {keys.shape}; this layout takes uint8 of shape (n, {self.length}) or "
            f"S{self.length}"
        )

    def _all(self, values: Mapping[str, Any]) -> None:
        if values.keys() != self.parts.keys():
            self._known(values)
            missing = [name for name in self.parts if name not in values]
            raise InvalidRequest(f"{', '.join(missing)} missing: a key of this layout has {self._order()}")

    def _known(self, values: Mapping[str, Any]) -> None:
        unknown = [name for name in values if name not in self.parts]
        if unknown:
            raise InvalidRequest(f"{', '.join(unknown)}: no such part; a key of this layout has {self._order()}")

    def _order(self) -> str:
        return ", ".join(self.parts)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors inside it name the part."""
    try:
        yield
    except DstkError as error:
        raise _of_part(name, error) from None


def _of_part(name: str, error: DstkError) -> DstkError:
    return type(error)(f"{name}: {error}")

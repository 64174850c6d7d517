"""Arrow's C data interface from Python alone, so that its consumer is tested without an Arrow library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

Release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Schema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", ctypes.c_char_p),
        ("flags", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


class Array(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.c_void_p),
        ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


released: list[str] = []
"""What has been given back, in order."""

_kept: list[Any] = []


def _release_of(structure: type[ctypes.Structure], name: str) -> Callable[[int], None]:
    @Release
    def release(address: int) -> None:
        structure.from_address(address).release = None
        released.append(name)

    return release


_RELEASE = {Schema: _release_of(Schema, "schema"), Array: _release_of(Array, "array")}


def arrow_capsules(data: bytes, count: int, offset: int, nulls: int, format_: str) -> tuple[object, object]:
    """(schema, array) of one fixed-size binary array, of which the first `offset` values are left out."""
    content = ctypes.create_string_buffer(data)
    mask = ctypes.create_string_buffer(b"\xfe" + b"\xff" * (count // 8)) if nulls else None
    buffers = (ctypes.c_void_p * 2)(ctypes.addressof(mask) if mask else None, ctypes.addressof(content))
    schema = Schema(format=format_.encode(), name=b"", release=ctypes.cast(_RELEASE[Schema], ctypes.c_void_p))
    array = Array(
        length=count - offset, null_count=nulls, offset=offset, n_buffers=2,
        buffers=ctypes.addressof(buffers), release=ctypes.cast(_RELEASE[Array], ctypes.c_void_p),
    )  # fmt: skip
    _kept.append((content, mask, buffers, schema, array))
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return (
        capsule(ctypes.addressof(schema), b"arrow_schema", None),
        capsule(ctypes.addressof(array), b"arrow_array", None),
    )

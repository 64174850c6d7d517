"""What an encoder takes: each type of argument is looked at in one place."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from dstk.errors import WrongType


def integer(value: Any) -> int:
    """An integer: ``int`` and what stands for one, but not ``bool``. Raises WrongType."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise WrongType(f"{value!r} is no integer") from None


def octets(value: Any) -> bytes:
    """Bytes that may have lost zero bytes at their end, where those are put back. Raises WrongType."""
    if not isinstance(value, bytes):
        raise WrongType(f"{value!r} is not bytes")
    return value


def exact(value: Any) -> bytes:
    """Bytes as they are. Raises WrongType, also for an item of a numpy array, which has lost zero bytes at its end."""
    if isinstance(value, np.bytes_):
        raise WrongType(f"{value!r} is an item of a numpy array, which has lost zero bytes at its end: pass the array")
    return octets(value)


def string(value: Any) -> str:
    """Text. Raises WrongType."""
    if not isinstance(value, str):
        raise WrongType(f"{value!r} is no text")
    return value

"""What a verb refuses before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dstk import errors
from dstk.client import verbs

KEY = b"k" * 16

REFUSED: dict[str, tuple[Callable[[], verbs.Call[Any]], type[errors.DstkError], str]] = {
    "a scan without a limit": (lambda: verbs.scan(None, None, None, False, None), errors.LimitError, "needs a limit"),
    "a scan of nothing": (lambda: verbs.scan(None, None, 0, False, None), errors.LimitError, "limit is 0"),
    "a limit that no row count reaches": (
        lambda: verbs.scan(None, None, 10**30, False, None), errors.LimitError, "1 or more",
    ),
    "a range upside down": (lambda: verbs.scan(b"z", b"a", 1, False, None), errors.InvalidRange, "not below"),
    "a version below none": (lambda: verbs.put(KEY, b"", -1, None), errors.InvalidRequest, "if_version is -1"),
    "a version beyond any": (lambda: verbs.delete(KEY, 2**64, None), errors.InvalidRequest, "if_version is 1844"),
    "a version that is none": (lambda: verbs.put(KEY, b"", "1", None), errors.WrongType, "not str"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(call: Callable[[], verbs.Call[Any]], error: type[errors.DstkError], says: str) -> None:
    with pytest.raises(error, match=says):
        call()

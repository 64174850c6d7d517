"""Ages and JSONPath: what a table's cells say."""

from __future__ import annotations

from typing import Any

import pytest

from dstk.local.apiserver.jsonpath import compile_path
from dstk.local.apiserver.tables import age, short_duration

OBJECT: dict[str, Any] = {
    "a": {"b": [1, 2, {"c": 3}], "d.e": 4},
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b[0]", [1]),
        (".a.b[-1].c", [3]),
        (".a.b[*]", [1, 2, {"c": 3}]),
        (".a.d\\.e", [4]),
        (".a['d.e']", [4]),
        ("{.a.b[1]}", [2]),
        ('.conditions[?(@.type=="Ready")].status', ["True"]),
        ("$.x", []),
        (".conditions[?(@.type!='Ready')].status", ["False"]),
        (".a.b[9]", []),
        (".missing.deep", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    assert compile_path(path.lstrip("$"))(OBJECT) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(]", "..a"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        compile_path(path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (601, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"),
        (3 * 86400 + 3600, "3d1h"),
        (30 * 86400, "30d"),
        (3 * 365 * 86400 + 86400, "3y1d"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert short_duration(seconds) == text


def test_ages() -> None:
    assert age("1970-01-01T00:01:00Z", 95) == "35s"
    assert age(None, 95) == "<unknown>"
    assert age("soon", 95) == "<invalid>"

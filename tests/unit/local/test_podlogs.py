"""Which lines of a log are asked for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from dstk.local.apiserver.annotations import LOG_START, PREVIOUS_LOG_START
from dstk.local.apiserver.podlogs import LogRequest, log_of, log_request, pieces, selected
from dstk.local.apiserver.status import Refusal

LINES = b"""\
started
2026-12-01 10:00:00,100 INFO    a: one
2026-12-01 10:00:05,200 INFO    a: two
Traceback (most recent call last):
2026-12-01 10:00:10,300 INFO    a: three
"""


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-12-01T{text}").timestamp()


@pytest.mark.parametrize(
    ("since", "tail", "first", "count"),
    [
        (None, None, b"started", 5),
        (None, 2, b"Traceback", 2),
        (None, 0, b"", 0),
        (None, 9, b"started", 5),
        (at("10:00:05"), None, b"2026-12-01 10:00:05,200", 3),
        (at("10:00:05.900"), None, b"2026-12-01 10:00:05,200", 3),
        (at("10:00:06"), None, b"2026-12-01 10:00:10,300", 1),
        (at("10:00:00"), 1, b"2026-12-01 10:00:10,300", 1),
        (at("11:00:00"), None, b"", 0),
    ],
)
def test_lines_since_then_and_the_last(since: float | None, tail: int | None, first: bytes, count: int) -> None:
    found = selected(LINES, since, tail)
    assert len(found.splitlines()) == count
    assert found.startswith(first)


def pod(**annotations: str) -> dict[str, object]:
    return {"metadata": {"name": "w", "annotations": annotations}, "spec": {"containers": [{"name": "worker"}]}}


async def read(directory: Path, *, previous: bool = False, limit: int | None = None, **annotations: str) -> bytes:
    log = log_of(pod(**annotations), directory, "", previous=previous)
    return b"".join([piece async for piece in pieces(log, LogRequest(limit_bytes=limit), lambda: True)])


async def test_a_life_has_its_own_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "w.log").write_bytes(b"first\nsecond\nthird\n")
    lives = {LOG_START: "13", PREVIOUS_LOG_START: "6"}
    assert await read(tmp_path, **lives) == b"third\n"
    assert await read(tmp_path, previous=True, **lives) == b"second\n"
    assert await read(tmp_path, limit=2, **lives) == b"th"


@pytest.mark.parametrize(
    ("annotations", "container", "previous", "said"),
    [
        ({}, "", False, 'pod "w" has no log'),
        ({LOG_START: "x"}, "", False, 'pod "w" has no log'),
        ({LOG_START: "6"}, "", True, 'previous terminated container "worker" in pod "w" not found'),
        ({LOG_START: "6", PREVIOUS_LOG_START: "7"}, "", True, "previous terminated container"),
        ({LOG_START: "6"}, "nope", False, "container nope is not valid for pod w"),
    ],
)
def test_what_is_not_there_is_said(
    annotations: dict[str, str], container: str, previous: bool, said: str, tmp_path: Path
) -> None:
    (tmp_path / "w.log").write_bytes(b"first\nsecond\n")
    with pytest.raises(Refusal, match=said):
        log_of(pod(**annotations), tmp_path, container, previous=previous)


def test_a_name_that_leads_elsewhere_has_no_log(tmp_path: Path) -> None:
    (tmp_path / "secret.log").write_text("secret")
    (tmp_path / "logs").mkdir()
    elsewhere = pod(**{LOG_START: "0"})
    elsewhere["metadata"]["name"] = "../secret"  # type: ignore[index]
    with pytest.raises(Refusal, match="has no log"):
        log_of(elsewhere, tmp_path / "logs", "", previous=False)


def test_what_the_query_asks_for() -> None:
    query = {"follow": "true", "previous": "1", "tailLines": "5", "sinceSeconds": "60", "limitBytes": "100"}
    assert log_request(query, 1000.0) == LogRequest(True, True, 5, 940.0, 100)
    assert log_request({"sinceTime": "1970-01-01T00:10:00Z"}, 1000.0) == LogRequest(since=600.0)


@pytest.mark.parametrize(
    "query", [{"tailLines": "-1"}, {"sinceSeconds": "0"}, {"sinceTime": "now"}, {"limitBytes": "x"}]
)
def test_what_it_cannot_ask_for_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        log_request(query, 0.0)
    assert caught.value.code == 400

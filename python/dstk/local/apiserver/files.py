"""Files that other processes read while they are written."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old content or the new, never a part."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.replace(fresh, path)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as JSON, in one step."""
    write_text(path, json.dumps(value, indent=2) + "\n")


async def poll(condition: Callable[[], Awaitable[T | None]], interval_seconds: float) -> T:
    """Wait for something that only another process can bring about, and that nobody tells us of: until `condition`
    gives something true, and that."""
    while not (value := await condition()):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(interval_seconds)
    return value


async def read_when_written(path: Path, interval_seconds: float = 0.02) -> Any:
    """The JSON that another process writes to `path` in one step, once it is there."""

    async def written() -> bool:
        return _read(path) is not None

    await poll(written, interval_seconds)
    return json.loads(_read(path) or "null")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None

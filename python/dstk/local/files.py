"""Files that other processes read while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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

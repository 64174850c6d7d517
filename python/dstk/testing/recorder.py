"""What the clients of a test did to each key, on disk: one file a client and bucket of keys, one operation a line.

Operations are written when they end, so memory holds those that are under way and, at the end, one bucket.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dstk.testing.linearizability import Operation, Outcome, Verb

__all__ = ["Recorder", "recorded"]

BUCKETS = 16

_LINE = msgspec.json.Decoder(tuple[int, Verb, int, int, Outcome, Any, int | None, int | None])


class Recorder:
    """Writes the operations of client `who` into `folder`."""

    def __init__(self, folder: Path, who: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.who = who
        self._files = [(folder / f"{who}.{bucket}.jsonl").open("wb") for bucket in range(BUCKETS)]

    def note(self, key: int, operation: Operation) -> None:
        """An operation on the key of that number has ended."""
        each = operation
        line = (
            key, each.verb, each.invoked, each.returned, each.outcome, each.value, each.version, each.if_version,
        )  # fmt: skip
        self._files[key % BUCKETS].write(msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Everything is on disk."""
        for file in self._files:
            file.close()


def recorded(folder: Path) -> Iterator[tuple[int, list[Operation]]]:
    """Each key's number and what all clients did to it. Raises ValueError for a line that is not whole."""
    for bucket in range(BUCKETS):
        keys: dict[int, list[Operation]] = defaultdict(list)
        for path in sorted(folder.glob(f"*.{bucket}.jsonl")):
            who = path.name.split(".")[0]
            with path.open("rb") as lines:
                for line in lines:
                    try:
                        key, verb, invoked, returned, outcome, value, version, condition = _LINE.decode(line)
                    except msgspec.DecodeError as error:
                        raise ValueError(f"{path}: {line!r}: {error}; was its writer killed?") from error
                    operation = Operation(verb, invoked, returned, outcome, value, version, condition, who)
                    keys[key].append(operation)
        yield from keys.items()

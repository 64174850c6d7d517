"""An append-only file of changes, so that a restarted server knows what the last one knew.

One line a change: `[collection, namespace, name, resourceVersion, object or null]`. A line that was cut off by a
crash is dropped on reading. Opening the journal rewrites it with what is left, so it never grows over restarts.
Changes survive the death of the process, not of the machine: there is no fsync.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from dstk.local.apiserver.store import Change, Key, Store

_Line = tuple[str, str, str, int, Any]
_decode = msgspec.json.Decoder(_Line)


def _line(collection: str, key: Key, version: int, raw: bytes) -> bytes:
    head = msgspec.json.encode([collection, key[0], key[1], version])
    return head[:-1] + b"," + raw + b"]\n"


class Journal:
    """Replays `path` into a store, then records every later change of it."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._store = store
        self._replay()
        self._file = self._compact()
        store.observers.append(self.record)

    def _replay(self) -> None:
        if not self._path.exists():
            return
        latest: dict[tuple[str, Key], tuple[int, Any]] = {}
        highest = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                collection, namespace, name, version, obj = _decode.decode(line)
                highest = max(highest, version)
                if obj is None:
                    latest.pop((collection, (namespace, name)), None)
                else:
                    latest[(collection, (namespace, name))] = (version, obj)
        for (collection, key), (version, obj) in latest.items():
            if collection:
                self._store.restore(collection, key, obj, version)
        self._store.restored(highest)

    def _compact(self) -> FileIO:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as out:
            for collection in self._store.collections():
                for key, revision in collection.objects.items():
                    out.write(_line(collection.name, key, revision.version, revision.raw))
            out.write(_line("", ("", ""), self._store.version, b"null"))
        os.replace(fresh, self._path)
        return self._path.open("ab", buffering=0)

    def record(self, collection: str, key: Key, change: Change) -> None:
        raw = b"null" if change.type == "DELETED" else change.revision.raw
        self._file.write(_line(collection, key, change.revision.version, raw))

    def close(self) -> None:
        self._file.close()

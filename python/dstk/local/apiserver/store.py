"""Objects in memory, with the history that watches replay.

Every stored revision is immutable and is encoded at most once; readers, lists and watches share the bytes. One
counter numbers all changes (`resourceVersion`); each collection keeps its last changes, bounded in number.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Object = dict[str, Any]
Key = tuple[str, str]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

_encode = msgspec.json.Encoder().encode


OBJECT_LIMIT = 1536 * 1024
"""Bytes of one encoded object: etcd's limit of a request."""


class TooLarge(Exception):
    """An object's encoded form has more bytes than OBJECT_LIMIT."""


class Revision:
    """One object at one resourceVersion. `object` must never be changed."""

    __slots__ = ("_raw", "object", "version")

    def __init__(self, obj: Object, version: int) -> None:
        self.object = obj
        self.version = version
        self._raw: bytes | None = None

    @property
    def raw(self) -> bytes:
        if self._raw is None:
            self._raw = _encode(self.object)
        return self._raw


class Change:
    """One step of a collection's history: what an object became, and what it was before."""

    __slots__ = ("_frame", "before", "revision", "type")

    def __init__(self, kind: ChangeType, revision: Revision, before: Revision | None) -> None:
        self.type = kind
        self.revision = revision
        self.before = before
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The change as one line of a watch, shared by all who read it."""
        if self._frame is None:
            self._frame = frame(self.type, self.revision.raw)
        return self._frame


def frame(kind: str, raw: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


class Collection:
    """The objects of one kind, their order, and the last `history` changes."""

    def __init__(self, name: str, history: int, start: int) -> None:
        self.name = name
        self.objects: dict[Key, Revision] = {}
        self.order: list[Key] = []
        self._history = history
        self._changes: list[Change] = []
        self._versions: list[int] = []
        self._dropped = 0
        self.forgotten = start
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def end(self) -> int:
        """The position after the newest change; a watch that has read everything stands here."""
        return self._dropped + len(self._changes)

    def position(self, version: int) -> int | None:
        """Where a watch that has seen everything up to `version` goes on; None when that is forgotten."""
        if version < self.forgotten:
            return None
        return self._dropped + bisect.bisect_right(self._versions, version)

    def changes(self, position: int) -> list[Change] | None:
        """What happened since `position`; None when some of it is forgotten already."""
        if position < self._dropped:
            return None
        return self._changes[position - self._dropped :]

    def commit(self, key: Key, change: Change) -> None:
        if change.type == "DELETED":
            del self.objects[key]
            del self.order[bisect.bisect_left(self.order, key)]
        else:
            if key not in self.objects:
                bisect.insort(self.order, key)
            self.objects[key] = change.revision
        self._changes.append(change)
        self._versions.append(change.revision.version)
        if len(self._changes) > 2 * self._history:
            drop = len(self._changes) - self._history
            self.forgotten = self._versions[drop - 1]
            del self._changes[:drop]
            del self._versions[:drop]
            self._dropped += drop
        self.wake()

    def wake(self) -> None:
        """Let every waiting watch look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def changed(self, timeout: float) -> None:
        """Wait until something changes, for `timeout` seconds at most."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(future)

    def keys(self, namespace: str | None, after: Key | None = None) -> list[Key]:
        """Keys in order, of one namespace or of all (None), those up to and including `after` left out."""
        low = 0 if namespace is None else bisect.bisect_left(self.order, (namespace, ""))
        high = len(self.order)
        if namespace is not None:
            high = bisect.bisect_left(self.order, (namespace + "\0", ""))
        if after is not None:
            low = max(low, bisect.bisect_right(self.order, after))
        return self.order[low:high]


Observer = Callable[[str, Key, Change], None]


class Store:
    """All collections and the one counter of changes.

    `observers` are told of every change after it is made (collection name, key, change).
    """

    def __init__(self, history: int, version: int = 0) -> None:
        self.version = version
        self.observers: list[Observer] = []
        self._history = history
        self._collections: dict[str, Collection] = {}

    def collection(self, name: str) -> Collection:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(name, self._history, self.version)
        return found

    def collections(self) -> list[Collection]:
        return list(self._collections.values())

    def drop(self, name: str) -> None:
        """Forget a collection whose kind is no longer served; its watches end."""
        collection = self._collections.pop(name, None)
        if collection is not None:
            collection.wake()

    def serves(self, collection: Collection) -> bool:
        return self._collections.get(collection.name) is collection

    def get(self, name: str, key: Key) -> Revision | None:
        return self.collection(name).objects.get(key)

    def put(self, name: str, key: Key, obj: Object) -> Revision:
        """Store `obj` (whose metadata is the caller's own) as the next revision and tell the watches.

        Raises TooLarge, and stores nothing, when its encoded form is above the limit.
        """
        collection = self.collection(name)
        obj["metadata"]["resourceVersion"] = str(self.version + 1)
        revision = Revision(obj, self.version + 1)
        if len(revision.raw) > OBJECT_LIMIT:
            raise TooLarge(len(revision.raw))
        self.version += 1
        before = collection.objects.get(key)
        self._commit(collection, key, Change("MODIFIED" if before else "ADDED", revision, before))
        return revision

    def delete(self, name: str, key: Key) -> Revision:
        """Remove an object that is there; the revision returned is its last, with a version of its own."""
        collection = self.collection(name)
        before = collection.objects[key]
        self.version += 1
        last = {**before.object, "metadata": {**before.object["metadata"], "resourceVersion": str(self.version)}}
        revision = Revision(last, self.version)
        self._commit(collection, key, Change("DELETED", revision, before))
        return revision

    def restore(self, name: str, key: Key, obj: Object, version: int) -> None:
        """Put an object as it was at `version`, without history or observers; older watches must list again."""
        collection = self.collection(name)
        if key not in collection.objects:
            bisect.insort(collection.order, key)
        collection.objects[key] = Revision(obj, version)
        collection.forgotten = max(collection.forgotten, version)

    def restored(self, version: int) -> None:
        """End of the journal: nothing before `version` can be replayed."""
        self.version = max(self.version, version)
        for collection in self._collections.values():
            collection.forgotten = self.version

    def _commit(self, collection: Collection, key: Key, change: Change) -> None:
        collection.commit(key, change)
        for observer in self.observers:
            observer(collection.name, key, change)

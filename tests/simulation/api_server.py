"""The API server as the operator meets it: objects under optimistic concurrency, watches, and answers that get lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeAlias

from msgspec.structs import replace as with_

from dstk.api import Partition

from .clock import Clock, Failed, Process, Reply
from .weather import Weather

__all__ = ["ApiServer", "Cache", "Conflict", "Item", "NotFound", "TimedOut"]

Item: TypeAlias = Any
"""A Partition, an Assignment, or a pod: something frozen with `metadata`."""

TIMEOUT = 1.0
KINDS = ("partitions", "assignments", "pods")


class Conflict(Failed):
    """The object is no longer what the request was about, or exists already."""


class NotFound(Failed):
    """There is no such object."""


class TimedOut(Failed):
    """Nobody knows whether the request was applied."""


class ApiServer:
    """Objects by kind and name. Methods apply at once; ``request`` is how an operator calls them."""

    def __init__(self, clock: Clock, weather: Callable[[], Weather]) -> None:
        self.clock = clock
        self.weather = weather
        self.version = 0
        self.objects: dict[str, dict[str, Item]] = {kind: {} for kind in KINDS}
        self.log: dict[str, list[tuple[int, str, Item | None]]] = {kind: [] for kind in KINDS}
        """Every change of a kind: version, name, and the object or None."""
        self.caches: dict[str, list[Cache]] = {kind: [] for kind in KINDS}
        self.late = 0
        """Writes that are still to arrive."""
        self.on_partition: list[Callable[[Partition | None, Partition | None], None]] = []

    @property
    def partitions(self) -> dict[str, Partition]:
        return self.objects["partitions"]

    # What a request does

    def get(self, kind: str, name: str) -> Item:
        found = self.objects[kind].get(name)
        if found is None:
            raise NotFound(name)
        return found

    def create(self, kind: str, item: Item) -> Item:
        if item.metadata.name in self.objects[kind]:
            raise Conflict(f"{item.metadata.name} exists")
        return self._put(kind, with_(item, metadata=with_(item.metadata, uid=f"uid-{self.version + 1}")))

    def replace(self, kind: str, name: str, change: Callable[[Item], Item], version: str | None = None) -> Item:
        """Change an object, provided that it still has that version."""
        found = self.get(kind, name)
        if version is not None and not self.is_current(found, version):
            raise Conflict(f"{name} is at {found.metadata.resource_version}, not {version}")
        return self._put(kind, change(found))

    def is_current(self, item: Item, version: str) -> bool:
        return bool(item.metadata.resource_version == version)

    def delete(self, kind: str, name: str, uid: str = "") -> None:
        """Delete an object, provided that it still is that one."""
        found = self.get(kind, name)
        if uid and not self.is_same(found, uid):
            raise Conflict(f"{name} is {found.metadata.uid}, not {uid}")
        del self.objects[kind][name]
        self.version += 1
        self._tell(kind, name, found, None)

    def is_same(self, item: Item, uid: str) -> bool:
        return bool(item.metadata.uid == uid)

    def _put(self, kind: str, item: Item) -> Item:
        self.version += 1
        meta = with_(item.metadata, resource_version=str(self.version))
        item = with_(item, metadata=meta)
        old = self.objects[kind].get(meta.name)
        self.objects[kind][meta.name] = item
        self._tell(kind, meta.name, old, item)
        return item

    def _tell(self, kind: str, name: str, old: Item | None, new: Item | None) -> None:
        if kind == "partitions":
            for each in self.on_partition:
                each(old, new)
        self.log[kind].append((self.version, name, new))
        for cache in self.caches[kind]:
            cache.notice()

    # How it is called

    def request(self, apply: Callable[[], Any]) -> Reply:
        """`apply`, some time from now, if the request gets there; the answer, if that gets back."""
        reply, clock, weather = Reply(), self.clock, self.weather()
        draw = clock.random.random
        chance = draw()
        delay = 0.002 + 0.02 * draw()
        for name, happens in self._FAULTS.items():
            chance -= getattr(weather, name)
            if chance < 0:
                happens(self, apply, reply, delay)
                return reply
        clock.after(delay, self._apply, apply, reply, delay)
        return reply

    def _apply(self, apply: Callable[[], Any], reply: Reply, delay: float) -> None:
        try:
            value = apply()
        except Failed as error:
            self.clock.after(delay, reply.fail, error)
        else:
            self.clock.after(delay, reply.succeed, value)

    def _lost(self, apply: Callable[[], Any], reply: Reply, delay: float) -> None:
        self.clock.after(TIMEOUT, reply.fail, TimedOut("no answer"))

    def _unanswered(self, apply: Callable[[], Any], reply: Reply, delay: float) -> None:
        self.clock.after(delay, self._apply, apply, Reply(), delay)
        self.clock.after(TIMEOUT, reply.fail, TimedOut("no answer"))

    def _late(self, apply: Callable[[], Any], reply: Reply, delay: float) -> None:
        self.late += 1
        self.clock.after(TIMEOUT, reply.fail, TimedOut("no answer"))
        self.clock.after(TIMEOUT * self.clock.random.choice((0.9, 1.1, 1.3, 2, 8)), self._apply_late, apply)

    def _apply_late(self, apply: Callable[[], Any]) -> None:
        self.late -= 1
        self._apply(apply, Reply(), 0.0)

    def _error(self, apply: Callable[[], Any], reply: Reply, delay: float) -> None:
        applied = Reply() if self.clock.random.random() < 0.5 else None
        if applied is not None:
            self.clock.after(delay, self._apply, apply, applied, delay)
        self.clock.after(2 * delay, reply.fail, TimedOut("503"))

    _FAULTS: ClassVar[dict[str, Any]] = {
        "api_lost": _lost,
        "api_unanswered": _unanswered,
        "api_late": _late,
        "api_error": _error,
    }


class Cache:
    """An operator's picture of one kind, as ``dstk.kube.Cache`` keeps it: by list and watch, and by what it wrote."""

    def __init__(self, server: ApiServer, kind: str, process: Process) -> None:
        self.items: dict[str, Item] = dict(server.objects[kind])
        self._server = server
        self._clock = server.clock
        self._kind = kind
        self._process = process
        self._deleted: dict[str, int] = {}
        self._cursor = len(server.log[kind])
        self._due = False
        self._silent = False
        self._handlers: list[Callable[[Item | None, Item | None], None]] = []
        server.caches[kind].append(self)

    def get(self, name: str) -> Item | None:
        return self.items.get(name)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items.values())

    def on_change(self, handler: Callable[[Item | None, Item | None], None]) -> None:
        self._handlers.append(handler)

    def learn(self, item: Item) -> None:
        """Take in what the API server has answered, unless something newer is known."""
        version = int(item.metadata.resource_version)
        if version > self._deleted.get(item.metadata.name, -1):
            self._put(item)

    def close(self) -> None:
        self._server.caches[self._kind].remove(self)

    def notice(self) -> None:
        """Something has changed at the server."""
        if self._due or self._silent:
            return
        weather, draw = self._server.weather(), self._clock.random.random
        if draw() < weather.watch_lost:
            self._silent = True
            self._clock.after(self._clock.random.choice((0.5, 3.0, 8.0)), self._list)
            return
        self._due = True
        slow = self._clock.random.choice((0.2, 1.0, 3.0)) if draw() < weather.watch_slow else 0.0
        self._clock.after(0.001 + 0.01 * draw() + slow, self._pump)

    def _pump(self) -> None:
        if self._pauses(self._pump):
            return
        self._due = False
        if self._silent:
            return
        log = self._server.log[self._kind]
        while self._cursor < len(log):
            version, name, item = log[self._cursor]
            self._cursor += 1
            if item is None:
                self._remove(name, version)
            else:
                self._put(item)

    def _list(self) -> None:
        server = self._server
        found = dict(server.objects[self._kind]), server.version, len(server.log[self._kind])
        self._clock.after(self._clock.random.choice((0.01, 0.05, 1.0)), self._listed, *found)

    def _listed(self, found: dict[str, Item], version: int, cursor: int) -> None:
        if self._pauses(self._listed, found, version, cursor):
            return
        for name, item in found.items():
            if int(item.metadata.resource_version) > self._deleted.get(name, -1):
                self._put(item)
        for name in [name for name in self.items if name not in found]:
            if int(self.items[name].metadata.resource_version) <= version:
                self._remove(name, version)
        self._silent, self._cursor = False, cursor
        self._pump()

    def _pauses(self, call: Callable[..., None], *arguments: Any) -> bool:
        """A process that stands still takes nothing in; one that has ended never will."""
        left = self._process.paused_until - self._clock.now
        if self._process.alive and left <= 0:
            return False
        if self._process.alive:
            self._clock.after(left, call, *arguments)
        return True

    def _put(self, item: Item) -> None:
        old = self.items.get(item.metadata.name)
        if old is not None and int(old.metadata.resource_version) >= int(item.metadata.resource_version):
            return
        self.items[item.metadata.name] = item
        self._told(old, item)

    def _remove(self, name: str, version: int) -> None:
        old = self.items.get(name)
        if old is not None and int(old.metadata.resource_version) > version:
            return
        self._deleted[name] = version
        if old is not None:
            del self.items[name]
            self._told(old, None)

    def _told(self, old: Item | None, new: Item | None) -> None:
        for handler in self._handlers:
            handler(old, new)

"""A local copy of all objects of one kind, kept up to date by list and watch.

Versions are compared as numbers, which Kubernetes allows for objects of one kind (KEP-5504), within one history: an API
server whose etcd was restored from a backup begins another one, which goes back. Then nothing that was known counts. It
shows by a list of an older version than is known, or with an older version of an object than is known as of that list.
The other history may have gone on, up to a version above all that is known: a watch goes on there as if nothing had
happened. So before each watch the newest object that is known is asked for, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from dstk.clock import SYSTEM, Clock
from dstk.errors import ApiError, DstkError
from dstk.kube.api import Expired, Silent
from dstk.kube.backoff import Backoff
from dstk.kube.objects import Objects

__all__ = ["Cache", "CacheSettings"]

log = logging.getLogger(__name__)

TOMBSTONES = 10_000
"""Deletions remembered, so that an answer to an older write does not bring a deleted object back."""


class _Meta(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class _Object(Protocol):
    @property
    def metadata(self) -> _Meta: ...


T = TypeVar("T", bound=_Object)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Seconds, but for the page size."""

    page: int = 1000
    watch_seconds: int = 300
    idle_seconds: float = 90.0
    """A watch that has brought nothing for so long, not even a bookmark, is dead."""
    relist_seconds: float = 600.0
    """Everything is listed again so often: a watch can lose events without breaking."""
    backoff_longest: float = 10.0


class Cache(Generic[T]):
    """The objects of one kind by name.

    ``on_change(handler)``: ``handler(old, new)`` is called in the event loop for every change, with None for what does
    not exist; also for every object of the first list. ``index(name, keys)``: ``by(name, key)`` then gives the objects
    for which ``keys(object)`` holds that key, without a scan. Handlers and indexes are registered before ``run()``.
    """

    def __init__(
        self,
        objects: Objects[T],
        *,
        label_selector: str = "",
        settings: CacheSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.objects = objects
        self.lists = 0
        """How often everything was listed."""
        self._label_selector = label_selector
        self._settings = settings or CacheSettings()
        self._clock = clock
        self._items: dict[str, T] = {}
        self._view = MappingProxyType(self._items)
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._handlers: list[Callable[[T | None, T | None], None]] = []
        self._on_missing: list[Callable[[], None]] = []
        self._on_history: list[Callable[[], None]] = []
        self._indexes: dict[str, tuple[Callable[[T], Iterable[str]], dict[str, dict[str, T]]]] = {}
        self._waiters: dict[str, dict[asyncio.Event, None]] = {}
        self._synced = asyncio.Event()
        self._heard = clock.monotonic()
        self._version = ""
        """Up to which changes are known; "": they have to be listed."""
        self._highest = 0
        """The highest version of which anything is known."""
        self.histories = 0
        """How often the API server has begun another history."""

    def get(self, name: str) -> T | None:
        return self._items.get(name)

    @property
    def items(self) -> Mapping[str, T]:
        """All objects by name, as a live view that is not to be changed."""
        return self._view

    def __iter__(self) -> Iterator[T]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def on_change(self, handler: Callable[[T | None, T | None], None]) -> None:
        self._handlers.append(handler)

    def on_missing(self, handler: Callable[[], None]) -> None:
        """``handler()`` is called whenever the API server says that it has no such kind."""
        self._on_missing.append(handler)

    def on_history(self, handler: Callable[[], None]) -> None:
        """``handler()`` is called when the API server has begun another history, once its objects are known."""
        self._on_history.append(handler)

    def index(self, name: str, keys: Callable[[T], Iterable[str]]) -> None:
        self._indexes[name] = (keys, {})

    def by(self, index: str, key: str) -> Mapping[str, T]:
        """The objects with that key, by name. Not to be changed, and not to be kept over an await."""
        return self._indexes[index][1].get(key, {})

    def keys(self, index: str) -> Collection[str]:
        """All keys of an index, as a live view."""
        return self._indexes[index][1].keys()

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    @property
    def silent_seconds(self) -> float:
        """Since the API server was last heard."""
        return self._clock.monotonic() - self._heard

    async def synced(self) -> None:
        """Wait until the first list is complete."""
        await self._synced.wait()

    async def wait_for(
        self, name: str, predicate: Callable[[T | None], bool], timeout: float | None = None
    ) -> T | None:
        """Wait until ``predicate(object or None)`` holds; the object then. Raises TimeoutError after ``timeout`` s."""
        changed = asyncio.Event()
        waiters = self._waiters.setdefault(name, {})
        waiters[changed] = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    changed.clear()
                    if self._synced.is_set() and predicate(self._items.get(name)):
                        return self._items.get(name)
                    await changed.wait()
        finally:
            waiters.pop(changed, None)
            if not waiters:
                self._waiters.pop(name, None)

    def learn(self, item: T) -> T:
        """Take in an object that the API server has just answered with, unless something newer is known.

        So who writes sees its own writes here without waiting for the watch. Returns its argument.
        """
        version = int(item.metadata.resource_version or 0)
        if version > self._deleted.get(item.metadata.name, -1):
            self._put(item, version)
        return item

    def lost(self, item: T) -> None:
        """Take in that the API server has just said that there is no object of that name, where `item` was known."""
        name = item.metadata.name
        if self._items.get(name) is item:
            self._remove(name, int(item.metadata.resource_version or 0))

    async def run(self) -> None:
        """List, then watch, for ever. What goes wrong is logged and tried again with back-off."""
        backoff = Backoff(longest=self._settings.backoff_longest)
        listed = 0.0
        while True:
            try:
                if not self._version or self._clock.monotonic() - listed >= self._settings.relist_seconds:
                    self._version = await self._list()
                    listed = self._clock.monotonic()
                elif await self._is_set_back():
                    # A watch from a version that is not reached yet would say nothing until it is, and one from a
                    # version of another history nothing of what that has not got.
                    self._version = await self._list(anew=True)
                    listed = self._clock.monotonic()
                await self._watch(listed + self._settings.relist_seconds)
                backoff.reset()
            except Silent as error:
                # Nothing may have changed, or the connection may be dead: a new watch tells.
                log.debug("%s", error)
                backoff.reset()
            except Expired:
                log.info("watch of %s is too far behind; listing again", self.objects.kind.plural)
                self._version = ""
            except ApiError as error:
                delay = backoff.next()
                if error.status == 404:
                    for missing in self._on_missing:
                        missing()
                    self._version = ""
                log.warning("%s: %s; again in %.1f s", self.objects.kind.plural, error, delay)
                await asyncio.sleep(delay)
            except DstkError as error:
                delay = backoff.next()
                log.info("%s: %s; again in %.1f s", self.objects.kind.plural, error, delay)
                await asyncio.sleep(delay)

    async def _is_set_back(self) -> bool:
        """Whether the API server is at an older version than is known, or has not got what is newest here as it is
        known. That may have been deleted while nobody watched; then it is no harm to look at all of it."""
        known = self._highest
        newest = max(self._items.values(), key=_version, default=None)
        gone = next(reversed(self._deleted), "")
        if newest is not None and _version(newest) < self._deleted.get(gone, 0):
            newest = None
        name = newest.metadata.name if newest is not None else gone
        page = await self.objects.list_page(
            limit=1,
            label_selector=self._label_selector,
            field_selector=f"metadata.name={name}" if name else "",
        )
        if int(page.resource_version or 0) < known:
            return True
        found = page.items[0] if name and page.items else None
        if newest is None:
            return found is not None and _version(found) <= self._deleted.get(gone, -1)
        return found is None or _version(found) < _version(newest)

    async def _list(self, *, anew: bool = False) -> str:
        known, before = self._highest, dict(self._items)
        found: dict[str, T] = {}
        cursor = ""
        while True:
            page = await self.objects.list_page(
                limit=self._settings.page, cursor=cursor, label_selector=self._label_selector
            )
            for item in page.items:
                found[item.metadata.name] = item
            cursor = page.cursor
            if not cursor:
                break
        version = page.resource_version
        self._heard = self._clock.monotonic()
        self.lists += 1
        at = int(version or 0)
        if anew or at < known or self._contradicts(found, before, at):
            log.warning(
                "%s: the API server was set back, another is there, or the newest was deleted unheard; beginning anew",
                self.objects.kind.plural,
            )
            self._begin_anew(found, at)
            return version
        self._highest = max(self._highest, at)
        for name, item in found.items():
            item_version = int(item.metadata.resource_version or 0)
            if item_version > self._deleted.get(name, -1):
                self._put(item, item_version)
        for name in [name for name in self._items if name not in found]:
            if int(self._items[name].metadata.resource_version or 0) <= at:
                self._remove(name, at)
        self._is_listed()
        return version

    def _is_listed(self) -> None:
        if not self._synced.is_set():
            self._synced.set()
            for name in list(self._waiters):
                self._wake(name)

    def _contradicts(self, found: Mapping[str, T], before: Mapping[str, T], at: int) -> bool:
        """Whether a list as of `at` has something older than was known, as of then or before, when it was asked for."""
        for name, item in found.items():
            listed = _version(item)
            known = before.get(name)
            if known is not None and listed < _version(known) <= at:
                return True
            if listed <= self._deleted.get(name, -1) <= at and known is None:
                return True
        return False

    def _begin_anew(self, found: Mapping[str, T], at: int) -> None:
        """Take these for all there is, whatever was known."""
        self.histories += 1
        self._deleted.clear()
        self._highest = at
        for name in [name for name in self._items if name not in found]:
            self._take_out(name)
        for name, item in found.items():
            old = self._items.get(name)
            if old is None or _version(old) != _version(item) or old != item:
                self._set(name, item)
        self._is_listed()
        for handler in self._on_history:
            try:
                handler()
            except Exception:  # As in _tell.
                log.exception("handler of a new history of %s failed", self.objects.kind.plural)

    async def _watch(self, until: float) -> None:
        seconds = max(1, min(self._settings.watch_seconds, int(until - self._clock.monotonic()) + 1))
        events = self.objects.watch(
            self._version,
            timeout_seconds=seconds,
            # A server that ends its watches in time is not silent.
            idle_seconds=self._settings.idle_seconds,
            label_selector=self._label_selector,
        )
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                self._heard = self._clock.monotonic()
                if int(event.resource_version or 0) < int(self._version or 0):
                    log.info("%s: an event is older than the last; listing again", self.objects.kind.plural)
                    self._version = ""
                    return
                if event.object is None:
                    pass
                elif event.type == "DELETED":
                    self._remove(event.object.metadata.name, int(event.resource_version or 0))
                else:
                    self._put(event.object, int(event.resource_version or 0))
                self._version = event.resource_version or self._version

    def _put(self, item: T, version: int) -> None:
        name = item.metadata.name
        old = self._items.get(name)
        self._highest = max(self._highest, version)
        if old is not None and _version(old) >= version:
            return
        self._set(name, item)

    def _set(self, name: str, item: T) -> None:
        old = self._items.get(name)
        self._items[name] = item
        self._reindex(name, old, item)
        self._tell(name, old, item)

    def _remove(self, name: str, version: int) -> None:
        old = self._items.get(name)
        if old is not None and int(old.metadata.resource_version or 0) > version:
            return
        self._deleted[name] = version
        self._deleted.move_to_end(name)
        if len(self._deleted) > TOMBSTONES:
            self._deleted.popitem(last=False)
        self._highest = max(self._highest, version)
        if old is not None:
            self._take_out(name)

    def _take_out(self, name: str) -> None:
        old = self._items.pop(name)
        self._reindex(name, old, None)
        self._tell(name, old, None)

    def _reindex(self, name: str, old: T | None, new: T | None) -> None:
        for keys, groups in self._indexes.values():
            before = dict.fromkeys(keys(old)) if old is not None else {}
            after = dict.fromkeys(keys(new)) if new is not None else {}
            for key in before.keys() - after.keys():
                group = groups[key]
                del group[name]
                if not group:
                    del groups[key]
            for key in after:
                assert new is not None
                groups.setdefault(key, {})[name] = new

    def _tell(self, name: str, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:  # The others have to hear of it, and the watch has to go on.
                log.exception("handler of %s %s failed", self.objects.kind.kind, name)
        self._wake(name)

    def _wake(self, name: str) -> None:
        for waiter in self._waiters.get(name, ()):
            waiter.set()


def _version(item: _Object) -> int:
    return int(item.metadata.resource_version or 0)

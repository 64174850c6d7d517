"""Lists, page by page. All pages of one list show the moment of the first one."""

from __future__ import annotations

import base64
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dstk.local.apiserver import status
from dstk.local.apiserver.api import Api
from dstk.local.apiserver.resource import Object, Resource
from dstk.local.apiserver.selectors import FieldSelector, Predicate
from dstk.local.apiserver.store import Revision

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects a list or watch is about. `namespace` None means all."""

    namespace: str | None = None
    labels: Predicate | None = None
    fields: FieldSelector | None = None

    @property
    def everything(self) -> bool:
        return self.labels is None and self.fields is None

    def matches(self, obj: Object) -> bool:
        return (self.labels is None or self.labels(obj)) and (self.fields is None or self.fields(obj))


@dataclass(frozen=True, slots=True)
class Page:
    """Some revisions in key order, the version they were taken at, and how to go on."""

    revisions: list[Revision]
    version: int
    token: str = ""
    remaining: int | None = None


class Pages:
    """Takes lists apart into pages; keeps the rest of the last `limit` unfinished lists."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._open: OrderedDict[str, tuple[int, list[Revision], bool]] = OrderedDict()
        self._numbers = itertools.count(1)

    def first(self, revisions: list[Revision], version: int, size: int, *, counted: bool) -> Page:
        if size <= 0 or len(revisions) <= size:
            return Page(revisions, version)
        name = f"{version}-{next(self._numbers)}"
        self._open[name] = (version, revisions, counted)
        while len(self._open) > self._limit:
            self._open.popitem(last=False)
        return self._page(name, version, revisions, 0, size, counted)

    def next(self, token: str, size: int) -> Page:
        """The page after `token`. Raises Refusal 410 when that list is no longer kept, 400 for no token of ours."""
        try:
            name, start = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, int])
        except ValueError:
            raise status.bad_request(f"continue key is not valid: {token[:100]}") from None
        kept = self._open.get(name)
        if kept is None:
            raise status.expired(_TOO_OLD)
        version, revisions, counted = kept
        self._open.move_to_end(name)
        return self._page(name, version, revisions, start, size or len(revisions), counted)

    def _page(self, name: str, version: int, revisions: list[Revision], start: int, size: int, counted: bool) -> Page:
        end = start + size
        part = revisions[start:end]
        if end >= len(revisions):
            self._open.pop(name, None)
            return Page(part, version)
        token = base64.urlsafe_b64encode(msgspec.json.encode([name, end])).decode()
        return Page(part, version, token, len(revisions) - end if counted else None)


def select(api: Api, resource: Resource, selection: Selection) -> list[Revision]:
    """The stored revisions that a selection names, in key order."""
    collection = api.store.collection(resource.collection)
    fields = selection.fields
    namespace = selection.namespace if resource.namespaced else None
    if fields is not None and fields.name is not None and (namespace is not None or not resource.namespaced):
        found = collection.objects.get((namespace or "", fields.name))
        revisions = [found] if found is not None else []
    else:
        objects = collection.objects
        revisions = [objects[key] for key in collection.keys(namespace)]
    if selection.everything:
        return revisions
    shown: Callable[[Resource, Revision], Object] = api.shown
    return [revision for revision in revisions if selection.matches(shown(resource, revision))]


def list_body(api: Api, resource: Resource, page: Page) -> bytes:
    """The encoded list: a head, and the items' own bytes."""
    metadata: dict[str, Any] = {"resourceVersion": str(page.version)}
    if page.token:
        metadata["continue"] = page.token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    head = {"apiVersion": resource.api_version, "kind": resource.kind_of_list, "metadata": metadata}
    items = b",".join(api.shown_raw(resource, revision) for revision in page.revisions)
    return msgspec.json.encode(head)[:-1] + b',"items":[' + items + b"]}"

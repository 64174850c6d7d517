"""Watches: the history of a collection from some version on, as a stream of lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dstk.local.apiserver import status
from dstk.local.apiserver.api import Api
from dstk.local.apiserver.listing import Selection, select
from dstk.local.apiserver.resource import Object, Resource
from dstk.local.apiserver.store import Change, Collection, Revision, frame

_BATCH = 512

Print = Callable[[Object], bytes]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """`version` 0 means from now on, with what is there as ADDED events first. Times in seconds."""

    selection: Selection
    version: int
    initial_events: bool
    end_marker: bool
    bookmarks: bool
    timeout: float


def error_frame(refusal: status.Refusal) -> bytes:
    return frame("ERROR", msgspec.json.encode(refusal.status()))


class Watch:
    """One client's watch. `printed` turns an object into other bytes than its own (a Table), or is None."""

    def __init__(self, api: Api, resource: Resource, request: WatchRequest, printed: Print | None) -> None:
        self._api = api
        self._resource = resource
        self._request = request
        self._printed = printed

    async def lines(self, stopped: Callable[[], bool], bookmark_seconds: float) -> AsyncIterator[bytes]:
        """What to send, in pieces of many lines each. Ends at the time-out, or with an ERROR line."""
        api, request = self._api, self._request
        collection = api.store.collection(self._resource.collection)
        position: int | None = collection.end
        if not request.initial_events:
            if request.version > api.store.version:
                yield error_frame(status.expired(f"too large resource version: {request.version}"))
                return
            position = collection.position(request.version)
            if position is None:
                text = f"too old resource version: {request.version} ({collection.forgotten})"
                yield error_frame(status.expired(text))
                return
        else:
            for piece in self._initial(api.store.version):
                yield piece
        began = next_mark = api.clock()
        deadline, next_mark = began + request.timeout, began + bookmark_seconds
        assert position is not None
        while not stopped() and api.store.serves(collection):
            changes = collection.changes(position)
            if changes is None:
                yield error_frame(status.expired("too old resource version: the watch fell behind"))
                return
            if changes:
                part = changes[:_BATCH]
                position += len(part)
                piece = self._frames(part)
                if piece:
                    yield piece
                continue
            now = api.clock()
            if now >= deadline:
                break
            if request.bookmarks and now >= next_mark:
                next_mark = now + bookmark_seconds
                yield self._bookmark(api.store.version)
            wake = min(deadline, next_mark) if request.bookmarks else deadline
            await collection.changed(max(wake - now, 0.001))
        if request.bookmarks and self._caught_up(collection, position):
            yield self._bookmark(api.store.version)

    def _caught_up(self, collection: Collection, position: int) -> bool:
        return position == collection.end

    def _initial(self, version: int) -> list[bytes]:
        found = select(self._api, self._resource, self._request.selection)
        pieces = [self._frame("ADDED", revision) for revision in found]
        if self._request.end_marker:
            pieces.append(self._bookmark(version, {"k8s.io/initial-events-end": "true"}))
        return [b"".join(pieces[at : at + _BATCH]) for at in range(0, len(pieces), _BATCH)]

    def _bookmark(self, version: int, annotations: dict[str, str] | None = None) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        return frame("BOOKMARK", self._printed(obj) if self._printed else msgspec.json.encode(obj))

    def _frame(self, kind: str, revision: Revision) -> bytes:
        if self._printed is not None:
            return frame(kind, self._printed(self._api.shown(self._resource, revision)))
        return frame(kind, self._api.shown_raw(self._resource, revision))

    def _frames(self, changes: list[Change]) -> bytes:
        selection, resource = self._request.selection, self._resource
        same_form = self._printed is None and resource.convert_out is None
        lines: list[bytes] = []
        for change in changes:
            obj = change.revision.object
            if selection.namespace is not None and obj["metadata"].get("namespace") != selection.namespace:
                continue
            kind: str | None = change.type
            if not selection.everything:
                kind = self._kind_for(change)
            if kind is None:
                continue
            if same_form and kind == change.type and obj["apiVersion"] == resource.api_version:
                lines.append(change.frame)
            elif kind == "DELETED" and change.type != "DELETED" and change.before is not None:
                lines.append(self._frame(kind, _left(change)))
            else:
                lines.append(self._frame(kind, change.revision))
        return b"".join(lines)

    def _kind_for(self, change: Change) -> str | None:
        """What a change is to a watch that sees only some objects: they enter and leave its sight."""
        matches = self._request.selection.matches
        shown = self._api.shown
        before = change.before is not None and matches(shown(self._resource, change.before))
        if change.type == "DELETED":
            return "DELETED" if before else None
        after = matches(shown(self._resource, change.revision))
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None


def _left(change: Change) -> Revision:
    """The object that left a selection: its last selected state, at the version of the change."""
    assert change.before is not None
    before = change.before.object
    metadata = {**before["metadata"], "resourceVersion": str(change.revision.version)}
    return Revision({**before, "metadata": metadata}, change.revision.version)

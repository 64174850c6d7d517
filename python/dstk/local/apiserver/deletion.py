"""What goes with what is deleted: owned objects, the content of namespaces, the objects of a definition.

Runs after the request that caused it, on the same loop, a bounded number of objects at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from dstk.local.apiserver import status
from dstk.local.apiserver.api import NAMESPACES, Api, Deletion
from dstk.local.apiserver.builtin import DEFINITIONS
from dstk.local.apiserver.resource import Resource
from dstk.local.apiserver.store import Change, Key

Place = tuple[str, Key]

_BATCH = 256
_CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"

log = logging.getLogger(__name__)


class Collector:
    """Follows all changes of the store and deletes what has lost its reason to be."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._living: dict[str, Place] = {}
        self._owned: dict[str, set[Place]] = {}
        self._queue: deque[Place] = deque()
        self._queued: set[Place] = set()
        self._scheduled = False
        for collection in api.store.collections():
            for key, revision in collection.objects.items():
                self._note(collection.name, key, revision.object)
        for collection in api.store.collections():
            for key in collection.objects:
                self._look_at((collection.name, key))
        api.store.observers.append(self.observe)

    def observe(self, collection: str, key: Key, change: Change) -> None:
        place = (collection, key)
        if change.before is not None:
            self._forget_owners(place, change.before.object)
        if change.type != "DELETED":
            self._note(collection, key, change.revision.object)
            metadata = change.revision.object["metadata"]
            if "ownerReferences" in metadata or "deletionTimestamp" in metadata:
                self._look_at(place)
            return
        uid = change.revision.object["metadata"].get("uid", "")
        self._living.pop(uid, None)
        for dependent in sorted(self._owned.get(uid, ())):
            self._look_at(dependent)
        for reference in change.revision.object["metadata"].get("ownerReferences") or ():
            owner = self._living.get(reference.get("uid", ""))
            if owner is not None:
                self._look_at(owner)
        self._look_at((NAMESPACES, ("", key[0])))
        if "." in collection:
            self._look_at((DEFINITIONS, ("", collection)))

    def _note(self, collection: str, key: Key, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        self._living[metadata.get("uid", "")] = (collection, key)
        for reference in metadata.get("ownerReferences") or ():
            self._owned.setdefault(reference.get("uid", ""), set()).add((collection, key))

    def _forget_owners(self, place: Place, obj: dict[str, Any]) -> None:
        for reference in obj["metadata"].get("ownerReferences") or ():
            uid = reference.get("uid", "")
            dependents = self._owned.get(uid)
            if dependents is not None:
                dependents.discard(place)
                if not dependents:
                    del self._owned[uid]

    def _look_at(self, place: Place) -> None:
        if place in self._queued:
            return
        self._queued.add(place)
        self._queue.append(place)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        for _ in range(min(_BATCH, len(self._queue))):
            place = self._queue.popleft()
            self._queued.discard(place)
            try:
                self._settle(place)
            except status.Refusal as refusal:
                log.warning("%s %s: %s", place[0], place[1], refusal)
        if self._queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _settle(self, place: Place) -> None:
        collection, key = place
        revision = self._api.store.get(collection, key)
        if revision is None:
            return
        metadata = revision.object["metadata"]
        if "deletionTimestamp" in metadata:
            self._finish(place, metadata, revision.object)
        elif metadata.get("ownerReferences"):
            self._check_owners(place, metadata, revision.object)

    def _check_owners(self, place: Place, metadata: dict[str, Any], obj: dict[str, Any]) -> None:
        references = metadata["ownerReferences"]
        present = [reference for reference in references if self._keeps(reference)]
        if len(present) == len(references):
            return
        if present:
            kept = {**obj, "metadata": {**metadata, "ownerReferences": present}}
            self._api.store.put(place[0], place[1], kept)
        else:
            self._delete(place, metadata)

    def _keeps(self, reference: dict[str, Any]) -> bool:
        owner = self._living.get(reference.get("uid", ""))
        if owner is None:
            return False
        revision = self._api.store.get(*owner)
        if revision is None:
            return False
        return "foregroundDeletion" not in (revision.object["metadata"].get("finalizers") or ())

    def _resource(self, collection: str) -> Resource | None:
        for resource in self._api.registry.all():
            if resource.collection == collection:
                return resource
        return None

    def _delete(self, place: Place, metadata: dict[str, Any]) -> None:
        resource = self._resource(place[0])
        if resource is not None and "deletionTimestamp" not in metadata:
            self._api.delete(resource, place[1], Deletion(preconditions={"uid": metadata["uid"]}))

    def _finish(self, place: Place, metadata: dict[str, Any], obj: dict[str, Any]) -> None:
        finalizers = metadata.get("finalizers") or ()
        uid = metadata.get("uid", "")
        if "orphan" in finalizers:
            for dependent in sorted(self._owned.get(uid, ())):
                self._disown(dependent, uid)
            self._api.release(place[0], place[1], "orphan")
        elif "foregroundDeletion" in finalizers:
            dependents = sorted(self._owned.get(uid, ()))
            for dependent in dependents:
                self._look_at(dependent)
            if not dependents:
                self._api.release(place[0], place[1], "foregroundDeletion")
        elif place[0] == NAMESPACES:
            self._empty_namespace(place, finalizers)
        elif _CRD_FINALIZER in finalizers:
            self._empty_definition(place, obj)

    def _disown(self, dependent: Place, uid: str) -> None:
        revision = self._api.store.get(*dependent)
        if revision is None:
            return
        metadata = revision.object["metadata"]
        kept = [one for one in metadata["ownerReferences"] if one.get("uid") != uid]
        changed = {name: value for name, value in metadata.items() if name != "ownerReferences"}
        if kept:
            changed["ownerReferences"] = kept
        self._api.store.put(dependent[0], dependent[1], {**revision.object, "metadata": changed})

    def _empty_namespace(self, place: Place, finalizers: Any) -> None:
        name = place[1][1]
        left = 0
        for collection in self._api.store.collections():
            for key in collection.keys(name):
                left += 1
                self._delete((collection.name, key), collection.objects[key].object["metadata"])
                left -= key not in collection.objects
        if not left and not finalizers:
            self._api.store.delete(*place)

    def _empty_definition(self, place: Place, obj: dict[str, Any]) -> None:
        name = place[1][1]
        collection = self._api.store.collection(name)
        for key in list(collection.order):
            self._delete((name, key), collection.objects[key].object["metadata"])
        if not collection.objects:
            self._api.release(place[0], place[1], _CRD_FINALIZER)

"""The verbs, over the store: what a request does, apart from how it arrives and how its answer travels."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dstk.local.apiserver import definitions, ownership, patches, status, writes
from dstk.local.apiserver.builtin import BUILTIN, DEFINITIONS, FIRST_NAMESPACES
from dstk.local.apiserver.resource import Object, Registry, Resource
from dstk.local.apiserver.schema import prune
from dstk.local.apiserver.store import Key, Revision, Store, TooLarge
from dstk.local.apiserver.writes import Reading

NAMESPACES = "namespaces"
_PERMANENT = frozenset({"default", "kube-public", "kube-system"})
_CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"

PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}


@dataclass(slots=True)
class Options:
    """What a write's query says: who writes, how strictly to read, whether to store at all."""

    manager: str = "unknown"
    dry_run: bool = False
    force: bool = False
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE asks for."""

    propagation: str = "Background"
    preconditions: Any = None
    dry_run: bool = False
    grace_seconds: int | None = None
    """How long a pod may take to end; None: what the pod says itself."""


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    return (namespace if resource.namespaced else "", name)


def name_suffix(number: int) -> str:
    """Five letters for generateName out of a random `number`."""
    letters = []
    for _ in range(5):
        number, at = divmod(number, len(_SUFFIX_LETTERS))
        letters.append(_SUFFIX_LETTERS[at])
    return "".join(letters)


class Api:
    """All state and all verbs. `clock` gives seconds since the epoch, `new_uid` a fresh UUID."""

    def __init__(self, store: Store, clock: Callable[[], float], new_uid: Callable[[], uuid.UUID] = uuid.uuid4) -> None:
        self.store = store
        self.clock = clock
        self._new_uid = new_uid
        self.registry = Registry(BUILTIN)
        self._second, self._second_text = -1, ""

    def start(self) -> None:
        """Serve what a restored store defines, and make the namespaces every cluster has."""
        for revision in list(self.store.collection(DEFINITIONS).objects.values()):
            self._install(revision.object)
        namespaces = self.resource("", "v1", NAMESPACES)
        for name in FIRST_NAMESPACES:
            if self.store.get(NAMESPACES, ("", name)) is None:
                self.create(namespaces, "", {"metadata": {"name": name}}, Options(manager="dstk"))

    def resource(self, group: str, version: str, plural: str) -> Resource:
        found = self.registry.find(group, version, plural)
        if found is None:
            raise status.not_served(group, plural)
        return found

    def now(self) -> str:
        """The present second in RFC 3339."""
        return self.later(0)

    def later(self, seconds: int) -> str:
        """So many seconds from now in RFC 3339."""
        second = int(self.clock()) + seconds
        if second != self._second:
            moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self._second, self._second_text = second, moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._second_text

    def shown(self, resource: Resource, revision: Revision) -> Object:
        """A stored object in the form of the version that is asked for."""
        if resource.convert_out is not None:
            return resource.convert_out(revision.object)
        if revision.object["apiVersion"] != resource.api_version:
            return {**revision.object, "apiVersion": resource.api_version}
        return revision.object

    def shown_raw(self, resource: Resource, revision: Revision) -> bytes:
        if resource.convert_out is None and revision.object["apiVersion"] == resource.api_version:
            return revision.raw
        return msgspec.json.encode(self.shown(resource, revision))

    def _to_store(self, resource: Resource, obj: Object) -> Object:
        if resource.convert_in is not None:
            return resource.convert_in(obj)
        if obj["apiVersion"] != resource.stored_api_version:
            return {**obj, "apiVersion": resource.stored_api_version}
        return obj

    def get(self, resource: Resource, namespace: str, name: str) -> Revision:
        revision = self.store.get(resource.collection, key_of(resource, namespace, name))
        if revision is None:
            raise status.not_found(resource.group, resource.plural, name)
        return revision

    def create(self, resource: Resource, namespace: str, body: Any, options: Options) -> Revision:
        obj = writes.read_object(resource, body, options.reading)
        return self._create(resource, namespace, self._named(obj), options)

    def _named(self, obj: Object) -> Object:
        metadata = obj["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + name_suffix(self._new_uid().int)
        return obj

    def _create(
        self, resource: Resource, namespace: str, obj: Object, options: Options, *, applied: bool = False
    ) -> Revision:
        obj = writes.place(resource, obj, namespace, None)
        if resource.namespaced:
            self._check_namespace(resource, namespace, obj["metadata"].get("name", ""))
        key = key_of(resource, namespace, obj["metadata"].get("name", ""))
        if self.store.get(resource.collection, key) is not None:
            raise status.already_exists(resource.group, resource.plural, key[1])
        managed = obj["metadata"].pop("managedFields", []) if applied else []
        obj["metadata"].pop("managedFields", None)
        now = self.now()
        fresh = writes.create(resource, self._completed(resource, obj), str(self._new_uid()), now)
        if not applied:
            managed = ownership.track_update(resource, None, fresh, options.manager, "", now)
        if managed:
            fresh["metadata"]["managedFields"] = managed
        return self._store(resource, key, fresh, options)

    def _completed(self, resource: Resource, obj: Object) -> Object:
        """What the server itself adds to some kinds before they are stored."""
        if resource.collection == NAMESPACES:
            name = obj["metadata"].get("name", "")
            labels = {**(obj["metadata"].get("labels") or {}), "kubernetes.io/metadata.name": name}
            spec = {**(obj.get("spec") or {}), "finalizers": ["kubernetes"]}
            state = obj.get("status") or {"phase": "Active"}
            return {**obj, "metadata": {**obj["metadata"], "labels": labels}, "spec": spec, "status": state}
        if resource.collection == DEFINITIONS:
            completed = definitions.complete(obj)
            found = definitions.errors(completed)
            if found:
                raise status.invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), found)
            return {**completed, "status": definitions.established(completed, self.now())}
        if resource.collection == "pods":
            return {**obj, "status": obj.get("status") or {"phase": "Pending"}}
        if resource.collection == "secrets" and obj.get("stringData"):
            import base64

            plain = {name: base64.b64encode(text.encode()).decode() for name, text in obj["stringData"].items()}
            rest = {name: value for name, value in obj.items() if name != "stringData"}
            return {**rest, "data": {**(obj.get("data") or {}), **plain}}
        return obj

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.store.get(NAMESPACES, ("", namespace))
        if found is None:
            raise status.not_found("", NAMESPACES, namespace)
        if "deletionTimestamp" in found.object["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise status.denied(resource.group, resource.plural, name, why)

    def _store(self, resource: Resource, key: Key, obj: Object, options: Options) -> Revision:
        stored = self._to_store(resource, obj)
        if options.dry_run:
            return Revision(stored, 0)
        try:
            revision = self.store.put(resource.collection, key, stored)
        except TooLarge as error:
            raise status.Refusal(500, "InternalError", f"etcdserver: request is too large ({error} bytes)") from None
        if resource.collection == DEFINITIONS:
            self._install(stored)
        return revision

    def _install(self, definition: Object) -> None:
        """Serve a definition, and show what is stored as its present schema has it: pruned, with its defaults."""
        definitions.install(self.registry, definition)
        served = definitions.resources(definition)
        if not served:
            return
        stored = next((one for one in served if one.api_version == one.stored_api_version), served[0])
        collection = self.store.collection(stored.collection)
        for key, revision in list(collection.objects.items()):
            fresh = writes.finish_reading(stored, revision.object, Reading("Ignore"))
            if fresh != revision.object:
                self.store.restore(stored.collection, key, fresh, revision.version)

    def update(self, resource: Resource, key: Key, subresource: str, body: Any, options: Options) -> Revision:
        old = self.get(resource, *key)
        sent = writes.place(resource, writes.read_object(resource, body, options.reading), key[0], key[1])
        return self._update(resource, key, subresource, old, sent, options, whole=True)

    def patch(
        self, resource: Resource, key: Key, subresource: str, kind: str, body: Any, options: Options
    ) -> tuple[Revision, bool]:
        """The object after the patch, and whether that created it (an apply may)."""
        if kind == "apply":
            return self._apply(resource, key, subresource, body, options)
        old = self.get(resource, *key)
        before = self.shown(resource, old)
        if kind == "merge":
            candidate = patches.merge_patch(before, body)
        elif kind == "json":
            candidate = patches.json_patch(before, body)
        else:
            shape = ownership.root_shape(resource.structure)
            candidate = patches.strategic_merge_patch(before, body, shape)
        read = writes.read_object(resource, candidate, options.reading, before)
        sent = writes.place(resource, read, key[0], key[1])
        return self._update(resource, key, subresource, old, sent, options, whole=False), False

    def _update(
        self,
        resource: Resource,
        key: Key,
        subresource: str,
        old: Revision,
        sent: Object,
        options: Options,
        *,
        whole: bool,
        applied: bool = False,
    ) -> Revision:
        before = self.shown(resource, old)
        if resource.collection == DEFINITIONS and subresource != "status":
            sent = definitions.complete(sent)
        fresh = writes.update(resource, before, sent, subresource, whole=whole)
        if fresh is before:
            return old
        if resource.collection == DEFINITIONS and subresource != "status":
            found = definitions.errors(fresh)
            if found:
                raise status.invalid(resource.group, resource.kind, key[1], found)
            fresh["status"] = definitions.established(fresh, self.now())
        metadata = fresh["metadata"] = dict(fresh["metadata"])
        managed = metadata.get("managedFields") or []
        if not applied:
            base = {**before, "metadata": {**before["metadata"], "managedFields": managed}}
            managed = ownership.track_update(resource, base, fresh, options.manager, subresource, self.now())
        if managed:
            metadata["managedFields"] = managed
        else:
            metadata.pop("managedFields", None)
        revision = self._store(resource, key, fresh, options)
        if writes.is_to_go(metadata) and not options.dry_run:
            return self._remove(resource, key)
        return revision

    def _apply(
        self, resource: Resource, key: Key, subresource: str, body: Any, options: Options
    ) -> tuple[Revision, bool]:
        sent = writes.place(resource, writes.read_object(resource, body, options.reading), key[0], key[1])
        if "managedFields" in sent["metadata"]:
            raise status.bad_request("metadata.managedFields must be nil")
        old = self.store.get(resource.collection, key)
        live = self.shown(resource, old) if old is not None else None
        # Ownership is of what the client wrote: defaults that reading adds are nobody's wish.
        given = {**prune(resource.structure, body, "", []), "metadata": sent["metadata"]}
        version = sent["metadata"].get("resourceVersion")
        merged = ownership.apply(resource, live, given, options.manager, subresource, self.now(), options.force)
        if old is None:
            if subresource:
                raise status.not_found(resource.group, resource.plural, key[1])
            fresh = writes.finish_reading(resource, merged, Reading("Ignore"))
            return self._create(resource, key[0], fresh, options, applied=True), True
        if version:
            merged["metadata"]["resourceVersion"] = version
        fresh = writes.finish_reading(resource, merged, Reading("Ignore"))
        return (
            self._update(resource, key, subresource, old, fresh, options, whole=False, applied=True),
            False,
        )

    def delete(self, resource: Resource, key: Key, deletion: Deletion) -> tuple[Revision, bool]:
        """The object's last revision and whether it is gone; if not, finalizers keep it, or a pod may end by itself."""
        revision = self.get(resource, *key)
        metadata = revision.object["metadata"]
        writes.check_preconditions(resource, metadata, deletion.preconditions)
        if resource.collection == NAMESPACES and key[1] in _PERMANENT:
            raise status.denied("", NAMESPACES, key[1], "this namespace may not be deleted")
        finalizers = self._finalizers(resource, metadata, deletion.propagation)
        grace = self._grace(resource, revision.object, deletion)
        if deletion.dry_run:
            return revision, not finalizers and not grace
        if not finalizers and not grace and not self._cleaned_up_after(resource):
            return self._remove(resource, key), True
        marked = writes.mark_deleted(revision.object, finalizers, self.later(grace), grace)
        if resource.collection == NAMESPACES:
            marked = {**marked, "status": {**(marked.get("status") or {}), "phase": "Terminating"}}
        if marked is revision.object:
            return revision, False
        marked["metadata"] = dict(marked["metadata"])
        if not finalizers:
            marked["metadata"].pop("finalizers", None)
        return self.store.put(resource.collection, key, marked), False

    def _grace(self, resource: Resource, obj: Object, deletion: Deletion) -> int:
        """Seconds that a pod on a node may take to end; whoever runs it then deletes it with 0."""
        if resource.collection != "pods":
            return 0
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if deletion.grace_seconds is not None:
            return max(0, deletion.grace_seconds)
        return int(spec.get("terminationGracePeriodSeconds", 30))

    def _cleaned_up_after(self, resource: Resource) -> bool:
        return resource.collection == NAMESPACES

    def _finalizers(self, resource: Resource, metadata: Object, propagation: str) -> list[str]:
        finalizers = [name for name in metadata.get("finalizers") or () if name not in ("orphan", "foregroundDeletion")]
        if propagation == "Orphan":
            finalizers.append("orphan")
        elif propagation == "Foreground":
            finalizers.append("foregroundDeletion")
        if resource.collection == DEFINITIONS and _CRD_FINALIZER not in finalizers:
            finalizers.append(_CRD_FINALIZER)
        return finalizers

    def _remove(self, resource: Resource, key: Key) -> Revision:
        return self.store.delete(resource.collection, key)

    def release(self, collection: str, key: Key, finalizer: str) -> None:
        """Take one of the server's own finalizers off; without any left the object goes."""
        revision = self.store.get(collection, key)
        if revision is None:
            return
        metadata = dict(revision.object["metadata"])
        left = [name for name in metadata.get("finalizers") or () if name != finalizer]
        if not left and "deletionTimestamp" in metadata:
            if collection == DEFINITIONS:
                spec = revision.object["spec"]
                self.registry.remove(spec["group"], spec["names"]["plural"])
                self.store.delete(collection, key)
                self.store.drop(f"{spec['names']['plural']}.{spec['group']}")
            else:
                self.store.delete(collection, key)
            return
        metadata["finalizers"] = left
        self.store.put(collection, key, {**revision.object, "metadata": metadata})

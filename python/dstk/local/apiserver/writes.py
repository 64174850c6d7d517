"""What a write makes of an object: pure functions from request and stored state to the next state.

Rules of metadata, generation, finalizers and subresources follow kube-apiserver; nothing here reads a clock, makes a
name or touches the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dstk.local.apiserver import formats, status
from dstk.local.apiserver.resource import Object, Resource
from dstk.local.apiserver.rules import check_rules
from dstk.local.apiserver.schema import META_FIELDS, fill_defaults, prune
from dstk.local.apiserver.status import FieldError
from dstk.local.apiserver.validation import validate

_CONDITIONAL = frozenset({"leases.coordination.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"})
_NOT_SPEC = frozenset({"apiVersion", "kind", "metadata", "status"})
_META_STRINGS = ("name", "namespace", "generateName", "uid", "resourceVersion")

_BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_POD_CHANGEABLE = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"})
_POD_UPDATES = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


@dataclass(slots=True)
class Reading:
    """How strictly a body is read (`fieldValidation`), and the warnings that reading it gave."""

    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


def read_object(resource: Resource, body: Any, reading: Reading, old: Object | None = None) -> Object:
    """The object in a request's body: of the right kind, unknown fields pruned, defaults filled in.

    What is shared with `old`, an object read before (a patch shares what it does not touch), is taken as it is.

    Raises Refusal 400 for what is no such object and, with Strict, for unknown fields.
    """
    if type(body) is not dict:
        raise status.bad_request("the object provided is unrecognized: a JSON object is needed")
    api_version, kind = body.get("apiVersion"), body.get("kind")
    if not kind:
        if not resource.builtin:
            raise status.bad_request(f"Object 'Kind' is missing in '{status.go_value(body)[:200]}'")
        body = {**body, "kind": resource.kind}
    elif kind != resource.kind:
        raise status.bad_request(
            f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: "
            f'the object provided is a "{kind}"'
        )
    if not api_version:
        if not resource.builtin:
            raise status.bad_request(f"Object 'apiVersion' is missing in '{status.go_value(body)[:200]}'")
        body = {**body, "apiVersion": resource.api_version}
    elif api_version != resource.api_version:
        raise status.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    return finish_reading(resource, body, reading, old)


def finish_reading(resource: Resource, body: Object, reading: Reading, old: Object | None = None) -> Object:
    """Prune and default a whole object; report what was pruned as `reading.validation` asks."""
    unknown: list[str] = []
    kept = prune(resource.structure, body, "", unknown, old)
    metadata = kept.get("metadata")
    if metadata is None:
        metadata = {}
    if type(metadata) is not dict:
        raise status.bad_request(f"{resource.kind} cannot be read: metadata must be an object")
    _check_metadata_types(resource, metadata)
    foreign = metadata.keys() - META_FIELDS
    if foreign:
        unknown += [f"metadata.{name}" for name in sorted(foreign)]
        metadata = {name: value for name, value in metadata.items() if name in META_FIELDS}
    if unknown and reading.validation != "Ignore":
        problems = [f'unknown field "{path}"' for path in unknown]
        if reading.validation == "Strict":
            raise status.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {', '.join(problems)}"
            )
        reading.warnings += problems
    kept = fill_defaults(resource.structure, kept, old)
    return {**kept, "metadata": {name: value for name, value in metadata.items() if value is not None}}


def _check_metadata_types(resource: Resource, metadata: Object) -> None:
    def refuse(path: str, wanted: str, value: Any) -> status.Refusal:
        return status.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"json: cannot unmarshal {type(value).__name__} into field {path} of type {wanted}"
        )

    for name in _META_STRINGS:
        value = metadata.get(name)
        if value is not None and type(value) is not str:
            raise refuse(f"metadata.{name}", "string", value)
    for name in ("labels", "annotations"):
        pairs = metadata.get(name)
        if pairs is None:
            continue
        if type(pairs) is not dict:
            raise refuse(f"metadata.{name}", "map[string]string", pairs)
        for key, value in pairs.items():
            if type(value) is not str:
                raise refuse(f"metadata.{name}.{key}", "string", value)
    for name in ("finalizers", "ownerReferences", "managedFields"):
        value = metadata.get(name)
        if value is not None and type(value) is not list:
            raise refuse(f"metadata.{name}", "list", value)


def place(resource: Resource, obj: Object, namespace: str, name: str | None) -> Object:
    """The object with the namespace and name of its URL. Raises Refusal 400 when it names others itself."""
    metadata = obj["metadata"]
    given = metadata.get("namespace", "")
    if resource.namespaced:
        if given and given != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata = {**metadata, "namespace": namespace}
    elif given:
        raise status.bad_request("namespace specified for a cluster-scoped object")
    if name is not None:
        if metadata.get("name", name) != name:
            raise status.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        metadata["name"] = name
    return {**obj, "metadata": metadata}


def metadata_errors(resource: Resource, metadata: Object) -> list[FieldError]:
    """What is wrong with names, labels, annotations, finalizers and owner references."""
    errors: list[FieldError] = []
    name = metadata.get("name", "")
    if not name:
        errors.append(status.required("metadata.name", "name or generateName is required"))
    else:
        problem = formats.name_problem(name, resource.label_names)
        if problem:
            errors.append(status.invalid_value("metadata.name", name, problem))
    for key, value in (metadata.get("labels") or {}).items():
        problem = formats.qualified_name_problem(key)
        if problem:
            errors.append(status.invalid_value("metadata.labels", key, problem))
        problem = formats.label_value_problem(value)
        if problem:
            errors.append(status.invalid_value("metadata.labels", value, problem))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        problem = formats.qualified_name_problem(key.lower())
        if problem:
            errors.append(status.invalid_value("metadata.annotations", key, problem))
    if sum(len(key) + len(value) for key, value in annotations.items()) > 256 * 1024:
        errors.append(status.too_long("metadata.annotations", 256 * 1024))
    for at, reference in enumerate(metadata.get("ownerReferences") or ()):
        for needed in ("apiVersion", "kind", "name", "uid"):
            if type(reference) is not dict or not reference.get(needed):
                where = f"metadata.ownerReferences[{at}].{needed}"
                errors.append(status.invalid_value(where, "", "must not be empty"))
    return errors


def check_object(resource: Resource, obj: Object, old: Object | None, errors: list[FieldError]) -> None:
    """Append what the schema and the rules have against an object. Rules are not asked about one of another shape."""
    structure = resource.structure
    validate(structure, obj, "", errors, old)
    if not any(error.reason in _BLOCKING for error in errors):
        check_rules(structure, obj, old, "", errors)
    elif structure.rules or structure.rules_below:
        errors.append(status.invalid_value("<nil>", None, _UNCHECKED))
    if resource.collection == "pods" and old is not None and _fixed(obj) != _fixed(old):
        errors.append(status.forbidden("spec", _POD_UPDATES))


def _fixed(pod: Object) -> Object:
    """What of a Pod's spec nobody can change."""
    spec = {name: value for name, value in pod.get("spec", {}).items() if name not in _POD_CHANGEABLE}
    for name in ("containers", "initContainers"):
        if name in spec:
            spec[name] = [{**container, "image": ""} for container in spec[name]]
    return spec


def create(resource: Resource, obj: Object, uid: str, now: str) -> Object:
    """The object as first stored. Raises Refusal 422 with everything that is wrong with it."""
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if name not in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
    }
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now
    if resource.counts_generation:
        metadata["generation"] = 1
    fresh = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **obj, "metadata": metadata}
    if "status" in resource.subresources and not resource.builtin:
        fresh.pop("status", None)
    errors = metadata_errors(resource, metadata)
    check_object(resource, fresh, None, errors)
    if errors:
        raise status.invalid(resource.group, resource.kind, metadata.get("name", ""), errors)
    return fresh


def update(resource: Resource, old: Object, sent: Object, subresource: str, *, whole: bool) -> Object:
    """The next state of `old` given the object a client wants; `old` itself when nothing changes.

    `whole` says that the client sent all of it (PUT), so a resourceVersion may be demanded.
    Raises Refusal 409 for a resourceVersion that is not the current one, 422 for what is wrong with the object.
    """
    before, metadata = old["metadata"], sent["metadata"]
    _check_versions(resource, before, metadata, whole)
    if subresource == "status":
        fresh = {name: value for name, value in old.items() if name != "status"}
        if "status" in sent:
            fresh["status"] = sent["status"]
        after = dict(before)
        _carry_managers(before, metadata, after)
    else:
        fresh = dict(sent)
        if "status" in resource.subresources:
            fresh.pop("status", None)
            if "status" in old:
                fresh["status"] = old["status"]
        after = _carried(before, metadata)
        if resource.counts_generation and _spec_changed(resource, old, fresh):
            after["generation"] = before.get("generation", 0) + 1
    fresh["metadata"] = after
    if after == before and all(fresh.get(name) == old.get(name) for name in fresh.keys() | old.keys()):
        return old
    errors = _transition_errors(before, after, metadata)
    if after != before:
        errors += metadata_errors(resource, after)
    check_object(resource, fresh, old, errors)
    if errors:
        raise status.invalid(resource.group, resource.kind, before["name"], errors)
    return fresh


def _check_versions(resource: Resource, before: Object, metadata: Object, whole: bool) -> None:
    version = metadata.get("resourceVersion", "")
    uid = metadata.get("uid")
    if uid and uid != before["uid"]:
        raise status.conflict(
            resource.group,
            resource.plural,
            before["name"],
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}",
        )
    if not version or version == "0":
        if whole and (not resource.builtin or resource.collection in _CONDITIONAL):
            error = status.FieldError(
                "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update"
            )
            raise status.invalid(resource.group, resource.kind, before["name"], [error])
    elif version != before["resourceVersion"]:
        raise status.conflict(resource.group, resource.plural, before["name"])


def _carried(before: Object, sent: Object) -> Object:
    """Metadata after an update: the client's, but for what only the server sets."""
    after = dict(sent)
    for name in (
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        if name in before:
            after[name] = before[name]
        else:
            after.pop(name, None)
    _carry_managers(before, sent, after)
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in after and not after[name]:
            del after[name]
    return after


def _carry_managers(before: Object, sent: Object, after: Object) -> None:
    """managedFields stay unless a client sends others; an empty list or `[{}]` resets them."""
    entries = sent.get("managedFields", before.get("managedFields"))
    after.pop("managedFields", None)
    entries = [entry for entry in entries or () if entry]
    if entries:
        after["managedFields"] = entries


def _spec_changed(resource: Resource, old: Object, fresh: Object) -> bool:
    ignored = _NOT_SPEC if "status" in resource.subresources else _NOT_SPEC - {"status"}
    return any(fresh.get(name) != old.get(name) for name in (fresh.keys() | old.keys()) - ignored)


def _transition_errors(before: Object, after: Object, sent: Object) -> list[FieldError]:
    if "deletionTimestamp" not in before:
        return []
    fresh = [name for name in after.get("finalizers") or () if name not in (before.get("finalizers") or ())]
    if not fresh:
        return []
    quoted = ", ".join(status.go_value(name) for name in fresh)
    return [
        status.forbidden(
            "metadata.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{quoted}}}",
        )
    ]


def is_to_go(metadata: Object) -> bool:
    """Is the object deleted, and nothing left to wait for?"""
    waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return "deletionTimestamp" in metadata and not waits


def mark_deleted(old: Object, finalizers: list[str], at: str, grace_seconds: int = 0) -> Object:
    """`old` as an object that waits for its finalizers or its process; `old` itself when it already does."""
    before = old["metadata"]
    if "deletionTimestamp" in before and before.get("finalizers", []) == finalizers:
        return old
    metadata = {**before, "finalizers": finalizers}
    if "deletionTimestamp" not in before:
        metadata["deletionTimestamp"] = at
        metadata["deletionGracePeriodSeconds"] = grace_seconds
        if "generation" in before:
            metadata["generation"] = before["generation"] + 1
    return {**old, "metadata": metadata}


def check_preconditions(resource: Resource, metadata: Object, preconditions: Any) -> None:
    """Raises Refusal 409 when a DELETE was meant for another object or revision."""
    if type(preconditions) is not dict:
        return
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid is not None and uid != metadata["uid"]:
        raise status.conflict(
            resource.group,
            resource.kind,
            metadata["name"],
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated",
        )
    if version is not None and version != metadata["resourceVersion"]:
        raise status.conflict(
            resource.group,
            resource.kind,
            metadata["name"],
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified",
        )

"""What an HTTP request asks for: its path, query and media types taken apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dstk.local.apiserver import protobuf, status
from dstk.local.apiserver.api import PATCH_TYPES, Deletion, Options
from dstk.local.apiserver.writes import Reading

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SUBRESOURCES = frozenset({"eviction", "finalize", "scale", "status"})
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_VALIDATIONS = ("Ignore", "Strict", "Warn")

JSON = "application/json"
BODY_LIMIT = 3 << 20


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """`/apis/dstk.io/v1alpha1/namespaces/default/partitions/p1/status` in parts; absent parts are empty."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str


def resource_path(path: str) -> ResourcePath | None:
    """The parts of a resource's path; None for a path that is none."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in _SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return ResourcePath(group, version, namespace, plural, name, subresource)


def check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a web page in a local browser may send: a foreign Host (DNS rebinding) or a foreign Origin.

    Whoever has an account on this machine is trusted; nobody else gets through loopback.
    Raises Refusal 403.
    """
    host = headers.get("Host", "")
    name = urlsplit(f"//{host}").hostname
    if name not in _LOOPBACK:
        raise status.Refusal(403, "Forbidden", f"Host {host!r} is not this machine's loopback address")
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).hostname not in _LOOPBACK:
        raise status.Refusal(403, "Forbidden", f"requests from pages of {origin!r} are not served")


def is_true(value: str | None) -> bool:
    return value in _TRUE


def number(query: Mapping[str, str], name: str) -> int:
    """A whole number of a query, 0 when absent. Raises Refusal 400 for anything else."""
    text = query.get(name) or "0"
    if not text.isdigit():
        raise status.bad_request(f'invalid value for {name}: "{text}" is no whole number')
    return int(text)


def write_options(query: Mapping[str, str], headers: Mapping[str, str], verb: str) -> Options:
    """Options of a write. Raises Refusal 422 for values that are none."""
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        error = status.not_supported("fieldValidation", validation, _VALIDATIONS)
        raise status.invalid("meta.k8s.io", f"{verb}Options", "", [error])
    manager = query.get("fieldManager") or headers.get("User-Agent", "").partition("/")[0] or "unknown"
    return Options(manager[:128], _dry_run(query.get("dryRun"), verb), is_true(query.get("force")), Reading(validation))


def _dry_run(value: str | None, verb: str) -> bool:
    if value not in (None, "", "All"):
        error = status.not_supported("dryRun", value, ("All",))
        raise status.invalid("meta.k8s.io", f"{verb}Options", "", [error])
    return value == "All"


def deletion(query: Mapping[str, str], body: bytes, content_type: str = JSON) -> Deletion:
    """What a DELETE asks for, in its body or its query."""
    options: Any = decoded(body, Reading("Ignore"), content_type) if body.strip() else {}
    if type(options) is not dict:
        raise status.bad_request("decoded object cannot be converted to DeleteOptions")
    propagation = options.get("propagationPolicy") or query.get("propagationPolicy")
    if propagation is None:
        propagation = (
            "Orphan" if options.get("orphanDependents") or is_true(query.get("orphanDependents")) else "Background"
        )
    if propagation not in ("Background", "Foreground", "Orphan"):
        error = status.not_supported("propagationPolicy", propagation, ("Background", "Foreground", "Orphan"))
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", [error])
    asked = options.get("dryRun")
    dry_run = _dry_run(asked[0] if isinstance(asked, list) and asked else query.get("dryRun"), "Delete")
    grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    if grace is not None and not str(grace).removeprefix("-").isdecimal():
        raise status.bad_request(f"gracePeriodSeconds {grace!r} is no whole number")
    return Deletion(propagation, options.get("preconditions"), dry_run, None if grace is None else int(grace))


def eviction(name: str, body: bytes, content_type: str = JSON) -> Deletion:
    """The deletion that an Eviction asks for. Raises Refusal 400."""
    asked = decoded(body, Reading("Ignore"), content_type)
    if type(asked) is not dict or asked.get("kind") != "Eviction":
        raise status.bad_request("an Eviction of policy/v1 is expected")
    named = (asked.get("metadata") or {}).get("name")
    if named != name:
        raise status.bad_request(f"name in URL does not match name in Eviction object: {name} and {named}")
    return deletion({}, json.dumps(asked.get("deleteOptions") or {}).encode())


def decoded(body: bytes, reading: Reading, content_type: str = JSON) -> Any:
    """A body in JSON or protobuf, as its type says; none counts as JSON. With Strict, a field given twice is an error.

    Raises Refusal 400, and 415 for a body in another form or in protobuf that is not read here.
    """
    if content_type == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decoded(body)
        except protobuf.NotReadable as error:
            raise status.unsupported_media_type(content_type, [JSON], str(error)) from None
    if content_type not in (JSON, "application/octet-stream"):
        raise status.unsupported_media_type(content_type, [JSON, protobuf.MEDIA_TYPE])
    try:
        if reading.validation == "Strict":
            return json.loads(body, object_pairs_hook=_no_duplicates)
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise status.bad_request(f"error decoding the body: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'strict decoding error: duplicate field "{twice}"')
    return found


def decoded_yaml(body: bytes) -> Any:
    """A body that may be YAML, as applies send it. Raises Refusal 400."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        pass
    import yaml

    try:
        return yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise status.bad_request(f"error decoding YAML: {error}") from None


def patch_kind(content_type: str, *, builtin: bool) -> str:
    """Which patch a media type names. Raises Refusal 415 for others, and for strategic ones of custom resources."""
    kind = PATCH_TYPES.get(content_type)
    if kind is None or (kind == "strategic" and not builtin):
        known = [name for name, what in PATCH_TYPES.items() if builtin or what != "strategic"]
        raise status.unsupported_media_type(content_type, known)
    return kind


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of the answer: plain JSON, a Table, or metadata alone."""

    form: str
    media_type: str


def accepted(accept: str) -> Accepted:
    """The first form in an Accept header that this server has. Raises Refusal 406 when there is none."""
    if not accept:
        return Accepted("json", JSON)
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        wanted = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media not in (JSON, "application/*", "*/*", "application/yaml"):
            continue
        if media == "application/yaml":
            continue
        form = wanted.get("as", "")
        if form == "Table" and wanted.get("v") == "v1":
            return Accepted("table", f"{JSON};as=Table;g=meta.k8s.io;v=v1")
        if form in ("PartialObjectMetadata", "PartialObjectMetadataList") and wanted.get("v") == "v1":
            return Accepted("metadata", f"{JSON};as={form};g=meta.k8s.io;v=v1")
        if not form:
            return Accepted("json", JSON)
    raise status.not_acceptable([JSON])

"""Bodies in Kubernetes' protobuf form, which kubectl and other typed clients send for built-in kinds, read as JSON.

Four bytes, then an envelope (`runtime.Unknown`) with apiVersion, kind and the object. Only what is read is known here:
the kinds that such clients create, replace, delete and evict. Field numbers are part of Kubernetes' API and never
change. Answers are JSON, which these clients accept as well.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class NotReadable(Exception):
    """The body is no such object, or one of a kind or with a field that is not known here."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `read` makes JSON of its content; `kept` says that a zero was meant, as in Go a pointer tells."""

    name: str
    read: Callable[[Any], Any]
    wire: int = _BYTES
    many: bool = False
    map: bool = False
    kept: bool = False


Message = Mapping[int, Field]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise NotReadable(f"a text is no UTF-8: {error}") from None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _number(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _message(fields: Message) -> Callable[[bytes], dict[str, Any]]:
    return lambda content: _decoded(content, fields)


def _time(content: bytes) -> str | None:
    """RFC 3339 of seconds and nanoseconds since 1970, None for Go's zero time, which is sent as nothing."""
    found = _decoded(content, _TIME)
    if not found:
        return None
    try:
        whole = datetime.datetime.fromtimestamp(found.get("seconds", 0), datetime.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise NotReadable(f"a time is none: {error}") from None
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(content: bytes) -> int | str:
    found = _decoded(content, _INT_OR_STRING)
    value: int | str = found.get("text", "") if found.get("type") else found.get("number", 0)
    return value


def _raw_json(content: bytes) -> Any:
    try:
        return msgspec.json.decode(_decoded(content, _FIELDS_V1).get("raw", b"{}"))
    except msgspec.DecodeError as error:
        raise NotReadable(f"a field set is no JSON: {error}") from None


def _string(name: str, *, kept: bool = False) -> Field:
    return Field(name, _text, kept=kept)


def _strings(name: str) -> Field:
    return Field(name, _text, many=True)


def _int(name: str, *, kept: bool = False) -> Field:
    return Field(name, _number, _VARINT, kept=kept)


def _bool(name: str, *, kept: bool = False) -> Field:
    return Field(name, bool, _VARINT, kept=kept)


def _one(name: str, fields: Message) -> Field:
    return Field(name, _message(fields))


def _list(name: str, fields: Message) -> Field:
    return Field(name, _message(fields), many=True)


def _texts_by_name(name: str) -> Field:
    return Field(name, _message({1: _string("key", kept=True), 2: _string("value", kept=True)}), map=True)


def _bytes_by_name(name: str) -> Field:
    return Field(name, _message({1: _string("key", kept=True), 2: Field("value", _base64, kept=True)}), map=True)


_TIME: Final[Message] = {1: _int("seconds"), 2: _int("nanos")}
_INT_OR_STRING: Final[Message] = {1: _int("type"), 2: _int("number"), 3: _string("text")}
_FIELDS_V1: Final[Message] = {1: Field("raw", bytes)}

_OWNER: Final[Message] = {
    1: _string("kind"),
    3: _string("name"),
    4: _string("uid"),
    5: _string("apiVersion"),
    6: _bool("controller", kept=True),
    7: _bool("blockOwnerDeletion", kept=True),
}

_MANAGER: Final[Message] = {
    1: _string("manager"),
    2: _string("operation"),
    3: _string("apiVersion"),
    4: Field("time", _time),
    6: _string("fieldsType"),
    7: Field("fieldsV1", _raw_json),
    8: _string("subresource"),
}

_METADATA: Final[Message] = {
    1: _string("name"),
    2: _string("generateName"),
    3: _string("namespace"),
    4: _string("selfLink"),
    5: _string("uid"),
    6: _string("resourceVersion"),
    7: _int("generation"),
    8: Field("creationTimestamp", _time),
    9: Field("deletionTimestamp", _time),
    10: _int("deletionGracePeriodSeconds", kept=True),
    11: _texts_by_name("labels"),
    12: _texts_by_name("annotations"),
    13: _list("ownerReferences", _OWNER),
    14: _strings("finalizers"),
    17: _list("managedFields", _MANAGER),
}

_CONDITION: Final[Message] = {
    1: _string("type"),
    2: _string("status"),
    3: _int("observedGeneration"),
    4: Field("lastTransitionTime", _time),
    5: _string("reason"),
    6: _string("message"),
}

_REFERENCE: Final[Message] = {
    1: _string("kind"),
    2: _string("namespace"),
    3: _string("name"),
    4: _string("uid"),
    5: _string("apiVersion"),
    6: _string("resourceVersion"),
    7: _string("fieldPath"),
}

_PORT: Final[Message] = {
    1: _string("name"),
    2: _string("protocol"),
    3: _int("port"),
    4: Field("targetPort", _int_or_string),
    5: _int("nodePort"),
    6: _string("appProtocol", kept=True),
}

_SERVICE: Final[Message] = {
    1: _list("ports", _PORT),
    2: _texts_by_name("selector"),
    3: _string("clusterIP"),
    4: _string("type"),
    5: _strings("externalIPs"),
    7: _string("sessionAffinity"),
    8: _string("loadBalancerIP"),
    9: _strings("loadBalancerSourceRanges"),
    10: _string("externalName"),
    11: _string("externalTrafficPolicy"),
    12: _int("healthCheckNodePort"),
    13: _bool("publishNotReadyAddresses"),
    14: _one("sessionAffinityConfig", {1: _one("clientIP", {1: _int("timeoutSeconds", kept=True)})}),
    17: _string("ipFamilyPolicy", kept=True),
    18: _strings("clusterIPs"),
    19: _strings("ipFamilies"),
    20: _bool("allocateLoadBalancerNodePorts", kept=True),
    21: _string("loadBalancerClass", kept=True),
    22: _string("internalTrafficPolicy", kept=True),
    23: _string("trafficDistribution", kept=True),
}

_DELETION: Final[Message] = {
    1: _int("gracePeriodSeconds", kept=True),
    2: _one("preconditions", {1: _string("uid", kept=True), 2: _string("resourceVersion", kept=True)}),
    3: _bool("orphanDependents", kept=True),
    4: _string("propagationPolicy", kept=True),
    5: _strings("dryRun"),
}


def _object(fields: Message) -> Message:
    return {1: _one("metadata", _METADATA), **fields}


KINDS: Final[Mapping[tuple[str, str], Message]] = {
    ("v1", "ConfigMap"): _object(
        {2: _texts_by_name("data"), 3: _bytes_by_name("binaryData"), 4: _bool("immutable", kept=True)}
    ),
    ("v1", "Namespace"): _object(
        {
            2: _one("spec", {1: _strings("finalizers")}),
            3: _one("status", {1: _string("phase"), 2: _list("conditions", _CONDITION)}),
        }
    ),
    ("v1", "Secret"): _object(
        {
            2: _bytes_by_name("data"),
            3: _string("type"),
            4: _texts_by_name("stringData"),
            5: _bool("immutable", kept=True),
        }
    ),
    ("v1", "Service"): _object(
        {
            2: _one("spec", _SERVICE),
            3: _one("status", {1: _one("loadBalancer", {}), 2: _list("conditions", _CONDITION)}),
        }
    ),
    ("v1", "ServiceAccount"): _object(
        {
            2: _list("secrets", _REFERENCE),
            3: _list("imagePullSecrets", {1: _string("name")}),
            4: _bool("automountServiceAccountToken", kept=True),
        }
    ),
    ("v1", "DeleteOptions"): _DELETION,
    ("meta.k8s.io/v1", "DeleteOptions"): _DELETION,
    ("policy/v1", "Eviction"): _object({2: _one("deleteOptions", _DELETION)}),
}
"""What is read, by apiVersion and kind."""

_ENVELOPE: Final[Message] = {
    1: _one("type", {1: _string("apiVersion"), 2: _string("kind")}),
    2: Field("raw", bytes),
    3: _string("contentEncoding"),
    4: _string("contentType"),
}


def decoded(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises NotReadable."""
    if not body.startswith(_MAGIC):
        raise NotReadable("it does not begin with k8s and a zero byte")
    envelope = _decoded(body[len(_MAGIC) :], _ENVELOPE)
    about = envelope.get("type", {})
    api_version, kind = about.get("apiVersion", ""), about.get("kind", "")
    fields = KINDS.get((api_version, kind))
    if fields is None:
        known = ", ".join(sorted({name for _, name in KINDS}))
        raise NotReadable(
            f"{kind or 'an object'} of {api_version or 'no apiVersion'} is read as JSON only, not as {known}"
        )
    return {"apiVersion": api_version, "kind": kind, **_decoded(envelope.get("raw", b""), fields)}


def _decoded(content: bytes, fields: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, wire, value in _wires(content):
        field = fields.get(number)
        if field is None or field.wire != wire:
            raise NotReadable(f"field {number} of wire type {wire} is not known here: send JSON")
        said = field.read(value)
        if field.map:
            found.setdefault(field.name, {})[said.get("key", "")] = said.get("value", "")
        elif field.many:
            found.setdefault(field.name, []).append(said)
        elif field.kept or said not in (None, "", 0, {}):  # 0 == False
            found[field.name] = said
    return found


def _wires(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and content of each field, in the order in which they come."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        wire = tag & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(content, at)
        else:
            if wire == _BYTES:
                length, at = _varint(content, at)
            elif wire in (_FIXED64, _FIXED32):
                length = 8 if wire == _FIXED64 else 4
            else:
                raise NotReadable(f"wire type {wire} at byte {at}")
            if at + length > len(content):
                raise NotReadable(f"it ends {at + length - len(content)} bytes too early")
            value, at = content[at : at + length], at + length
        yield tag >> 3, wire, value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise NotReadable("it ends within a number")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise NotReadable(f"a number has more than ten bytes, before byte {at}")

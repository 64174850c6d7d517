"""Typed resources from and to what the Kubernetes API sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from dstk.api.assignment import Assignment
from dstk.api.group import API_VERSION
from dstk.api.keyspace import Keyspace
from dstk.api.partition import Partition
from dstk.errors import InvalidRequest

__all__ = ["KINDS", "Resource", "decode", "encode", "to_dict"]

Resource = Keyspace | Partition | Assignment
R = TypeVar("R", Keyspace, Partition, Assignment)

KINDS: Final[Mapping[str, type[Keyspace] | type[Partition] | type[Assignment]]] = {
    "Keyspace": Keyspace,
    "Partition": Partition,
    "Assignment": Assignment,
}


def decode(type_: type[R], object_: Mapping[str, Any] | bytes | str) -> R:
    """The typed resource of a decoded object (any mapping) or of JSON text. Unknown fields are left out.

    Raises InvalidRequest, naming the object and the field, for what the CRD's schema would refuse, or another kind.
    """
    try:
        if isinstance(object_, (bytes, str)):
            return msgspec.json.decode(object_, type=type_)
        return msgspec.convert(object_ if isinstance(object_, dict) else dict(object_), type_)
    except msgspec.MsgspecError as error:
        name = ""
        if isinstance(object_, Mapping):
            metadata = object_.get("metadata")
            name = f' "{metadata.get("name", "")}"' if isinstance(metadata, Mapping) else ""
        raise InvalidRequest(f"{type_.__name__}{name}: {error}") from error


def to_dict(resource: msgspec.Struct) -> dict[str, Any]:
    """Plain JSON types, as the API takes them; fields that have their default are left out.

    A whole resource gets its apiVersion and kind. Any part of one (a spec, a status) can be given too.
    """
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(resource))
    if isinstance(resource, Resource):
        return {"apiVersion": API_VERSION, **{name: value for name, value in plain.items() if value != {}}}
    return plain


def encode(resource: msgspec.Struct) -> bytes:
    """`to_dict` as JSON."""
    return msgspec.json.encode(to_dict(resource))

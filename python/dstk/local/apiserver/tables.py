"""`Table` answers: what `kubectl get` prints, row by row."""

from __future__ import annotations

import datetime
from typing import Any

from dstk.local.apiserver.jsonpath import compile_path, text_of
from dstk.local.apiserver.resource import Column, Object, Resource

_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow "
    "a client to request the generation of an appropriate name automatically. Name is primarily intended for "
    "creation idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
    "guaranteed to be set in happens-before order across separate operations. Clients may not set this value. "
    "It is represented in RFC3339 form and is in UTC."
)


def age(text: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was, in kubectl's short form: 5s, 3m20s, 4h, 2d3h, 1y20d."""
    if not text:
        return "<unknown>"
    try:
        then = datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return "<invalid>"
    return short_duration(int(now - then))


def short_duration(seconds: int) -> str:
    """A span of time in kubectl's short form: two units where the first one is small."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days, years = seconds // 60, seconds // 3600, seconds // 86400, seconds // (365 * 86400)
    if minutes < 10:
        return f"{minutes}m{rest}s" if (rest := seconds % 60) else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{rest}m" if (rest := minutes % 60) else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{rest}h" if (rest := hours % 24) else f"{days}d"
    if days < 730:
        return f"{days}d"
    if years < 8:
        return f"{years}y{rest}d" if (rest := days % 365) else f"{years}y"
    return f"{years}y"


NAME = Column("Name", "string", lambda obj, _: obj["metadata"]["name"], format="name", description=_NAME_TEXT)
AGE = Column(
    "Age", "string", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now), description=_AGE_TEXT
)
CREATED = Column("Created At", "date", lambda obj, _: obj["metadata"].get("creationTimestamp"), description=_AGE_TEXT)


def path_column(raw: dict[str, Any]) -> Column:
    """One of a definition's `additionalPrinterColumns`. Raises ValueError for a path that cannot be read."""
    find = compile_path(raw["jsonPath"])
    kind = raw["type"]

    def cell(obj: Object, now: float) -> Any:
        found = find(obj)
        if not found or found[0] is None:
            return None
        value = found[0]
        match kind:
            case "date":
                return age(value, now) if isinstance(value, str) else None
            case "integer":
                return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
            case "number":
                return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
            case "boolean":
                return value if isinstance(value, bool) else None
            case _:
                return text_of(value)

    return Column(
        raw["name"],
        kind,
        cell,
        format=raw.get("format", ""),
        description=raw.get("description")
        or "Custom resource definition column (in JSONPath format): " + raw["jsonPath"],
        priority=raw.get("priority", 0),
    )


def definitions(resource: Resource) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in resource.columns
    ]


def row(resource: Resource, obj: Object, include: str, now: float) -> dict[str, Any]:
    """One row; `include` is the request's includeObject: Metadata, Object or None."""
    cells = [column.cell(obj, now) for column in resource.columns]
    match include:
        case "Object":
            return {"cells": cells, "object": obj}
        case "None":
            return {"cells": cells, "object": None}
        case _:
            return {"cells": cells, "object": partial_metadata(obj)}


def partial_metadata(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def table(
    resource: Resource,
    objects: list[Object],
    metadata: dict[str, Any],
    include: str,
    now: float,
    *,
    headers: bool = True,
) -> dict[str, Any]:
    """A whole Table; watches leave the headers out after the first."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions(resource) if headers else [],
        "rows": [row(resource, obj, include, now) for obj in objects],
    }

"""Objects against the generated CRDs, as an API server admits them: defaults, schema, rules."""

from __future__ import annotations

from typing import Any

from dstk.api import crds
from dstk.local.apiserver import definitions
from dstk.local.apiserver.resource import Resource
from dstk.local.apiserver.rules import check_rules
from dstk.local.apiserver.schema import fill_defaults
from dstk.local.apiserver.status import FieldError
from dstk.local.apiserver.validation import validate

Json = dict[str, Any]


def _resources() -> dict[str, Resource]:
    found = {}
    for crd in crds():
        complete = definitions.complete(crd)
        assert definitions.errors(complete) == []
        (resource,) = definitions.resources(complete)
        found[resource.kind] = resource
    return found


RESOURCES = _resources()


def defaulted(object_: Json) -> Json:
    """What the API server makes of it before it looks at the rules."""
    filled: Json = fill_defaults(RESOURCES[object_["kind"]].structure, object_)
    return filled


def admit(new: Json, old: Json | None = None) -> list[str]:
    """What is wrong with creating ``new``, or with changing ``old`` into it; empty: nothing."""
    structure = RESOURCES[new["kind"]].structure
    errors: list[FieldError] = []
    validate(structure, defaulted(new), "", errors)
    check_rules(structure, defaulted(new), None if old is None else defaulted(old), "", errors)
    return [str(error) for error in errors]

"""CustomResourceDefinitions: what is wrong with one, what it serves, and the status the server gives it."""

from __future__ import annotations

from typing import Any

from dstk.local.apiserver import formats, status
from dstk.local.apiserver.cel import EvaluationError
from dstk.local.apiserver.cel.functions import regex
from dstk.local.apiserver.resource import Object, Registry, Resource, version_priority
from dstk.local.apiserver.schema import Structure
from dstk.local.apiserver.status import FieldError
from dstk.local.apiserver.tables import AGE, NAME, path_column
from dstk.local.apiserver.validation import validate

_TYPES = ("array", "boolean", "integer", "number", "object", "string")


def complete(obj: Object) -> Object:
    """A definition with the names that are derived from others filled in."""
    spec = dict(obj.get("spec") or {})
    names = dict(spec.get("names") or {})
    kind = names.get("kind", "")
    if kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    return {**obj, "spec": spec}


def errors(obj: Object) -> list[FieldError]:
    """What is wrong with a (completed) definition, worded as kube-apiserver words it where it has words for it."""
    spec, found = obj["spec"], []
    names, group = spec["names"], spec.get("group", "")
    for path, value in (
        ("spec.group", group),
        ("spec.names.plural", names.get("plural")),
        ("spec.names.kind", names.get("kind")),
    ):
        if not value:
            found.append(status.required(path))
    if found:
        return found
    wanted = f"{names['plural']}.{group}"
    if obj["metadata"].get("name") != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(status.invalid_value("metadata.name", obj["metadata"].get("name", ""), detail))
    if not formats.DNS_SUBDOMAIN.fullmatch(group) or "." not in group:
        found.append(status.invalid_value("spec.group", group, "should be a domain with at least one dot"))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        found.append(status.not_supported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced")))
    if spec["conversion"].get("strategy") != "None":
        strategy = spec["conversion"].get("strategy", "")
        found.append(status.not_supported("spec.conversion.strategy", strategy, ("None",)))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(status.invalid_value("spec.versions", [v.get("name") for v in versions], detail))
    for at, version in enumerate(versions):
        found += _version_errors(version, f"spec.versions[{at}]")
    return found


def _version_errors(version: dict[str, Any], path: str) -> list[FieldError]:
    if not formats.DNS_LABEL.fullmatch(version.get("name", "")):
        return [status.invalid_value(f"{path}.name", version.get("name", ""), formats.DNS_LABEL_RULE)]
    raw = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(raw, dict):
        return [status.required(f"{path}.schema.openAPIV3Schema", "schemas are required")]
    where = f"{path}.schema.openAPIV3Schema"
    found: list[FieldError] = []
    if raw.get("type") != "object":
        found.append(status.invalid_value(f"{where}.type", raw.get("type", ""), "must be object at the root"))
    _schema_errors(raw, where, found)
    if found:
        return found
    for place, index, error in _structure(raw).compile():
        rule = f"{where}{place}.x-kubernetes-validations[{index}].rule"
        found.append(status.invalid_value(rule, "", f"compilation failed: {error}"))
    for at, column in enumerate(version.get("additionalPrinterColumns") or ()):
        try:
            path_column(column)
        except (KeyError, ValueError) as error:
            place = f"{path}.additionalPrinterColumns[{at}].jsonPath"
            found.append(status.invalid_value(place, column.get("jsonPath", ""), str(error)))
    return found


def _schema_errors(raw: dict[str, Any], path: str, found: list[FieldError]) -> None:
    """Whether a schema is structural: a type on every node, rules and defaults where they may be."""
    kind = raw.get("type")
    free = raw.get("x-kubernetes-int-or-string") or raw.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not free:
        found.append(status.required(f"{path}.type", "must not be empty for specified object fields"))
    elif kind is not None and kind not in _TYPES:
        found.append(status.not_supported(f"{path}.type", kind, _TYPES))
    if raw.get("properties") and raw.get("additionalProperties"):
        detail = "additionalProperties and properties are mutual exclusive"
        found.append(status.forbidden(f"{path}.additionalProperties", detail))
    if kind == "array" and not isinstance(raw.get("items"), dict):
        found.append(status.required(f"{path}.items", "must be specified"))
    if raw.get("pattern"):
        try:
            regex(raw["pattern"])
        except EvaluationError as error:
            found.append(status.invalid_value(f"{path}.pattern", raw["pattern"], str(error)))
    if "default" in raw:
        wrong: list[FieldError] = []
        validate(Structure({**raw, "default": None}), raw["default"], f"{path}.default", wrong)
        found += wrong
    for name, inner in (raw.get("properties") or {}).items():
        if isinstance(inner, dict):
            _schema_errors(inner, f"{path}.properties[{name}]", found)
    for name in ("items", "additionalProperties"):
        if isinstance(raw.get(name), dict):
            _schema_errors(raw[name], f"{path}.{name}", found)


def _structure(raw: dict[str, Any]) -> Structure:
    return Structure(raw, root=True)


def resources(obj: Object) -> list[Resource]:
    """What a valid definition serves, the preferred version first."""
    spec = obj["spec"]
    names, group = spec["names"], spec["group"]
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    served: list[Resource] = []
    for version in sorted(spec["versions"], key=lambda one: version_priority(one["name"])):
        if not version.get("served"):
            continue
        structure = _structure(version["schema"]["openAPIV3Schema"])
        structure.compile()
        extra = version.get("additionalPrinterColumns")
        selectable = {field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()}
        served.append(
            Resource(
                group=group,
                version=version["name"],
                plural=names["plural"],
                singular=names["singular"],
                kind=names["kind"],
                list_kind=names["listKind"],
                namespaced=spec["scope"] == "Namespaced",
                structure=structure,
                columns=(NAME, *map(path_column, extra)) if extra else (NAME, AGE),
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=frozenset((version.get("subresources") or {}).keys()),
                selectable=frozenset(selectable),
                stored_version=f"{group}/{storage}",
                counts_generation=True,
                builtin=False,
            )
        )
    return served


def established(obj: Object, now: str) -> dict[str, Any]:
    """The status of a definition whose names are free: accepted and served."""
    spec = obj["spec"]
    before = obj.get("status") or {}
    kept = {one["type"]: one for one in before.get("conditions") or () if one.get("status") == "True"}

    def condition(kind: str, reason: str, message: str) -> dict[str, Any]:
        since = kept.get(kind, {}).get("lastTransitionTime", now)
        return {"lastTransitionTime": since, "message": message, "reason": reason, "status": "True", "type": kind}

    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    stored = [*(before.get("storedVersions") or ())]
    if storage not in stored:
        stored.append(storage)
    return {
        "acceptedNames": spec["names"],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": stored,
    }


def install(registry: Registry, obj: Object) -> None:
    """Serve what a definition says, in place of what an earlier form of it said."""
    registry.remove(obj["spec"]["group"], obj["spec"]["names"]["plural"])
    for resource in resources(obj):
        registry.add(resource)

"""Who set which field: `metadata.managedFields`, and server-side apply on top of it.

Source: Kubernetes' page "Server-Side Apply"; conflicts, forced ownership and removal of what an applier no longer
mentions follow its rules.
"""

from __future__ import annotations

from typing import Any

from dstk.local.apiserver import fieldsets, status
from dstk.local.apiserver.fieldsets import FieldSet
from dstk.local.apiserver.resource import Resource
from dstk.local.apiserver.schema import Structure

Json = Any
Object = dict[str, Any]
Entry = dict[str, Any]

METADATA = Structure(
    {
        "type": "object",
        "properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {
                "type": "array",
                "items": {"type": "string"},
                "x-kubernetes-list-type": "set",
                "x-kubernetes-patch-strategy": "merge",
            },
            "ownerReferences": {
                "type": "array",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"],
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "uid",
            },
        },
        "x-kubernetes-preserve-unknown-fields": True,
    }
)

_OWNABLE_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


class _Root:
    """The shape of a whole object: metadata has its own, the rest is the resource's."""

    map_type = "granular"

    def __init__(self, structure: Structure) -> None:
        self._structure = structure

    def child(self, name: str) -> Structure | None:
        return METADATA if name == "metadata" else self._structure.child(name)


def root_shape(structure: Structure) -> Structure:
    """A shape for a whole object of `structure`, for the functions of `fieldsets` and `patches`."""
    return _Root(structure)  # type: ignore[return-value]


def _ownable(obj: Object, resource: Resource, subresource: str) -> Object:
    """The part of an object whose fields can be owned through `subresource` (empty: the object itself)."""
    part = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    if subresource == "status":
        return {"status": part["status"]} if "status" in part else {}
    if "status" in resource.subresources:
        part.pop("status", None)
    metadata = {name: obj["metadata"][name] for name in _OWNABLE_METADATA if name in obj["metadata"]}
    if metadata:
        part["metadata"] = metadata
    return part


def _entry(manager: str, operation: str, api_version: str, fields: FieldSet, time: str, subresource: str) -> Entry:
    entry: Entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _belongs(entry: Entry, manager: str, operation: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and entry.get("subresource", "") == subresource
    )


def track_update(
    resource: Resource, old: Object | None, new: Object, manager: str, subresource: str, time: str
) -> list[Entry]:
    """managedFields after `manager` made `new` out of `old` by anything but an apply."""
    entries: list[Entry] = list(old["metadata"].get("managedFields") or ()) if old is not None else []
    shape = root_shape(resource.structure)
    before = _ownable(old, resource, subresource) if old is not None else {}
    changed, removed = fieldsets.difference(shape, before, _ownable(new, resource, subresource))
    if changed is None and removed is None:
        return entries
    kept: list[Entry] = []
    mine: Entry | None = None
    for entry in entries:
        if _belongs(entry, manager, "Update", subresource):
            mine = entry
            continue
        fields: FieldSet | None = entry["fieldsV1"]
        if changed is not None and fields:
            fields = fieldsets.subtract(fields, changed)
        if removed is not None and fields:
            fields = fieldsets.subtract(fields, removed, whole=True)
        if fields:
            kept.append(entry if fields == entry["fieldsV1"] else {**entry, "fieldsV1": fields})
    fields = mine["fieldsV1"] if mine else {}
    if removed is not None:
        fields = fieldsets.subtract(fields, removed, whole=True) or {}
    if changed is not None:
        fields = fieldsets.union(fields, changed)
    if mine is not None and fields is mine["fieldsV1"]:
        return [*kept, mine]
    if fields:
        kept.append(_entry(manager, "Update", resource.api_version, fields, time, subresource))
    return kept


def _merged(node: Structure | None, live: Json, applied: Json) -> Json:
    if fieldsets.granular(node, live) and fieldsets.granular(node, applied):
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = _merged(fieldsets.below(node, name), live[name], value) if name in live else value
        return merged
    if fieldsets.keyed(node, live) and fieldsets.keyed(node, applied) and node is not None:
        theirs, ours = fieldsets.items_by_step(node, live), fieldsets.items_by_step(node, applied)
        items = {step: _merged(node.items, item, ours[step]) if step in ours else item for step, item in theirs.items()}
        return list((items | {step: item for step, item in ours.items() if step not in items}).values())
    return applied


def apply(
    resource: Resource, live: Object | None, applied: Object, manager: str, subresource: str, time: str, force: bool
) -> Object:
    """The object after `manager` applied `applied` to `live` (None: there is none yet), managedFields included.

    Raises Refusal 409 that names every field others own and that would change, unless `force`.
    """
    shape = root_shape(resource.structure)
    wanted = _ownable(applied, resource, subresource)
    wanted_set = fieldsets.of_value(shape, wanted)
    entries: list[Entry] = list(live["metadata"].get("managedFields") or ()) if live is not None else []
    mine = next((entry for entry in entries if _belongs(entry, manager, "Apply", subresource)), None)
    others = [entry for entry in entries if entry is not mine]
    base = _ownable(live, resource, subresource) if live is not None else {}
    merged = _merged(shape, base, wanted)
    changed, _ = fieldsets.difference(shape, base, merged)
    taken: list[tuple[Entry, FieldSet]] = []
    for entry in others:
        common = fieldsets.intersect(entry["fieldsV1"], changed) if changed is not None else None
        if common is not None:
            taken.append((entry, common))
    if taken and not force:
        raise _conflicts(taken)
    for entry, common in taken:
        rest = fieldsets.subtract(entry["fieldsV1"], common)
        at = others.index(entry)
        others[at : at + 1] = [{**entry, "fieldsV1": rest}] if rest else []
    merged = _without_abandoned(shape, merged, mine, wanted_set, others)
    metadata = dict(live["metadata"]) if live is not None else dict(applied["metadata"])
    if subresource != "status":
        for name in _OWNABLE_METADATA:
            metadata.pop(name, None)
        metadata.update(merged.pop("metadata", {}))
    if mine is not None and mine["fieldsV1"] == wanted_set:
        others.insert(entries.index(mine), mine)
    elif wanted_set:
        others.append(_entry(manager, "Apply", resource.api_version, wanted_set, time, subresource))
    metadata["managedFields"] = others
    result: Object = {"apiVersion": applied["apiVersion"], "kind": applied["kind"], "metadata": metadata}
    if live is not None:
        kept = {"status"} if subresource != "status" and "status" in resource.subresources else set()
        if subresource == "status":
            kept = {name for name in live if name != "status"}
        result.update({name: live[name] for name in kept & live.keys() if name not in result})
    return {**result, **merged}


def _without_abandoned(
    shape: Structure, merged: Object, mine: Entry | None, wanted: FieldSet, others: list[Entry]
) -> Object:
    """What this applier owned, no longer mentions, and nobody else owns, goes."""
    if mine is None:
        return merged
    abandoned = fieldsets.subtract(mine["fieldsV1"], wanted)
    for entry in others:
        if abandoned is not None:
            abandoned = fieldsets.subtract(abandoned, entry["fieldsV1"])
    return fieldsets.without(shape, merged, abandoned) if abandoned is not None else merged


def _conflicts(taken: list[tuple[Entry, FieldSet]]) -> status.Refusal:
    causes: list[dict[str, str]] = []
    lines: list[str] = []
    for entry, common in sorted(taken, key=lambda pair: str(pair[0]["manager"])):
        who = f'"{entry["manager"]}"'
        if entry["operation"] == "Update":
            subresource = f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else ""
            who += f"{subresource} using {entry['apiVersion']}"
        paths = sorted(fieldsets.leaves(common))
        lines.append(f"conflicts with {who}:")
        lines += [f"- {path}" for path in paths]
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for path in paths
        ]
    text = f"{causes[0]['message']}: {causes[0]['field']}" if len(causes) == 1 else "\n".join(lines)
    plural = "conflict" if len(causes) == 1 else "conflicts"
    return status.apply_conflict(f"Apply failed with {len(causes)} {plural}: {text}", causes)

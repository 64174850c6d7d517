"""What is asked of a Keyspace that is there already: what has to change, and what cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dstk import api
from dstk.api.keyspace import PartitionCounts
from dstk.errors import ConfigError

__all__ = ["DEFAULT_KEY_LENGTH", "changes", "new_keyspace"]

DEFAULT_KEY_LENGTH = 16
"""Bytes of a key where nobody asks for another number."""

_FIXED = frozenset(rule.field.removeprefix(".") for rule in api.KeyspaceSpec.rules if "oldSelf" in rule.rule)
_WHOLE = frozenset({("workers", "selector", "matchLabels"), ("partitions",)})
"""Mappings that are one value: what is not in them is not to be."""

Path = tuple[str, ...]


def new_keyspace(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The object to create for what is asked."""
    return {**asked, "spec": {"keyLength": DEFAULT_KEY_LENGTH, **asked.get("spec", {})}}


def changes(existing: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes the Keyspace as it is asked for; fields that are not asked for stay as they are.

    Raises ConfigError for what cannot change any more.
    """
    name, spec = existing["metadata"]["name"], _with_count(existing["spec"])
    patch: dict[str, Any] = {}
    for path, wanted in _leaves(asked.get("spec", {})):
        found = _at(spec, path)
        if found == wanted:
            continue
        if path[0] in _FIXED:
            raise ConfigError(
                f"keyspace {name!r} is there already with {'.'.join(path)} {found}, which cannot become {wanted}: "
                f"leave it out to go on with what is there, or choose another directory"
            )
        if path[0] == "partitions" and _is_cut(existing):
            raise ConfigError(
                f"keyspace {name!r} is there already and is cut, by {_said(found)}, not by {_said(wanted)}: leave it "
                "out to go on with what is there (`dstk split` cuts further), or choose another directory"
            )
        inner = patch
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
        gone = dict.fromkeys(found or {}) if path in _WHOLE else {}
        inner[path[-1]] = {**gone, **wanted} if path in _WHOLE else wanted
    return {"spec": patch} if patch else {}


def _with_count(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A keyspace that says nothing of its partitions was cut into as many as that means."""
    partitions = spec.get("partitions", {})
    if partitions.get("bounds") or partitions.get("initial") is not None:
        return spec
    return {**spec, "partitions": {"initial": PartitionCounts.INITIAL}}


def _said(partitions: Mapping[str, Any]) -> str:
    return ", ".join(f"partitions.{name} {value}" for name, value in partitions.items())


def _leaves(value: Mapping[str, Any], before: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, inner in value.items():
        path = (*before, name)
        if isinstance(inner, Mapping) and path not in _WHOLE:
            yield from _leaves(inner, path)
        else:
            yield path, inner


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _is_cut(keyspace: Mapping[str, Any]) -> bool:
    conditions = keyspace.get("status", {}).get("conditions", ())
    return any(each["type"] == api.Keyspace.CUT and each["status"] == "True" for each in conditions)

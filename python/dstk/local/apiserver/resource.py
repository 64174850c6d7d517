"""What the server serves: one `Resource` for each group, version and plural."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dstk.local.apiserver.schema import Structure

Object = dict[str, Any]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a printed table; `cell` takes the object and the time of printing (seconds since the epoch)."""

    name: str
    type: str
    cell: Callable[[Object, float], Any]
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A served resource version. Versions of one kind share a `collection` and differ in `api_version` alone.

    `convert_in` and `convert_out` translate between this version's form and the stored one; None means that the
    two differ in apiVersion at most.
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    structure: Structure
    columns: tuple[Column, ...] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    selectable: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = ALL_VERBS
    storage: str = ""
    stored_version: str = ""
    list_kind: str = ""
    counts_generation: bool = False
    builtin: bool = True
    label_names: bool = False
    convert_in: Callable[[Object], Object] | None = None
    convert_out: Callable[[Object], Object] | None = None
    all_selectable: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        always = {"metadata.name", "metadata.namespace"} if self.namespaced else {"metadata.name"}
        object.__setattr__(self, "all_selectable", self.selectable | always)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def collection(self) -> str:
        return self.storage or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def stored_api_version(self) -> str:
        return self.stored_version or self.api_version

    @property
    def kind_of_list(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Registry:
    """All served resources, by path and by kind. Definitions come and go; built-in kinds stay."""

    def __init__(self, builtin: tuple[Resource, ...]) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self.generation = 0
        for resource in builtin:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._by_path[(resource.group, resource.version, resource.plural)] = resource
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        gone = [path for path in self._by_path if path[0] == group and path[2] == plural]
        for path in gone:
            del self._by_path[path]
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def all(self) -> list[Resource]:
        return list(self._by_path.values())

    def of_group(self, group: str) -> list[Resource]:
        return [resource for resource in self._by_path.values() if resource.group == group]

    def of_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self._by_path.values() if (r.group, r.version) == (group, version)]

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        for resource in self._by_path.values():
            if resource.kind == kind and resource.api_version == api_version:
                return resource
        return None

    def groups(self) -> dict[str, list[str]]:
        """Group to its versions, the preferred one first; the core group is the empty text."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return {group: sorted(versions, key=version_priority) for group, versions in found.items()}


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2, v1, v1beta2, v1beta1, v1alpha1, then the rest by name."""
    import re

    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)

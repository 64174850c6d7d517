"""The CustomResourceDefinitions, generated from the typed models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstk.api.assignment import Assignment
from dstk.api.group import GROUP, VERSION
from dstk.api.keyspace import Keyspace
from dstk.api.model import Model
from dstk.api.partition import Partition
from dstk.api.schema import schema_of

__all__ = ["RESOURCES", "Column", "ResourceKind", "crds"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def schema(self) -> dict[str, Any]:
        """The column as the CustomResourceDefinition spells it."""
        column: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "jsonPath": self.path,
        }
        if self.wide:
            column["priority"] = 1
        return column


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """How a kind is called, printed and selected."""

    model: type[Model]
    plural: str
    short: str
    columns: Sequence[Column]
    selectable: Sequence[str]

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.model.__name__

    def crd(self) -> dict[str, Any]:
        """The CustomResourceDefinition."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "plural": self.plural,
                    "singular": self.kind.lower(),
                    "shortNames": [self.short],
                    "categories": ["dstk"],
                },
                "versions": [
                    {
                        "name": VERSION,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "additionalPrinterColumns": [column.schema() for column in self.columns],
                        "selectableFields": [{"jsonPath": path} for path in self.selectable],
                        "schema": {"openAPIV3Schema": self._schema()},
                    }
                ],
            },
        }

    def _schema(self) -> dict[str, Any]:
        schema = schema_of(self.model)
        properties = schema["properties"]
        # The API server owns these three and takes no schema of ours for metadata, but for its name: rules point at it.
        properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
        # A default in a status would claim what nobody has seen yet.
        properties["status"] = _without_defaults(properties["status"])
        schema["properties"] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **properties}
        return schema


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in schema.items() if name != "default"}
    if "properties" in bare:
        bare["properties"] = {name: _without_defaults(field) for name, field in bare["properties"].items()}
    if "items" in bare:
        bare["items"] = _without_defaults(bare["items"])
    return bare


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Since its creation.", type="date")

RESOURCES: Final = (
    ResourceKind(
        model=Keyspace,
        plural="keyspaces",
        short="ks",
        columns=(
            Column("Key length", ".spec.keyLength", "Bytes of every key.", type="integer"),
            Column("Partitions", ".status.partitions", "Partitions of the keyspace.", type="integer"),
            Column("Ready", ".status.ready", "Partitions that a worker serves.", type="integer"),
            Column("Policy", ".spec.policy.mode", "What the Assigner does.", wide=True),
            Column("Durability", ".spec.durability", "Where acknowledged writes are kept.", wide=True),
            _AGE,
        ),
        selectable=(),
    ),
    ResourceKind(
        model=Partition,
        plural="partitions",
        short="part",
        columns=(
            Column("Start", ".spec.range.start", "Its lowest key."),
            Column("End", ".spec.range.end", "The key after its last."),
            Column("Primary", ".spec.primary", "The pod that serves it."),
            Column("Proxy", ".spec.proxy", "The pod that passes requests on."),
            Column("Phase", ".status.phase", "What clients can expect."),
            Column("Keyspace", ".spec.keyspace", "The Keyspace it belongs to.", wide=True),
            Column("Epoch", ".spec.epoch", "Grows with every change of ownership.", type="integer", wide=True),
            Column("Rows", ".status.rows", "Rows, as last reported.", type="integer", wide=True),
            Column("Bytes", ".status.bytes", "Bytes, as last reported.", type="integer", wide=True),
            Column("Ops/s", ".status.operationsPerSecond", "Operations per second.", type="integer", wide=True),
            _AGE,
        ),
        selectable=(".spec.keyspace", ".spec.primary", ".status.phase"),
    ),
    ResourceKind(
        model=Assignment,
        plural="assignments",
        short="asg",
        columns=(
            Column("Type", ".spec.type", "The operation."),
            # A wildcard finds the field in whichever params and status the type has.
            Column("Partition", ".spec.*.partition", "The partition it works on."),
            Column("Parts", ".spec.mergeParams.partitions", "The partitions that it merges."),
            Column("Primary", ".spec.newParams.primary", "The pod that shall serve a new one."),
            Column("From", ".spec.moveParams.from", "The pod that a partition leaves."),
            Column("To", ".spec.moveParams.to", "The pod that it goes to."),
            Column("Phase", ".status.phase", "How far it is."),
            Column("Step", ".status.*.status", "The step of the operation."),
            Column("Reason", ".status.reason", "Why it waits, aborted or stalled."),
            Column("Message", ".status.message", "The same for people.", wide=True),
            Column("Partitions", ".spec.newParams.partitions", "All that a New for several serves.", wide=True),
            Column("Why", ".spec.reason", "Why it was created.", wide=True),
            _AGE,
        ),
        selectable=(".spec.type", ".status.phase"),
    ),
)
"""The three kinds, in the order in which they are created."""


def crds() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of Keyspace, Partition and Assignment, ready to be applied."""
    return [resource.crd() for resource in RESOURCES]

"""The definition that the suite works with: a bit of everything that schemas can say."""

from __future__ import annotations

from typing import Any

GROUP = "conformance.dstk.io"
WIDGET_PATH = f"/apis/{GROUP}/v1"

WIDGETS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"widgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wdg"], "categories": ["gadgets"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {
                        "name": "Ready",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
                    },
                    {"name": "Tags", "type": "string", "jsonPath": ".spec.tags", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A Widget is a thing to test with.",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What the widget should be.",
                                "required": ["size"],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.low) || self.low <= self.size",
                                        "message": "low must not be above size",
                                    },
                                    {
                                        "rule": "[has(self.left), has(self.right)].filter(x, x).size() <= 1",
                                        "messageExpression": "'only one of left and right, color ' + self.color",
                                    },
                                ],
                                "properties": {
                                    "size": {
                                        "type": "integer",
                                        "minimum": 1,
                                        "maximum": 100,
                                        "description": "How big it is.",
                                    },
                                    "low": {"type": "integer"},
                                    "left": {"type": "object", "properties": {"a": {"type": "string"}}},
                                    "right": {"type": "object", "properties": {"a": {"type": "string"}}},
                                    "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                                    "code": {
                                        "type": "string",
                                        "minLength": 2,
                                        "maxLength": 8,
                                        "pattern": "^[a-z]+$",
                                        "x-kubernetes-validations": [
                                            {"rule": "self == oldSelf", "message": "code is immutable"}
                                        ],
                                    },
                                    "tags": {
                                        "type": "array",
                                        "maxItems": 3,
                                        "x-kubernetes-list-type": "set",
                                        "items": {"type": "string"},
                                    },
                                    "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
                                    "parts": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {
                                                "name": {"type": "string"},
                                                "count": {"type": "integer", "default": 1},
                                            },
                                        },
                                    },
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "when": {"type": "string", "format": "date-time"},
                                    "note": {"type": "string", "nullable": True},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {
                                    "phase": {"type": "string"},
                                    "conditions": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["type"],
                                        "items": {
                                            "type": "object",
                                            "required": ["type", "status"],
                                            "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
                                        },
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


def widget(name: str, /, size: int = 3, **spec: Any) -> dict[str, Any]:
    """A Widget of that size."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": size, **spec},
    }

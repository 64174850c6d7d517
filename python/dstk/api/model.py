"""What every typed resource is made of: frozen structs in Kubernetes' spelling, with CEL rules beside the fields."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

__all__ = ["COUNT_MAX", "Model", "Rule"]

COUNT_MAX = 2**53 - 1
"""Bound of counts, bytes and epochs: the largest integer that every JSON reader keeps exact."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A CEL rule of the schema (``x-kubernetes-validations``), checked by the API server on one object."""

    rule: str
    message: str
    field: str = ""
    """Path below the struct, such as ``.epoch``; empty for the struct itself."""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = "FieldValueInvalid"

    def schema(self) -> dict[str, Any]:
        """The rule as the CustomResourceDefinition spells it."""
        spelled = {"rule": self.rule, "message": self.message, "reason": self.reason}
        if self.field:
            spelled["fieldPath"] = self.field
        return spelled


def immutable(field: str) -> Rule:
    """The rule that ``field`` (camelCase, always present) never changes after creation."""
    return Rule(
        rule=f"self.{field} == oldSelf.{field}",
        message=f"{field} cannot change after creation",
        field=f".{field}",
        reason="FieldValueForbidden",
    )


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The root of typed resources. Attributes are snake_case, the wire is camelCase; unknown fields are ignored."""

    rules: ClassVar[tuple[Rule, ...]] = ()

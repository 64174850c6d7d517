"""`x-kubernetes-validations`: compiled with the schema, evaluated on every write.

The rules of one node are first tried as they stand; messages are only made for the one that fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dstk.local.apiserver import status
from dstk.local.apiserver.cel import CompileError, EvaluationError, Program, compile_expression
from dstk.local.apiserver.cel.values import NONE, Optional
from dstk.local.apiserver.status import FieldError

if TYPE_CHECKING:
    from dstk.local.apiserver.schema import Structure

_REASONS = {
    "FieldValueInvalid": "FieldValueInvalid",
    "FieldValueForbidden": "FieldValueForbidden",
    "FieldValueRequired": "FieldValueRequired",
    "FieldValueDuplicate": "FieldValueDuplicate",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. `transition` rules compare with `oldSelf` and run on updates only."""

    program: Program
    transition: bool
    optional_old: bool
    message: str
    message_expression: Program | None
    reason: str
    field_path: str


def compile_rules(node: Structure, path: str) -> tuple[tuple[Rule, ...], list[tuple[str, int, CompileError]]]:
    """The rules on `node`; those that do not compile are returned apart, as (path, index, error)."""
    rules: list[Rule] = []
    failures: list[tuple[str, int, CompileError]] = []
    for index, raw in enumerate(node.raw.get("x-kubernetes-validations") or ()):
        optional_old = bool(raw.get("optionalOldSelf"))
        scope: dict[str, Any] = {"self": node, "oldSelf": None if optional_old else node}
        try:
            program = compile_expression(raw["rule"], scope)
            expression = raw.get("messageExpression")
            message_program = compile_expression(expression, scope) if expression else None
        except CompileError as error:
            failures.append((path, index, error))
            continue
        text = " ".join(raw["rule"].split())
        rules.append(
            Rule(
                program,
                "oldSelf" in program.names,
                optional_old,
                raw.get("message") or f"failed rule: {text}",
                message_program,
                _REASONS.get(raw.get("reason", ""), "FieldValueInvalid"),
                raw.get("fieldPath", "").lstrip("."),
            )
        )
    return tuple(rules), failures


def check_rules(node: Structure, value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    """Evaluate the rules of `node` and of everything below on `value`; `old` is None on creation.

    A value that did not change is held to transition rules alone, as kube-apiserver's ratcheting does it.
    """
    same = old is not None and (value is old or value == old)
    if node.rules and value is not None:
        variables = {"self": value, "oldSelf": old}
        for rule in node.rules:
            if same if not rule.transition else (old is None and not rule.optional_old):
                continue
            if rule.optional_old:
                variables = {"self": value, "oldSelf": NONE if old is None else Optional(old, True)}
            error = _failure(rule, variables, node, value, path)
            if error is not None:
                errors.append(error)
    if not node.rules_below or (same and not node.transitions_below):
        return
    if type(value) is dict:
        before = old if type(old) is dict else {}
        for name, item in value.items():
            declared = node.child(name)
            if declared is not None and (declared.rules or declared.rules_below):
                key = f"{path}[{name}]" if name not in node.properties else f"{path}.{name}" if path else name
                check_rules(declared, item, before.get(name), key, errors)
    elif type(value) is list and node.items is not None:
        before_items = _correlated(node, old)
        for at, item in enumerate(value):
            check_rules(node.items, item, before_items.get(_key(node, item)), f"{path}[{at}]", errors)


def _failure(rule: Rule, variables: dict[str, Any], node: Structure, value: Any, path: str) -> FieldError | None:
    kind = node.raw.get("type", "object")
    where = path or "<nil>"
    try:
        if rule.program.evaluate(variables) is True:
            return None
    except EvaluationError as error:
        detail = f"{error} evaluating rule: {rule.message}"
        if str(error).startswith("no such overload"):
            detail = (
                f"'{error}': call arguments did not match a supported operator, function or macro signature for "
                f"rule: {rule.message}"
            )
        return status.invalid_value(where, kind, detail)
    message = rule.message
    if rule.message_expression is not None:
        try:
            text = rule.message_expression.evaluate(variables)
            if isinstance(text, str) and text.strip() and "\n" not in text:
                message = text
        except EvaluationError:
            pass  # as Kubernetes does: the rule's own message stands in for one that cannot be made
    if rule.field_path:
        where = f"{path}.{rule.field_path}" if path else rule.field_path
    if rule.reason == "FieldValueForbidden":
        return status.forbidden(where, message)
    if rule.reason == "FieldValueRequired":
        return status.required(where, message)
    if kind in ("object", "array"):
        return status.invalid_rule(where, message)
    return status.invalid_value(where, value, message)


def _key(node: Structure, item: Any) -> tuple[Any, ...] | None:
    if node.list_type != "map" or type(item) is not dict:
        return None
    return tuple(item.get(name) for name in node.list_keys)


def _correlated(node: Structure, old: Any) -> dict[Any, Any]:
    """The old items of a keyed list by key; only those can be told to be the same item."""
    if node.list_type != "map" or type(old) is not list:
        return {}
    return {_key(node, item): item for item in old}

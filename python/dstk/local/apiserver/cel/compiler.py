"""From syntax tree to closures: every node becomes a function of the variables in scope.

The schema travels along where it is known, so that an expression naming a field that cannot exist is refused when
the rule is written and not when it first runs.

Longer than 400 lines: one method a kind of node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dstk.local.apiserver.cel import syntax
from dstk.local.apiserver.cel.failure import CompileError, EvaluationError
from dstk.local.apiserver.cel.functions import FUNCTIONS, NAMESPACES, checked
from dstk.local.apiserver.cel.values import NONE, TYPE_NAMES, Optional, equal, is_number, less, no_overload

Variables = dict[str, Any]
Evaluate = Callable[[Variables], Any]


class Shape(Protocol):
    """What the compiler asks of a schema; `Structure` of the schema module answers."""

    def field(self, name: str) -> tuple[bool, Any]:
        """Whether an object of this shape may have `name`, and that field's shape if it is known."""

    def element(self) -> Any:
        """The shape of a list's items or a map's values, None when unknown."""

    def is_map(self) -> bool:
        """True when the keys are data and not declared properties."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled node: how to evaluate it, and the shape of what comes out (None: anything)."""

    run: Evaluate
    shape: Any = None


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression. `names` are the variables it mentions."""

    source: str
    names: frozenset[str]
    run: Evaluate

    def evaluate(self, variables: Variables) -> Any:
        """The expression's value. Raises EvaluationError where it has none for these variables."""
        return self.run(variables)


def compile_expression(source: str, scope: dict[str, Any]) -> Program:
    """Compile `source`; `scope` maps the variables it may use to their shapes (None: anything).

    Raises CompileError for bad syntax, unknown names and functions, and fields that the shape has not.
    """
    compiler = _Compiler(source)
    node = syntax.Parser(source).parse()
    typed = compiler.node(node, dict(scope))
    return Program(source, frozenset(compiler.names), typed.run)


_ESCAPED = re.compile(r"__(underscores|dot|dash|slash)__")
_SYMBOLS = {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}
_KEYWORD = re.compile(r"__([a-z]+)__\Z")


def unescape(name: str) -> str:
    """A property's real name from its spelling in an expression (`__dash__`, `__namespace__`)."""
    if "__" not in name:
        return name
    keyword = _KEYWORD.match(name)
    if keyword and keyword[1] in syntax.RESERVED | {"true", "false", "null", "in"}:
        return keyword[1]
    return _ESCAPED.sub(lambda match: _SYMBOLS[match[1]], name)


def _select(value: Any, name: str) -> Any:
    if type(value) is dict:
        try:
            return value[name]
        except KeyError:
            raise EvaluationError(f"no such key: {name}") from None
    raise no_overload("select", value)


def _index(value: Any, index: Any) -> Any:
    if type(value) is list:
        if type(index) is not int:
            raise no_overload("_[_]", value, index)
        if not 0 <= index < len(value):
            raise EvaluationError(f"index out of bounds: {index}")
        return value[index]
    if type(value) is dict:
        if index in value:
            return value[index]
        raise EvaluationError(f"no such key: {index}")
    raise no_overload("_[_]", value, index)


def _optional_step(value: Any, key: Any) -> Optional:
    if isinstance(value, Optional):
        if not value.present:
            return NONE
        value = value.value
    if type(value) is dict:
        return Optional(value[key], True) if key in value else NONE
    if type(value) is list:
        return Optional(value[key], True) if type(key) is int and 0 <= key < len(value) else NONE
    raise no_overload("optional select", value)


def _truth(value: Any, operator: str) -> bool:  # a bool, or EvaluationError
    if not isinstance(value, bool):
        raise no_overload(operator, value)
    return value


def _add(left: Any, right: Any) -> Any:
    if type(left) is type(right) and type(left) is not bool:
        return checked(left + right) if type(left) is int else left + right
    if is_number(left) and is_number(right):  # a whole number of a JSON `number` field arrives as an int
        return float(left + right)
    try:
        if type(left) is not type(right) and not is_number(left) and not is_number(right):
            return left + right
    except TypeError:
        pass
    raise no_overload("_+_", left, right)


def _arithmetic(operator: str, integers: Callable[[int, int], int], floats: Callable[[float, float], float]) -> Any:
    def run(left: Any, right: Any) -> Any:
        if type(left) is int and type(right) is int:
            return checked(integers(left, right))
        if is_number(left) and is_number(right):
            return floats(float(left), float(right))
        if operator == "_-_" and not is_number(left) and not is_number(right):
            try:
                return left - right
            except TypeError:
                pass
        raise no_overload(operator, left, right)

    return run


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return left - right * _divide(left, right)


def _float_divide(left: float, right: float) -> float:
    if right == 0:
        return float("nan") if left == 0 else float("inf") * (1 if left > 0 else -1)
    return left / right


def _no_float_remainder(left: float, right: float) -> float:
    raise no_overload("_%_", left, right)


def _within(item: Any, container: Any) -> bool:
    if type(container) is dict:
        return item in container
    if type(container) is list:
        return any(equal(item, other) for other in container)
    raise no_overload("@in", item, container)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": less,
    "<=": lambda left, right: not less(right, left, "<="),
    ">": lambda left, right: less(right, left, ">"),
    ">=": lambda left, right: not less(left, right, ">="),
    "+": _add,
    "-": _arithmetic("_-_", lambda a, b: a - b, lambda a, b: a - b),
    "*": _arithmetic("_*_", lambda a, b: a * b, lambda a, b: a * b),
    "/": _arithmetic("_/_", _divide, _float_divide),
    "%": _arithmetic("_%_", _remainder, _no_float_remainder),
    "in": _within,
}

_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap"})


def _dotted(node: syntax.Node) -> str | None:
    return node.name if isinstance(node, syntax.Name) else None


class _Compiler:
    def __init__(self, source: str) -> None:
        self._source = source
        self.names: set[str] = set()

    def _refuse(self, node: syntax.Node, problem: str) -> CompileError:
        return CompileError(self._source, node.at, problem)

    def node(self, node: syntax.Node, scope: dict[str, Any]) -> Typed:
        match node:
            case syntax.Literal(_, value):
                return Typed(lambda _: value)
            case syntax.Name(_, name):
                return self._name(node, name, scope)
            case syntax.Select():
                return self._selection(node, scope)
            case syntax.Index(_, operand, index, optional):
                return self._indexing(operand, index, optional, scope)
            case syntax.Unary(_, operator, operand):
                return self._negation(operator, self.node(operand, scope).run)
            case syntax.Binary(_, operator, left, right):
                return self._binary(operator, self.node(left, scope).run, self.node(right, scope).run)
            case syntax.Conditional(_, condition, then, otherwise):
                return self._conditional(condition, then, otherwise, scope)
            case syntax.ListOf(_, items):
                return self._list(items, scope)
            case syntax.MapOf(_, entries):
                return self._map(entries, scope)
            case syntax.Call():
                return self._call(node, scope)
        raise self._refuse(node, "unsupported expression")

    def _name(self, node: syntax.Node, name: str, scope: dict[str, Any]) -> Typed:
        if name in scope:
            self.names.add(name)
            return Typed(lambda variables: variables[name], scope[name])
        if name in TYPE_NAMES:
            value = TYPE_NAMES[name]
            return Typed(lambda _: value)
        raise self._refuse(node, f"undeclared reference to '{name}' (in container '')")

    def _selection(self, node: syntax.Select, scope: dict[str, Any]) -> Typed:
        operand = self.node(node.operand, scope)
        name = self._field_name(node, operand.shape)
        shape = self._field_shape(node, operand.shape, name)
        run = operand.run
        if node.optional:
            return Typed(lambda variables: _optional_step(run(variables), name), shape)

        def select(variables: Variables) -> Any:
            value = run(variables)
            if type(value) is dict and name in value:
                return value[name]
            if isinstance(value, Optional):
                return _optional_step(value, name)
            return _select(value, name)

        return Typed(select, shape)

    def _field_name(self, node: syntax.Select, shape: Shape | None) -> str:
        if shape is not None and shape.is_map():
            return node.field
        return unescape(node.field)

    def _field_shape(self, node: syntax.Node, shape: Shape | None, name: str) -> Any:
        if shape is None:
            return None
        known, field = shape.field(name)
        if not known:
            raise self._refuse(node, f"undefined field '{name}'")
        return field

    def _indexing(self, operand: syntax.Node, index: syntax.Node, optional: bool, scope: dict[str, Any]) -> Typed:
        of, at = self.node(operand, scope), self.node(index, scope).run
        run = of.run
        shape = of.shape.element() if of.shape is not None else None
        if optional:
            return Typed(lambda variables: _optional_step(run(variables), at(variables)), shape)

        def get(variables: Variables) -> Any:
            value = run(variables)
            if isinstance(value, Optional):
                return _optional_step(value, at(variables))
            return _index(value, at(variables))

        return Typed(get, shape)

    def _negation(self, operator: str, run: Evaluate) -> Typed:
        if operator == "!":
            return Typed(lambda variables: not _truth(run(variables), "!_"))

        def negative(variables: Variables) -> Any:
            value = run(variables)
            if not is_number(value):
                raise no_overload("-_", value)
            return -value

        return Typed(negative)

    def _binary(self, operator: str, left: Evaluate, right: Evaluate) -> Typed:
        if operator in ("&&", "||"):
            return Typed(_junction(left, right, decisive=operator == "||"))
        apply = _BINARY[operator]
        return Typed(lambda variables: apply(left(variables), right(variables)))

    def _conditional(
        self, condition: syntax.Node, then: syntax.Node, otherwise: syntax.Node, scope: dict[str, Any]
    ) -> Typed:
        test = self.node(condition, scope).run
        yes, no = self.node(then, scope), self.node(otherwise, scope)
        if_true, if_false = yes.run, no.run

        def choose(variables: Variables) -> Any:
            return if_true(variables) if _truth(test(variables), "_?_:_") else if_false(variables)

        return Typed(choose, yes.shape if yes.shape is no.shape else None)

    def _list(self, items: tuple[tuple[syntax.Node, bool], ...], scope: dict[str, Any]) -> Typed:
        compiled = [(self.node(item, scope).run, optional) for item, optional in items]

        def build(variables: Variables) -> list[Any]:
            found = []
            for run, optional in compiled:
                value = run(variables)
                if not optional:
                    found.append(value)
                elif value.present:
                    found.append(value.value)
            return found

        return Typed(build)

    def _map(self, entries: tuple[tuple[syntax.Node, syntax.Node, bool], ...], scope: dict[str, Any]) -> Typed:
        compiled = [
            (self.node(key, scope).run, self.node(value, scope).run, optional) for key, value, optional in entries
        ]

        def build(variables: Variables) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for key, run, optional in compiled:
                value = run(variables)
                if not optional:
                    found[key(variables)] = value
                elif value.present:
                    found[key(variables)] = value.value
            return found

        return Typed(build)

    def _call(self, node: syntax.Call, scope: dict[str, Any]) -> Typed:
        if node.target is None:
            if node.function == "has":
                return self._has(node, scope)
            return self._function(node, node.function, node.arguments, scope)
        namespace = _dotted(node.target)
        if namespace in NAMESPACES and namespace not in scope:
            if (namespace, node.function) == ("cel", "bind"):
                return self._bind(node, scope)
            return self._function(node, f"{namespace}.{node.function}", node.arguments, scope)
        if node.function in _MACROS and len(node.arguments) >= 2:
            return self._comprehension(node, node.target, scope)
        return self._function(node, node.function, (node.target, *node.arguments), scope)

    def _function(
        self, node: syntax.Node, name: str, arguments: tuple[syntax.Node, ...], scope: dict[str, Any]
    ) -> Typed:
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._refuse(node, f"undeclared reference to '{name}' (in container '')")
        runs = [self.node(argument, scope).run for argument in arguments]
        if len(runs) == 1:
            only = runs[0]
            return Typed(lambda variables: function(only(variables)))

        def call(variables: Variables) -> Any:
            given = [run(variables) for run in runs]
            try:
                return function(*given)
            except (TypeError, AttributeError):
                raise no_overload(name, *given) from None

        return Typed(call)

    def _has(self, node: syntax.Call, scope: dict[str, Any]) -> Typed:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], syntax.Select):
            raise self._refuse(node, "invalid argument to has() macro")
        selection = node.arguments[0]
        operand = self.node(selection.operand, scope)
        name = self._field_name(selection, operand.shape)
        self._field_shape(selection, operand.shape, name)
        run = operand.run

        def present(variables: Variables) -> bool:
            value = run(variables)
            if isinstance(value, Optional):
                return _optional_step(value, name).present
            if type(value) is not dict:
                raise no_overload("has", value)
            return name in value

        return Typed(present)

    def _variable(self, node: syntax.Node) -> str:
        if not isinstance(node, syntax.Name):
            raise self._refuse(node, "argument must be a simple name")
        return node.name

    def _bind(self, node: syntax.Call, scope: dict[str, Any]) -> Typed:
        if len(node.arguments) != 3:
            raise self._refuse(node, "cel.bind() takes a name, a value and an expression")
        name = self._variable(node.arguments[0])
        bound = self.node(node.arguments[1], scope)
        body = self.node(node.arguments[2], {**scope, name: bound.shape})
        value, run = bound.run, body.run
        return Typed(lambda variables: run({**variables, name: value(variables)}), body.shape)

    def _comprehension(self, node: syntax.Call, target: syntax.Node, scope: dict[str, Any]) -> Typed:
        over = self.node(target, scope)
        element = over.shape.element() if over.shape is not None else None
        macro, arguments = node.function, node.arguments
        two = macro.startswith("transform") or (macro not in ("map", "filter") and len(arguments) == 3)
        if two and len(arguments) < 3:
            raise self._refuse(node, f"{macro}() takes two names and an expression")
        names = [self._variable(argument) for argument in arguments[: 2 if two else 1]]
        keys = over.shape is not None and over.shape.is_map() and not two
        shapes = {names[0]: None} if two or keys else {names[0]: element}
        if two:
            shapes[names[1]] = element
        inner = {**scope, **shapes}
        bodies = [self.node(argument, inner) for argument in arguments[len(names) :]]
        for name in names:
            self.names.discard(name) if name not in scope else None
        runs = [body.run for body in bodies]
        source = over.run

        def scopes(variables: Variables) -> Any:
            return _scopes(source(variables), variables, names)

        return _macro(macro, scopes, runs, over.shape)


def _scopes(collection: Any, variables: Variables, names: list[str]) -> Any:
    """The variables of each turn: one dict, changed in place from turn to turn."""
    inner = dict(variables)
    if type(collection) is list:
        pairs: Any = enumerate(collection)
    elif type(collection) is dict:
        pairs = collection.items()
    else:
        raise no_overload("comprehension", collection)
    if len(names) == 2:
        for key, value in pairs:
            inner[names[0]], inner[names[1]] = key, value
            yield inner, key, value
        return
    for key, value in pairs:
        inner[names[0]] = item = value if type(collection) is list else key
        yield inner, key, item


def _macro(macro: str, scopes: Any, runs: list[Evaluate], shape: Any) -> Typed:
    first, last = runs[0], runs[-1]
    match macro:
        case "all" | "exists":
            decisive = macro == "exists"
            return Typed(lambda variables: _quantified(scopes(variables), first, decisive))
        case "exists_one" | "existsOne":
            return Typed(lambda variables: sum(_truth(first(inner), macro) for inner, _, _ in scopes(variables)) == 1)
        case "filter":
            return Typed(
                lambda variables: [item for inner, _, item in scopes(variables) if _truth(first(inner), macro)], shape
            )
        case "transformMap":
            return Typed(
                lambda variables: {
                    key: last(inner)
                    for inner, key, _ in scopes(variables)
                    if len(runs) == 1 or _truth(first(inner), macro)
                }
            )
        case _:
            return Typed(
                lambda variables: [
                    last(inner) for inner, _, _ in scopes(variables) if len(runs) == 1 or _truth(first(inner), macro)
                ]
            )


def _junction(left: Evaluate, right: Evaluate, decisive: bool) -> Evaluate:
    """`||` (decisive true) or `&&` (decisive false): a decisive side wins over an error on the other."""
    operator = "_||_" if decisive else "_&&_"

    def run(variables: Variables) -> bool:
        try:
            if _truth(left(variables), operator) is decisive:
                return decisive
        except EvaluationError:
            if _truth(right(variables), operator) is decisive:
                return decisive
            raise
        return _truth(right(variables), operator)

    return run


def _quantified(scopes: Any, run: Evaluate, decisive: bool) -> bool:
    failure: EvaluationError | None = None
    for inner, _, _ in scopes:
        try:
            if _truth(run(inner), "comprehension") is decisive:
                return decisive
        except EvaluationError as error:
            failure = error
    if failure is not None:
        raise failure
    return not decisive

"""Expressions: values, errors, and what is refused before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from dstk.local.apiserver.cel import CompileError, EvaluationError, compile_expression
from dstk.local.apiserver.schema import Structure

SELF: dict[str, Any] = {
    "n": 3, "f": 1.5, "t": "héllo", "l": [3, 1, 2], "m": {"a": 1, "b": 2}, "o": {"x": {"y": "z"}}, "null": None,
    "names": ["b", "a", "b"], "if": 1, "a-b": 2, "when": "2026-01-02T03:04:05Z",
}  # fmt: skip

VALUES: list[tuple[str, Any]] = [
    ("1 + 2 * 3 - 4 / 2", 5),
    ("-7 / 2 == -3 && -7 % 2 == -1", True),
    ("1.5 * 2.0", 3.0),
    ("0x1F", 31),
    ("'a' + \"b\" + r'\\n' + '\\n\\u00e9'", "ab\\n\né"),
    ("1 == 1.0 && !(true == 1)", True),
    ("self.t.size() == 5 && size(self.l) == 3 && size(self.m) == 2", True),
    ("self.n > 2 ? 'big' : 'small'", "big"),
    ("has(self.n) && !has(self.zz) && has(self.o.x.y)", True),
    ("self.l.all(i, i > 0) && self.l.exists(i, i == 2) && self.l.exists_one(i, i == 3)", True),
    ("self.l.map(i, i * 2)", [6, 2, 4]),
    ("self.l.map(i, i > 1, i * 2)", [6, 4]),
    ("self.l.filter(i, i > 1).size()", 2),
    ("self.m.all(k, self.m[k] > 0)", True),
    ("self.l.all(i, v, i < 3 && v > 0)", True),
    ("self.m.transformList(k, v, v).sum()", 3),
    ("self.l.isSorted() || self.l.sort() == [1, 2, 3]", True),
    ("self.l.min() + self.l.max() + self.l.sum()", 10),
    ("self.names.indexOf('b') == 0 && self.names.lastIndexOf('b') == 2", True),
    ("self.names.distinct().join(',')", "b,a"),
    ("'b' in self.names && 'a' in self.m && !('q' in self.m)", True),
    ("self.t.startsWith('h') && self.t.endsWith('o') && self.t.contains('éll')", True),
    ("self.t.matches('^h.llo$') && !'x\\n'.matches('^x$')", True),
    ("'a-1-22'.findAll('[0-9]+')", ["1", "22"]),
    ("'a,b,c'.split(',').join('|').replace('|', '-').upperAscii()", "A-B-C"),
    ("'abc'.substring(1).charAt(0) + 'abc'.reverse()", "bcba"),
    ("'%s is %d (%.2f) %%'.format(['x', 3, 1.5])", "x is 3 (1.50) %"),
    ("self.?zz.orValue(9) + self.?n.orValue(0)", 12),
    ("self.?o.?x.?q.hasValue()", False),
    ("self.?l[?7].orValue(5)", 5),
    ("optional.of(1).or(optional.none()).value()", 1),
    ("{'a': 1, ?'b': self.?zz}", {"a": 1}),
    ("[1, ?self.?zz, ?self.?n]", [1, 3]),
    ("self.__if__ == 1 && self.a__dash__b == 2", True),
    ("duration('1h30m') > duration('89m') && duration('90s').getMinutes() == 1", True),
    ("timestamp(self.when).getFullYear() == 2026 && timestamp(self.when).getMonth() == 0", True),
    ("timestamp(self.when) + duration('1h') > timestamp(self.when)", True),
    ("int('7') + int(2.9) + int(timestamp('1970-01-01T00:00:05Z'))", 14),
    ("string(3) + string(2.0) + string(true)", "32true"),
    ("type(self.n) == int && type(self.l) == list && type(self.t) == string", True),
    ("self.null == null", True),
    ("cel.bind(x, self.n, x * x)", 9),
    ("sets.contains([1, 2, 3], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1])", True),
    ("self.zz || true", True),
    ("false && self.zz", False),
    ("self.l.exists(i, i / 0 == 1 || i == 3)", True),
    ("{'a': [1, {'b': 2}]} == {'a': [1, {'b': 2}]}", True),
]


@pytest.mark.parametrize(("expression", "value"), VALUES)
def test_values(expression: str, value: Any) -> None:
    assert compile_expression(expression, {"self": None}).evaluate({"self": SELF}) == value


FAILURES = [
    ("self.zz == 1", "no such key: zz"),
    ("self.l[7]", "index out of bounds: 7"),
    ("1 / 0 == 1", "division by zero"),
    ("9223372036854775807 + 1 > 0", "integer overflow"),
    ("self.t + 1 == 'x'", "no such overload"),
    ("self.n < 'x'", "no such overload"),
    ("self.n && true", "no such overload"),
    ("'a'.matches('[')", "error parsing regexp"),
    ("timestamp('soon') > timestamp(self.when)", "type conversion error"),
    ("optional.none().value()", "dereference"),
    ("[].min()", "empty list"),
]


@pytest.mark.parametrize(("expression", "problem"), FAILURES)
def test_failures(expression: str, problem: str) -> None:
    program = compile_expression(expression, {"self": None})
    with pytest.raises(EvaluationError, match=problem):
        program.evaluate({"self": SELF})


SCHEMA = Structure(
    {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "map": {
                "type": "object",
                "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}},
            },
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
)

REFUSED = [
    ("self.", "Syntax error"),
    ("1 +", "Syntax error"),
    ("'open", "Syntax error"),
    ("(1", "Syntax error"),
    ("other == 1", "undeclared reference to 'other'"),
    ("nosuch(self)", "undeclared reference to 'nosuch'"),
    ("self.nope", "undefined field 'nope'"),
    ("has(self.nope)", "undefined field 'nope'"),
    ("self.list.all(i, i.y == 1)", "undefined field 'y'"),
    ("self.map['k'].x == 1", "undefined field 'x'"),
    ("has(self)", "invalid argument to has"),
    ("self.list.all(1, true)", "must be a simple name"),
    ("for == 1", "reserved identifier"),
]


@pytest.mark.parametrize(("expression", "problem"), REFUSED)
def test_what_cannot_run_is_refused(expression: str, problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        compile_expression(expression, {"self": SCHEMA})


def test_a_refusal_points_at_the_place() -> None:
    with pytest.raises(CompileError) as refused:
        compile_expression("true &&\n  self.nope", {"self": SCHEMA})
    assert str(refused.value) == "ERROR: <input>:2:7: undefined field 'nope'\n |   self.nope\n | ......^"


def test_what_the_schema_knows_is_taken() -> None:
    for expression in ("self.list.all(i, i.x > 0)", "self.map.all(k, self.map[k].y == k)", "self.free.any.thing == 1"):
        compile_expression(expression, {"self": SCHEMA})


def test_the_variables_an_expression_mentions_are_known() -> None:
    names = compile_expression("self.n == oldSelf.n && [1].all(x, x > 0)", {"self": None, "oldSelf": None}).names
    assert names == {"self", "oldSelf"}

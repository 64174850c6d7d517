"""Tokens and syntax tree of an expression, and the parser between them (precedence climbing)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dstk.local.apiserver.cel.failure import CompileError

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<bytes>[bB](?:[rR])?(?:'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
      | (?P<string>(?:[rR])?(?:'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
      | (?P<float>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
      | (?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
      | (?P<quoted>`[A-Za-z0-9_./ -]+`)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)

RESERVED = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    }
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Node:
    at: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    operand: Node
    field: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Index(Node):
    operand: Node
    index: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    function: str
    target: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Binary(Node):
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Unary(Node):
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    items: tuple[tuple[Node, bool], ...]


@dataclass(frozen=True, slots=True)
class MapOf(Node):
    entries: tuple[tuple[Node, Node, bool], ...]


_PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip


def tokens(source: str) -> Iterator[Token]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CompileError(source, at, f"Syntax error: token recognition error at: {source[at]!r}")
        kind = match.lastgroup or ""
        if kind != "space":
            yield Token(kind, match.group(), at)
        at = match.end()
    yield Token("end", "<EOF>", at)


def _unquote(text: str) -> str:
    raw = text[0] in "rR"
    if raw:
        text = text[1:]
    quote = 3 if text[:3] in ("'''", '"""') else 1
    body = text[quote:-quote]
    return body if raw else _ESCAPE.sub(_unescape, body)


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xXuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code.isdigit() and len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)


class Parser:
    """Source text to a syntax tree. Raises CompileError with the place of the first mistake."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = list(tokens(source))
        self._position = 0

    def parse(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            raise self._unexpected("<EOF>")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._tokens[self._position]
        self._position += 1
        return token

    def _accept(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind in ("op", "name") and token.text in texts:
            return self._take()
        return None

    def _expect(self, text: str) -> Token:
        token = self._accept(text)
        if token is None:
            raise self._unexpected(f"'{text}'")
        return token

    def _unexpected(self, wanted: str) -> CompileError:
        token = self._next
        return CompileError(self._source, token.at, f"Syntax error: mismatched input '{token.text}' expecting {wanted}")

    def _expression(self) -> Node:
        condition = self._operators(1)
        question = self._accept("?")
        if question is None:
            return condition
        then = self._operators(1)
        self._expect(":")
        return Conditional(question.at, condition, then, self._expression())

    def _operators(self, lowest: int) -> Node:
        left = self._unary()
        while True:
            token = self._next
            level = _PRECEDENCE.get(token.text, 0) if token.kind in ("op", "name") else 0
            if level < lowest:
                return left
            self._take()
            left = Binary(token.at, token.text, left, self._operators(level + 1))

    def _unary(self) -> Node:
        token = self._accept("!", "-")
        if token is None:
            return self._postfix(self._primary())
        operand = self._unary()
        if token.text == "-" and isinstance(operand, Literal) and type(operand.value) in (int, float):
            return Literal(token.at, -operand.value)
        return Unary(token.at, token.text, operand)

    def _postfix(self, node: Node) -> Node:
        while True:
            if dot := self._accept("."):
                optional = self._accept("?") is not None
                name = self._take()
                if name.kind not in ("name", "quoted"):
                    self._position -= 1
                    raise self._unexpected("IDENTIFIER")
                if not optional and name.kind == "name" and self._accept("("):
                    node = Call(name.at, name.text, node, self._arguments(")"))
                else:
                    node = Select(dot.at, node, name.text.strip("`"), optional)
            elif bracket := self._accept("["):
                optional = self._accept("?") is not None
                index = self._expression()
                self._expect("]")
                node = Index(bracket.at, node, index, optional)
            else:
                return node

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._accept(closing):
            found.append(self._expression())
            if not self._accept(","):
                self._expect(closing)
                break
        return tuple(found)

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "int":
                return Literal(token.at, int(token.text.rstrip("uU"), 0))
            case "float":
                return Literal(token.at, float(token.text))
            case "string":
                return Literal(token.at, _unquote(token.text))
            case "bytes":
                return Literal(token.at, _unquote(token.text[1:]).encode("utf-8"))
            case "name":
                return self._name(token)
            case "op" if token.text == "(":
                node = self._expression()
                self._expect(")")
                return node
            case "op" if token.text == "[":
                return ListOf(token.at, self._items())
            case "op" if token.text == "{":
                return MapOf(token.at, self._entries())
            case _:
                self._position -= 1
                raise self._unexpected("an expression")

    def _name(self, token: Token) -> Node:
        constants = {"true": True, "false": False, "null": None}
        if token.text in constants:
            return Literal(token.at, constants[token.text])
        if token.text in RESERVED:
            raise CompileError(self._source, token.at, f"reserved identifier: {token.text}")
        if self._accept("("):
            return Call(token.at, token.text, None, self._arguments(")"))
        return Name(token.at, token.text)

    def _items(self) -> tuple[tuple[Node, bool], ...]:
        found: list[tuple[Node, bool]] = []
        while not self._accept("]"):
            optional = self._accept("?") is not None
            found.append((self._expression(), optional))
            if not self._accept(","):
                self._expect("]")
                break
        return tuple(found)

    def _entries(self) -> tuple[tuple[Node, Node, bool], ...]:
        found: list[tuple[Node, Node, bool]] = []
        while not self._accept("}"):
            optional = self._accept("?") is not None
            key = self._expression()
            self._expect(":")
            found.append((key, self._expression(), optional))
            if not self._accept(","):
                self._expect("}")
                break
        return tuple(found)

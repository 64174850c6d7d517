"""What can go wrong with an expression: before it runs, and while it runs."""

from __future__ import annotations


class CompileError(Exception):
    """The expression cannot be run at all. `at` is the offset in the source (characters, from 0)."""

    def __init__(self, source: str, at: int, problem: str) -> None:
        before = source[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1)
        text = source.splitlines()[line - 1] if source else ""
        marker = "." * column + "^"
        super().__init__(f"ERROR: <input>:{line}:{column + 1}: {problem}\n | {text}\n | {marker}")
        self.problem = problem


class EvaluationError(Exception):
    """The expression has no value for this input, for example `no such key: size`."""

"""The tables of transitions as Markdown: ``python -m dstk.lifecycle.tables``.

Without arguments they are put into docs/operations/{new,split,merge,move}.md between their markers. ``--print`` prints
them instead, and ``--check`` ends with 1 when what stands in the pages is something else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dstk.lifecycle.decision import OPERATIONS
from dstk.lifecycle.operation import ADMISSION, Operation
from dstk.lifecycle.transitions import Row

__all__ = ["main", "page", "transitions", "words"]

BEGIN, END = "<!-- transitions: python -m dstk.lifecycle.tables -->", "<!-- end of transitions -->"


def transitions(operation: type[Operation]) -> str:
    """Every row of the operation's table, in order of precedence."""
    rows = [("at", "when", "do", "then")]
    rows += [(_steps(row), _spoken(row.when), row.does, row.then) for row in operation.table]
    return _markdown(rows)


def words(operation: type[Operation]) -> str:
    """What the guards and effects of the table mean, where their names do not say it all."""
    said: dict[str, str] = {}
    for row in operation.table:
        for guard in row.guard:
            if guard.says:
                said.setdefault(guard.name, _spoken(guard.says))
        for effect in row.effects:
            if effect.says:
                said.setdefault(effect.name, effect.says)
    return _markdown([("word", "meaning"), *sorted(said.items())])


def page(operation: type[Operation]) -> str:
    """What stands between the markers."""
    table, meanings = transitions(operation), words(operation)
    return f"{BEGIN}\n\n{table}\n\n{meanings}\n\n{END}" if meanings else f"{BEGIN}\n\n{table}\n\n{END}"


def _steps(row: Row[Any]) -> str:
    if row in ADMISSION:
        return "(not begun)"
    return ", ".join(step.value for step in row.steps if step is not None)


def _spoken(guard: str) -> str:
    for sign, word in (("~", "not "), (" & ", " and "), (" | ", " or ")):
        guard = guard.replace(sign, word)
    return guard


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    if len(rows) < 2:
        return ""
    lines = [_line(rows[0]), _line("---" for _ in rows[0])]
    return "\n".join([*lines, *map(_line, rows[1:])])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("  ", " ")


def _written(text: str, operation: type[Operation]) -> str:
    before, _, rest = text.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"there is no {BEGIN!r} … {END!r}")
    return f"{before}{page(operation)}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 1: a page is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m dstk.lifecycle.tables", description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs/operations"), help="where the pages are")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="print the tables")
    what.add_argument("--check", action="store_true", help="compare them with the pages")
    options = parser.parse_args(arguments)
    wrong = []
    for type_, operation in OPERATIONS.items():
        if options.print:
            print(f"## {type_.value}\n\n{transitions(operation)}\n\n{words(operation)}\n")
            continue
        path = options.docs / f"{operation.field}.md"
        text = path.read_text(encoding="utf-8")
        should = _written(text, operation)
        if options.check:
            wrong += [str(path)] if text != should else []
        elif text != should:
            path.write_text(should, encoding="utf-8")
    if wrong:
        print(f"{', '.join(wrong)}: not the tables in the code; run {parser.prog}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

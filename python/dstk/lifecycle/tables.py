"""The tables of transitions as Markdown: ``python -m dstk.lifecycle.tables``.

Without arguments they are put into the pages of docs/operations, between their markers. ``--print`` prints them
instead, and ``--check`` ends with 1 when what stands in the pages is something else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from dstk.api import Step
from dstk.lifecycle.decision import OPERATIONS
from dstk.lifecycle.operation import ADMISSION
from dstk.lifecycle.recovery import FOREIGN, OWNED
from dstk.lifecycle.repairs import REPAIRS
from dstk.lifecycle.transitions import Row, Transitions

__all__ = ["PAGES", "Page", "main", "page", "transitions", "words"]

BEGIN, END = "<!-- transitions: python -m dstk.lifecycle.tables -->", "<!-- end of transitions -->"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of docs/operations. `tables`: by heading, "" for none. `at`: what the steps of its rows are."""

    name: str
    tables: Mapping[str, Transitions[Any]]
    at: str = "at"


PAGES = (
    *(Page(operation.field, {"": operation.table}) for operation in OPERATIONS.values()),
    Page("recovery", {"The worker is the owner": OWNED, "It is not": FOREIGN}, "the worker holds"),
    Page("repairs", {"": REPAIRS}, ""),
)


def transitions(table: Transitions[Any], steps: str = "at") -> str:
    """Every row of a table, in order of precedence. `steps`: heading of the first column, "" for none."""
    first = 0 if steps else 1
    rows = [(steps, "when", "do", "then")[first:]]
    rows += [(_steps(row), _spoken(row.when), row.does, _then(row))[first:] for row in table]
    return _markdown(rows)


def words(tables: Iterable[Transitions[Any]]) -> str:
    """What the guards and effects of the tables mean, where their names do not say it all."""
    said: dict[str, str] = {}
    for row in chain.from_iterable(tables):
        for guard in row.guard:
            if guard.says:
                said.setdefault(guard.name, _spoken(guard.says))
        for effect in row.effects:
            if effect.says:
                said.setdefault(effect.name, effect.says)
    return _markdown([("word", "meaning"), *sorted(said.items())])


def page(of: Page) -> str:
    """What stands between the markers."""
    parts = [BEGIN]
    for heading, table in of.tables.items():
        parts += [f"### {heading}"] if heading else []
        parts.append(transitions(table, of.at))
    meanings = words(of.tables.values())
    return "\n\n".join([*parts, meanings, END] if meanings else [*parts, END])


def _then(row: Row[Any]) -> str:
    if row.phase is None and row.to is None and not row.waits_for and not row.effects:
        return "nothing to do"
    return row.then


def _steps(row: Row[Any]) -> str:
    if row in ADMISSION:
        return "(not begun)"
    return ", ".join(step.value if isinstance(step, Step) else str(step) for step in row.steps if step is not None)


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


def _written(text: str, of: Page) -> str:
    before, _, rest = text.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"there is no {BEGIN!r} … {END!r}")
    return f"{before}{page(of)}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 1: a page is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m dstk.lifecycle.tables", description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs/operations"), help="where the pages are")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--print", action="store_true", help="print the tables")
    what.add_argument("--check", action="store_true", help="compare them with the pages")
    options = parser.parse_args(arguments)
    wrong = []
    for of in PAGES:
        if options.print:
            print(f"## {of.name}\n\n{page(of)}\n")
            continue
        path = options.docs / f"{of.name}.md"
        text = path.read_text(encoding="utf-8")
        should = _written(text, of)
        if options.check:
            wrong += [str(path)] if text != should else []
        elif text != should:
            path.write_text(should, encoding="utf-8")
    if wrong:
        print(f"{', '.join(wrong)}: not the tables in the code; run {parser.prog}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the pages say can be done: links lead somewhere, commands are taken, values and make targets are there."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT

from dstk.cli.parser import build_parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page: Path) -> set[str]:
    """What a link may name after #, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def commands(page: Path) -> list[list[str]]:
    """The dstk commands of its code blocks and sentences, without `dstk`."""
    text = page.read_text()
    lines = re.findall(r"^ {4}(?:\.venv/bin/|kubectl exec .* -- )?dstk (.+)$", text, re.MULTILINE)
    lines += re.findall(r"`(?:\.venv/bin/)?dstk ([^`]+)`", text)
    return [shlex.split(re.split(r" \|| > ", each)[0], comments=True) for each in lines]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_taken(page: Path) -> None:
    for words in commands(page):
        # A name alone, in a sentence, is a command that there is.
        with contextlib.nullcontext() if words[1:] else pytest.raises(SystemExit, match=r"^0$"):
            build_parser().parse_args(words if words[1:] else [*words, "--help"])


def test_commands_are_found() -> None:
    assert ["put", "--hashed", "user/42", "hello", "--dir", "state"] in commands(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) | set(re.findall(r"\bbench-[a-z]+", makefile))
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("name", ["README.md", "docs/kubernetes.md"])
def test_values_are_in_the_chart(name: str) -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    sections = "|".join(schema["properties"])
    values = re.findall(rf"(?:`|--set |--set-json ')((?:{sections})\.[A-Za-z._]+)", (ROOT / name).read_text())
    assert values
    for value in values:
        found: dict[str, Any] = schema
        for part in value.split("."):
            assert part in found["properties"], value
            found = found["properties"][part]

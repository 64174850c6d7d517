"""What goes with a release: its license and what it changes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_license_that_is_declared_is_there_in_full() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n" in text
    assert re.findall(r"^ {3}(\d)\. ", text, re.MULTILINE) == [*"123456789"]
    assert "END OF TERMS AND CONDITIONS" in text


def test_whatever_builds_the_wheel_is_given_the_license() -> None:
    assert "!LICENSE" in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()


def test_the_changelog_begins_with_this_version() -> None:
    releases = re.findall(r"^## (\S+) \((not released|\d{4}-\d{2}-\d{2})\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert releases
    assert releases[0][0] == PROJECT["version"]

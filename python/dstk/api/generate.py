"""Writes crds/*.yaml from the typed models: ``python -m dstk.api.generate [--check] [DIRECTORY]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dstk.api.crd import RESOURCES

__all__ = ["documents", "main"]

_HEADER = "# Generated from python/dstk/api by `python -m dstk.api.generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, and nothing is an alias of anything."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def documents() -> dict[str, str]:
    """File name → YAML text, for each kind."""
    return {
        f"{resource.plural}.yaml": _HEADER
        + yaml.dump(resource.crd(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for resource in RESOURCES
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check say which differ. The exit code: 1 when some do."""
    parser = argparse.ArgumentParser(prog="python -m dstk.api.generate", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("crds"), help="default: crds")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file differs")
    options = parser.parse_args(arguments)

    stale = []
    for name, text in documents().items():
        path = options.directory / name
        if options.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(path)
        else:
            options.directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} differs from the models; run: python -m dstk.api.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""Fails unless package, crates and chart have one version: the one that is given, if one is (`versions.py 0.1.0`)."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """The version that each file says."""
    chart = (ROOT / "deploy" / "helm" / "dstk" / "Chart.yaml").read_text()
    found = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "Cargo.toml": tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"],
    }
    for field in ("version", "appVersion"):
        match = re.search(rf"^{field}: (\S+)$", chart, re.MULTILINE)
        found[f"Chart.yaml {field}"] = match[1] if match else "none"
    return found


def main() -> int:
    found = versions()
    wanted = sys.argv[1] if len(sys.argv) > 1 else found["pyproject.toml"]
    for where, version in found.items():
        if version != wanted:
            print(f"{where} says {version}, not {wanted}", file=sys.stderr)
    return int(set(found.values()) != {wanted})


if __name__ == "__main__":
    sys.exit(main())

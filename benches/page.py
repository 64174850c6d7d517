"""docs/benchmarks.md and its plots, from benches/page.md and build/bench/*.json. `make bench-page`."""

from __future__ import annotations

import json

import plots
from report import FOLDER, ROOT
from tables import filled

TEMPLATE = ROOT / "benches" / "page.md"
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Write page and plots."""
    reports = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    PAGE.write_text(filled(TEMPLATE.read_text(), reports))
    drawn = plots.draw(reports, PAGE.parent / "benchmarks")
    print(f"written: {PAGE.relative_to(ROOT)}, {', '.join(drawn) or 'no plots'}")


if __name__ == "__main__":
    main()

"""What is made from other files here: the chart's copies of crds/, and deploy/dstk.yaml, rendered from the chart.

Writes them; with --check it fails when they differ from what it would write.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHART = HERE / "helm" / "dstk"
KUBERNETES = "1.36"
HEADER = """\
# dstk without Helm: `kubectl apply --server-side -f deploy/dstk.yaml`. Rendered from deploy/helm/dstk with its default
# values by deploy/render.py; change those.
apiVersion: v1
kind: Namespace
metadata:
  name: dstk
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def helm(*arguments: str) -> str:
    """What helm prints. Raises CalledProcessError."""
    binary = subprocess.run([HERE / "helm-binary"], check=True, capture_output=True, text=True).stdout.strip()
    return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True).stdout


def definitions() -> dict[Path, str]:
    """The chart's copies of the definitions."""
    return {CHART / "files" / "crds" / path.name: path.read_text() for path in (HERE.parent / "crds").glob("*.yaml")}


def plain() -> str:
    """deploy/dstk.yaml"""
    rendered = helm("template", "dstk", str(CHART), "--namespace", "dstk", "--kube-version", KUBERNETES)
    helms = re.compile(r"^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
    return HEADER + helms.sub("", rendered)


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for made in (definitions, lambda: {HERE / "dstk.yaml": plain()}):
        # The second is rendered with the first in place.
        for path, text in made().items():
            if path.exists() and path.read_text() == text:
                continue
            stale.append(str(path.relative_to(HERE.parent)))
            if not check:
                path.write_text(text)
    for path in (CHART / "files" / "crds").glob("*.yaml"):
        if path not in definitions():
            stale.append(str(path.relative_to(HERE.parent)))
            if not check:
                path.unlink()
    if check and stale:
        print(f"not up to date: {' '.join(stale)}; run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

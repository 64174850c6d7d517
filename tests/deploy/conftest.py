"""What the tests of the chart need: a helm."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from charts import ROOT, Rendered, rendered


@pytest.fixture(scope="session", autouse=True)
def helm() -> str:
    """Builds a helm when there is none."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dstk" / "tools"
    if not (os.environ.get("HELM") or shutil.which("go") or any(cached.glob("helm-*/helm"))):
        pytest.skip("there is no helm and no Go to build one with: install Go, or name a helm in $HELM")
    done = subprocess.run([ROOT / "deploy" / "helm-binary"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def chart() -> Rendered:
    """The chart with its default values."""
    return rendered()

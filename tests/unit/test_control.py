"""A worker speaks with the operator, and does not need what typed resources need."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["msgspec"] = None
from dstk.control import commands, views
"""


def test_commands_and_views_need_no_typed_resources() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)

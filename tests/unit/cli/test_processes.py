"""What a command does as a process."""

from __future__ import annotations

import subprocess
import sys


def test_a_process_that_does_not_end_is_cut_off() -> None:
    code = "import time; from dstk.cli.processes import ends_within; ends_within(0.05)(); time.sleep(60)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "did not end within 0.05 s" in ended.stderr

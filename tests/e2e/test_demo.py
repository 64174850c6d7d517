"""The demo loses nothing and says so."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_demo_shows_every_operation_and_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dstk.cli", "demo", "--json", "--keys", "20000", "--seconds", "5", "--workers", "3"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["lost_writes"], result["wrong_reads"], result["failed_requests"]) == (0, 0, 0)
    assert result["acked_writes"] >= 20_000
    completed = [row["type"] for row in result["assignments"] if row["phase"] == "Completed"]
    assert set(completed) == {"New", "InWorkerSplit", "InWorkerMerge", "InterWorkerMove"}
    assert completed.count("InterWorkerMove") >= 4

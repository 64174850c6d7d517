"""What CONTRIBUTING.md says of how to add a command is so: its patch applies to this tree, and passes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/integration/workers/test_ping.py",
    "tests/property/test_control_messages.py",
    "tests/unit/test_fault_table.py",
)


def test_a_command_is_added_as_it_is_written_there(tmp_path: Path) -> None:
    (patch,) = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    for name in ("python", "proto", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "command.diff").write_text(patch, encoding="utf-8")
    subprocess.run(["git", "apply", "command.diff"], cwd=tmp_path, check=True)
    paths = [str(tmp_path / "python"), str(Path(sys.executable).parent)]
    environment = {
        **os.environ,
        "PYTHONPATH": paths[0],
        "PATH": os.pathsep.join([paths[1], os.environ["PATH"]]),
    }
    subprocess.run([sys.executable, "proto/generate.py"], cwd=tmp_path, env=environment, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

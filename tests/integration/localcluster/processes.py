"""What runs on this machine, by a word of its command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dstk.local.operators import OperatorLife
from dstk.local.runner import Life
from localcluster import fake_operator, fake_worker


def fake_worker_command(life: Life) -> Sequence[str]:
    identity = ["--name", life.name, "--pod-uid", life.pod_uid, "--ready-file", str(life.ready_file)]
    addresses = [f"--{name}-address=127.0.0.1:{port}" for name, port in life.ports.items()]
    return [sys.executable, str(Path(fake_worker.__file__)), *identity, *addresses]


def fake_operator_command(life: OperatorLife) -> Sequence[str]:
    where = ["--kubeconfig", str(life.kubeconfig), "--namespace", life.namespace]
    return [sys.executable, str(Path(fake_operator.__file__)), *where]


def running_with(word: str) -> list[int]:
    """Processes, zombies apart, that have `word` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if word.encode() in command and state != "Z":
            found.append(int(entry.name))
    return found

"""`dstk up` as a user runs it, and kubectl beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import worlds
from waiting import wait_until
from worlds import kubectl as kubectl

START_SECONDS = 120
STOP_SECONDS = 60
STEP_SECONDS = 120


class Up:
    """A running `dstk up`."""

    process: subprocess.Popen[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.killed = False

    @property
    def endpoints(self) -> dict[str, Any]:
        """What endpoints.json says."""
        endpoints: dict[str, Any] = json.loads((self.folder / "endpoints.json").read_text())
        return endpoints

    def dstk(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a dstk command against it."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        return subprocess.run(
            [sys.executable, "-m", "dstk.cli", *arguments],
            input=input, capture_output=True, text=True, env=environment, timeout=STEP_SECONDS, check=False,
        )  # fmt: skip

    def data(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a dstk data command against its workers."""
        return self.dstk(*arguments, "--dir", str(self.folder))

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl against it; standard output."""
        done = subprocess.run(
            [kubectl() or "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=input, capture_output=True, text=True, timeout=STEP_SECONDS, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
            return done.stdout
        return done.stdout + done.stderr

    def kill(self) -> None:
        """SIGKILL to `dstk up` itself: it cannot clean up, and yet nothing may be left running."""
        self.killed = True
        self.process.kill()
        self.process.wait()
        wait_until(lambda: not self.processes(), lambda: f"left behind: {self.processes()}")

    def processes(self) -> list[int]:
        """Processes that run with this folder on their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if str(self.folder).encode() in command and state != "Z":
                    found.append(int(entry.name))
        return found


@contextmanager
def up(folder: Path, *arguments: str) -> Iterator[Up]:
    """Run `dstk up`; at the end it must stop by SIGTERM with exit code 0 and leave no process behind."""
    running = Up(folder)
    command = [sys.executable, "-m", "dstk.cli", "up", "--json", "--dir", str(folder), *arguments]
    tenant = worlds.tenant(folder)
    if tenant is not None:
        command += ["--kubeconfig", str(tenant.kubeconfig), "--operator-kubeconfig", str(tenant.operator_kubeconfig)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        told = process.stdout.readline()
        assert process.poll() is None, "dstk up ended before it was ready"
        assert time.monotonic() < deadline
        assert json.loads(told) == {"kubeconfig": str(running.kubeconfig), **running.endpoints}
        running.process = process
        yield running
        if running.killed:
            return
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
        assert running.processes() == []
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

"""A process that keeps the worker's contract: it listens, writes its ready file, and ends on SIGTERM.

How it behaves is in environment variables: FAKE_WORKER_EXIT ends it at once with that code, FAKE_WORKER_STUBBORN makes
it ignore SIGTERM, FAKE_WORKER_CHILD lets it start a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

PORTS = ("data", "control", "metrics")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--pod-uid", required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    for port in PORTS:
        parser.add_argument(f"--{port}-address", default="127.0.0.1:0")
    arguments = parser.parse_args()
    print(f"{arguments.name} of pod {arguments.pod_uid}", flush=True)
    if "FAKE_WORKER_EXIT" in os.environ:
        sys.exit(int(os.environ["FAKE_WORKER_EXIT"]))
    if "FAKE_WORKER_STUBBORN" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "FAKE_WORKER_CHILD" in os.environ:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", str(arguments.ready_file)])
    told = {port: getattr(arguments, f"{port}_address").rpartition(":")[2] for port in PORTS}
    sockets = {port: socket.create_server(("127.0.0.1", int(told[port]))) for port in PORTS}
    addresses = {port: f"127.0.0.1:{one.getsockname()[1]}" for port, one in sockets.items()}
    fresh = arguments.ready_file.with_suffix(".new")
    fresh.write_text(json.dumps(addresses))
    fresh.replace(arguments.ready_file)
    signal.pause()


if __name__ == "__main__":
    main()

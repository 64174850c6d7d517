"""An operator for tests that kill it all the time: each life is a process of its own, forked with everything imported.

``python brisk_operator.py KUBECONFIG NAMESPACE LIFE``. LIFE is a JSON file that says what the next life is like:
``{"limits": {…}}``. SIGHUP ends the present lives by SIGKILL and starts another; a life that was killed
is followed by another at once. SIGUSR1 starts one more beside the present ones, as happens when one is taken for dead.
SIGUSR2 ends the present lives, and there is none until SIGHUP.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from dstk import kube, operator
from dstk.lifecycle.observed import Limits
from dstk.local import launch
from dstk.operator import OperatorSettings

BRISK = Limits(
    destination_silent_seconds=60.0,  # a worker that is killed comes back before that
    stall_seconds=0.5,
    fence_max_seconds=0.4,
    fence_tries=50,  # a worker's restart costs tries, and how many depends on the machine
    fence_retry_seconds=0.1,
    follow_tries=50,
    follow_retry_seconds=0.1,
    wait_seconds=0.1,
)


def main() -> NoReturn:
    kubeconfig, namespace, life = sys.argv[1:]
    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(levelname)-7s %(name)s: %(message)s")
    lives: set[int] = set()
    signals = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
    wanted = True
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        if wanted and not lives:
            lives.add(_start(kubeconfig, namespace, Path(life), signals))
        match signal.sigwait(signals):
            case signal.SIGCHLD:
                lives -= _ended()
            case signal.SIGUSR1:
                lives.add(_start(kubeconfig, namespace, Path(life), signals))
            case number:
                for pid in lives:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                lives.clear()
                wanted = number != signal.SIGUSR2
                if not wanted:
                    logging.info("no operator")
                if number == signal.SIGTERM:
                    sys.exit(0)


def _ended() -> set[int]:
    found = set()
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"a life of the operator has ended with {os.waitstatus_to_exitcode(status)}")
        found.add(pid)


def _start(kubeconfig: str, namespace: str, life: Path, signals: set[signal.Signals]) -> int:
    told = json.loads(life.read_text())
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(launch.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    settings = OperatorSettings(
        kubeconfig=kubeconfig,
        namespace=namespace,
        leader_election=False,
        election=kube.ElectionSettings.of(5.0),
        limits=replace(BRISK, **told["limits"]),
        control_timeout=1.0,
        reconnect_longest=0.2,
    )
    try:
        asyncio.run(operator.run(settings, asyncio.Event()))
    except BaseException:
        logging.exception("the operator has ended")
    os._exit(1)


if __name__ == "__main__":
    main()

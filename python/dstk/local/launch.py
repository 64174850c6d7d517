"""Starts a command that dies with its parent: `python launch.py PARENT_PID COMMAND…`.

Run by its path, isolated and without site-packages, so that it costs a few milliseconds. On Linux the kernel kills the
command when the thread that started it is gone (prctl(2), PR_SET_PDEATHSIG); the setting survives exec.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()

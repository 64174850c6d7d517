"""The `dstk` command. Each subcommand's module is imported only when it runs, so a bare install has the data verbs."""

from __future__ import annotations

import contextlib
import os
import sys

from dstk import errors
from dstk.cli import codes
from dstk.cli.parser import parse

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code: see :mod:`dstk.cli.codes`."""
    _have_streams()
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _drop_output() or code or codes.NO_READER
    except OSError as error:
        return _drop_output() or _tell(f"standard output: {error.strerror}", code or codes.FAILED)
    return code


def _run(arguments: list[str] | None) -> int:
    extra = ""
    try:
        parsed = parse(arguments)
        extra = parsed.extra
        return int(parsed.run(parsed))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else codes.FAILED
    except KeyboardInterrupt:
        return codes.INTERRUPTED
    except BrokenPipeError:
        return _drop_output() or codes.NO_READER
    except errors.DstkError as error:
        return _tell(error, error.exit_code)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").partition(".")[0] == "dstk":
            raise
        return _tell(f"this command needs more than the bare install: pip install 'dstk[{extra}]'", codes.WRONG_INPUT)
    except OSError as error:
        return _tell(error, codes.FAILED)


def _have_streams() -> None:
    """Output that was closed before goes nowhere; characters that a terminal has not are shown by their numbers."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it is open to the end of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a test's own is what it is
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> int:
    """What is not printed yet never will be: else the interpreter complains of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return 0


def _tell(what: object, code: int) -> int:
    with contextlib.suppress(OSError):  # there may be nobody to tell
        print(f"dstk: {' '.join(str(what).split())}", file=sys.stderr)
    return code

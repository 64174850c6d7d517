"""With what the `dstk` command ends, so that a script can tell one end from another."""

from __future__ import annotations

from dstk import errors

__all__ = [
    "ABORTED",
    "FAILED",
    "INTERRUPTED",
    "MEANINGS",
    "NO_READER",
    "NO_ROW",
    "OTHER_VERSION",
    "UNAVAILABLE",
    "UNKNOWN",
    "WRONG_INPUT",
    "epilog",
]

FAILED = errors.DstkError.exit_code
WRONG_INPUT = errors.InvalidRequest.exit_code
ABORTED = 3
UNAVAILABLE = errors.Unavailable.exit_code
NO_ROW = 5
OTHER_VERSION = errors.VersionMismatch.exit_code
UNKNOWN = errors.OutcomeUnknown.exit_code
INTERRUPTED = 130
NO_READER = 141

MEANINGS = {
    0: "done",
    FAILED: "failed",
    WRONG_INPUT: "wrong input",
    ABORTED: "the Assignment ended Aborted",
    UNAVAILABLE: "not done, as something did not answer in time: try again",
    NO_ROW: "there is no such row",
    OTHER_VERSION: "the row has another version than --if-version says: nothing was written",
    UNKNOWN: "a write was sent and no answer came: it may have happened",
    INTERRUPTED: "interrupted (Ctrl-C)",
    NO_READER: "nobody reads what is printed any more, as in a pipe to `head -1`",
}


def epilog() -> str:
    """The codes for --help."""
    return "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())

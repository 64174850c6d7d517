"""Arguments that may be any bytes: the shell hands over what is no text as it is."""

from __future__ import annotations

__all__ = ["argument_bytes", "key_text"]


def argument_bytes(argument: str) -> bytes:
    """The text in UTF-8, whatever the locale; bytes that were no text as they were given."""
    return argument.encode("utf-8", "surrogateescape")


def key_text(argument: str) -> str:
    """A key as resources have it: the text that was given, or hex as 0x… where it was no text."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return "0x" + argument_bytes(argument).hex()
    return argument

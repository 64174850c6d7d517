"""`dstk cuts`: where to cut a keyspace, from a sample of its keys; and bounds as they are given to `dstk up`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dstk import errors, keys


def cuts(arguments: argparse.Namespace) -> int:
    """Print the bounds of spec.partitions.bounds, one a line, as a YAML list."""
    sample = _sample(arguments.source, arguments.key_length)
    for bound in spelled(keys.sampled_cuts(sample, arguments.partitions)):
        print(f"- {json.dumps(bound)}")
    return 0


def spelled(cuts: list[bytes]) -> list[str]:
    """Bounds as resources have them: all as text if all can be, else all as hex, so that eyes can compare them."""
    bounds = [keys.format_bound(cut) for cut in cuts]
    if not any(bound.startswith("0x") for bound in bounds):
        return bounds
    return [f"0x{cut.hex()}" for cut in cuts]


def bounds_given(given: str, key_length: int) -> list[str]:
    """The bounds of ``--bounds``: ``a,b,c``, or ``@FILE`` with one a line, as `dstk cuts` prints them.

    Raises ConfigError for a file that cannot be read, InvalidRequest for bounds that cut nothing.
    """
    if given.startswith("@"):
        lines = _text(given[1:]).splitlines()
        bounds = [_unquoted(line.strip().removeprefix("- ").strip()) for line in lines if line.strip()]
    else:
        bounds = given.split(",")
    empty = next((place for place, bound in enumerate(bounds, 1) if not bound), None)
    if empty is not None:
        raise errors.InvalidRange(f"bound {empty} of --bounds {given} is empty: write the first key of each partition")
    keys.bounds_at([keys.parse_bound(bound, key_length) for bound in bounds], key_length)
    return bounds


def _unquoted(line: str) -> str:
    if not line.startswith('"'):
        return line
    try:
        return str(json.loads(line))
    except ValueError:
        raise errors.ConfigError(f"{line} is no text in double quotes: quote it as JSON does, or not at all") from None


def _sample(source: str, key_length: int) -> list[bytes]:
    if source.endswith(".npy"):
        return _of_array(Path(source), key_length)
    return list(_of_lines(_text(source), key_length))


def _of_lines(text: str, key_length: int) -> Iterator[bytes]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        try:
            yield keys.parse_bound(line, key_length)
        except errors.InvalidRequest as error:
            raise type(error)(f"line {number}: {error}") from None


def _of_array(path: Path, key_length: int) -> list[bytes]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise errors.ConfigError(f"cannot read {path}: {error}") from None
    if array.dtype == np.uint8 and array.ndim == 2:
        array = np.ascontiguousarray(array).view(f"V{array.shape[1]}").reshape(-1)
    if array.dtype.kind not in "SV" or array.ndim != 1:
        raise errors.WrongType(
            f"{path} has {array.dtype} of shape {array.shape}; keys are uint8 of shape (n, length) or S"
        )
    return [keys.pad(key, key_length) for key in array.tolist()]


def _text(source: str) -> str:
    """The file's text; "-" is standard input."""
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"cannot read {source}: {error}") from None

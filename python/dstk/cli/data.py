"""`dstk get`, `put`, `delete`, `scan`."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dstk import errors, keys
from dstk.cli import codes
from dstk.cli.arguments import argument_bytes, key_text
from dstk.client import Client, ClientSettings, connect

_HASH_BYTES = 2


def get(arguments: argparse.Namespace) -> int:
    """Print the value."""
    with _connect(arguments) as client:
        row = client.get(_key(arguments, client))
    if row is None:
        if arguments.json:
            print("null")
        return _no_row(arguments)
    if arguments.json:
        print(json.dumps({**_text("value", row.value), "version": row.version}))
    else:
        sys.stdout.buffer.write(row.value + b"\n")
    return 0


def put(arguments: argparse.Namespace) -> int:
    """Print the new version."""
    if arguments.value == "-" and sys.stdin is None:
        raise errors.InvalidRequest("standard input is closed, and the value was to come from there")
    value = sys.stdin.buffer.read() if arguments.value == "-" else argument_bytes(arguments.value)
    with _connect(arguments) as client, _naming(arguments):
        version = client.put(_key(arguments, client), value, arguments.if_version)
    print(json.dumps({"version": version}) if arguments.json else version)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Print the version of the removal."""
    with _connect(arguments) as client, _naming(arguments):
        version = client.delete(_key(arguments, client), arguments.if_version)
    if arguments.json:
        print(json.dumps({"version": version}))
    elif version is not None:
        print(version)
    return 0 if version is not None else _no_row(arguments)


def scan(arguments: argparse.Namespace) -> int:
    """Print the rows, and the cursor when there are more."""
    with _connect(arguments) as client:
        start, end = (_bound(bound, client) for bound in (arguments.start, arguments.end))
        page = client.scan(start, end, limit=arguments.limit, reverse=arguments.reverse)
    cursor = keys.format_bound(page.cursor) if page.cursor is not None else None
    if arguments.json:
        rows = [{"key": keys.format_bound(r.key), **_text("value", r.value), "version": r.version} for r in page]
        print(json.dumps({"rows": rows, "cursor": cursor}))
        return 0
    for row in page:
        sys.stdout.buffer.write(keys.format_bound(row.key).encode() + b"\t" + row.value + b"\n")
    sys.stdout.buffer.flush()
    if cursor is not None:
        print(f"more: go on with {'end' if arguments.reverse else 'start'} {cursor}", file=sys.stderr)
    return 0


def _no_row(arguments: argparse.Namespace) -> int:
    print(f"dstk: no row under {key_text(arguments.key)} in keyspace {arguments.keyspace}", file=sys.stderr)
    return codes.NO_ROW


@contextmanager
def _naming(arguments: argparse.Namespace) -> Iterator[None]:
    """A condition that was not met says of which key."""
    try:
        yield
    except errors.VersionMismatch as error:
        key, current = key_text(arguments.key), error.current_version
        found = f"the row under {key} has version {current}" if current else f"there is no row under {key}"
        said = f"{found}, and --if-version says {arguments.if_version}: nothing was written"
        raise errors.VersionMismatch(said, current) from error


def _connect(arguments: argparse.Namespace) -> Client:
    address = arguments.address
    if arguments.dir:
        address = _addresses(Path(arguments.dir))
    if not address:
        raise errors.ConfigError("no worker named: give --address host:port, --dir of a `dstk up`, or $DSTK_ADDRESS")
    settings = ClientSettings(timeout_seconds=arguments.timeout, connect_seconds=arguments.timeout)
    return connect(address, arguments.keyspace, settings=settings)


def _addresses(folder: Path) -> list[str]:
    path = folder / "endpoints.json"
    try:
        addresses = [worker["data"] for worker in json.loads(path.read_text())["workers"].values()]
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = f"{path} is no file of `dstk up`"
    else:
        if addresses and all(isinstance(each, str) for each in addresses):
            return addresses
        problem = f"{path} names no workers"
    raise errors.ConfigError(f"{problem}; is `dstk up --dir {folder}` running?")


def _key(arguments: argparse.Namespace, client: Client) -> bytes:
    """The key; with --hashed the one that a layout of ``hashed(text(…))`` as long as the keyspace's keys has."""
    length = client.key_length - (_HASH_BYTES if arguments.hashed else 0)
    key = keys.parse_bound(key_text(arguments.key), length) or bytes(length)
    return keys.hashed(key, _HASH_BYTES) if arguments.hashed else key


def _bound(argument: str, client: Client) -> bytes:
    """Without the padding, which the client adds: an error names the bound as it was given."""
    return keys.parse_bound(key_text(argument), client.key_length).rstrip(b"\0") or bytes(bool(argument))


def _text(name: str, value: bytes) -> dict[str, Any]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {name + "_base64": base64.b64encode(value).decode()}

"""The kinds that commands read and write, and the connection they do it by."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dstk import api, errors, kube

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)


@asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[tuple[kube.Connection, str]]:
    """The API server that --kubeconfig or --dir names, and the namespace."""
    connection = await kube.connect(_kubeconfig(arguments))
    try:
        yield connection, arguments.namespace or connection.namespace
    finally:
        await connection.close()


def _kubeconfig(arguments: argparse.Namespace) -> str | None:
    if arguments.kubeconfig or not arguments.dir:
        chosen: str | None = arguments.kubeconfig
        return chosen
    path = Path(arguments.dir) / "kubeconfig"
    if not path.exists():
        raise errors.ConfigError(f"there is no {path}; is `dstk up --dir {arguments.dir}` running?")
    return str(path)

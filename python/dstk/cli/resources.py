"""The kinds that commands read and write, and the connection they do it by."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dstk import api, kube

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)
PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
ASSIGNMENTS = kube.Kind(api.API_VERSION, "Assignment", "assignments", api.Assignment)


@asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[tuple[kube.Connection, str]]:
    """The API server that --kubeconfig names, and the namespace."""
    connection = await kube.connect(arguments.kubeconfig)
    try:
        yield connection, arguments.namespace or connection.namespace
    finally:
        await connection.close()

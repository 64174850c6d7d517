"""`dstk cordon`, `uncordon`, `wait-empty`: workers that are to give away what they hold."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from http.client import HTTPConnection, HTTPException

from dstk import errors

_POLL_SECONDS = 0.5
_OWNED = re.compile(rb"^dstk_worker_partitions_(?:primary|proxy) (\S+)$", re.MULTILINE)


def cordon(arguments: argparse.Namespace) -> int:
    """Keep new partitions away from a worker and move the present ones off."""
    return asyncio.run(_annotate(arguments, "true"))


def uncordon(arguments: argparse.Namespace) -> int:
    """Let a worker have partitions again."""
    return asyncio.run(_annotate(arguments, None))


def wait_empty(arguments: argparse.Namespace) -> int:
    """Wait until a worker serves nothing and passes nothing on, or has ended. Raises Unavailable when time is up."""
    address, deadline = arguments.metrics_address, time.monotonic() + arguments.seconds
    while (owned := _owned(address)) is not None:
        if owned == 0:
            return 0
        if time.monotonic() >= deadline:
            raise errors.Unavailable(f"the worker at {address} still has {owned} partitions")
        time.sleep(_POLL_SECONDS)
    print(f"the worker at {address} has ended", file=sys.stderr)
    return 0


def _owned(address: str) -> int | None:
    """How many partitions the worker serves or passes on; None when there is no worker."""
    connection = HTTPConnection(address, timeout=10)  # urllib would go through a proxy
    try:
        connection.request("GET", "/metrics")
        counts = _OWNED.findall(connection.getresponse().read())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    if len(counts) != 2:
        raise errors.ConfigError(f"{address} serves no metrics of a worker")
    return sum(int(float(count)) for count in counts)


async def _annotate(arguments: argparse.Namespace, value: str | None) -> int:
    from dstk import api, kube
    from dstk.cli.resources import connected

    async with connected(arguments) as (connection, namespace):
        pods = kube.Objects(connection, kube.PODS, namespace)
        try:
            await pods.patch(arguments.worker, {"metadata": {"annotations": {api.CORDONED_ANNOTATION: value}}})
        except errors.ApiError as error:
            if not kube.is_not_found(error):
                raise
            known = f"there is no pod {arguments.worker!r} in namespace {namespace!r}; `dstk status` lists the workers"
            raise errors.InvalidRequest(known) from None
    print(f"pod/{arguments.worker} {'cordoned' if value else 'uncordoned'}")
    return 0

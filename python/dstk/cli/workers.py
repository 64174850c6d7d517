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
_ANSWER_SECONDS = 10.0
_HELD = b"# TYPE dstk_worker_partitions gauge"
_OWNED = re.compile(rb'^dstk_worker_partitions\{.*role="(?:primary|proxy)".*\} (\S+)$', re.MULTILINE)


def cordon(arguments: argparse.Namespace) -> int:
    """Keep new partitions away from a worker and move the present ones off."""
    return asyncio.run(_annotate(arguments, "true"))


def uncordon(arguments: argparse.Namespace) -> int:
    """Let a worker have partitions again."""
    return asyncio.run(_annotate(arguments, None))


def wait_empty(arguments: argparse.Namespace) -> int:
    """Wait until a worker serves nothing and passes nothing on, or has ended. Raises Unavailable when time is up."""
    address, deadline = arguments.metrics_address, time.monotonic() + arguments.seconds
    while True:
        try:
            owned = _owned(address)
            waiting = f"the worker at {address} still has {owned} partitions"
        except ConnectionRefusedError:
            print(f"the worker at {address} has ended", file=sys.stderr)
            return 0
        except (OSError, HTTPException) as error:
            owned, waiting = None, f"the worker at {address} does not answer: {error or type(error).__name__}"
        if owned == 0:
            return 0
        if time.monotonic() >= deadline:
            raise errors.Unavailable(waiting)
        time.sleep(_POLL_SECONDS)  # another process, which has no way to tell


def _owned(address: str) -> int:
    """How many partitions the worker serves or passes on. Raises ConnectionRefusedError when nobody listens there."""
    connection = HTTPConnection(address, timeout=_ANSWER_SECONDS)  # urllib would go through a proxy
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read()
    finally:
        connection.close()
    if _HELD not in page:
        raise errors.ConfigError(f"{address} serves no metrics of a worker")
    return sum(int(float(count)) for count in _OWNED.findall(page))


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

"""`dstk operator`, `worker`: the long-running commands, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from dstk import errors

_END_SECONDS = 10.0
"""An operator that has lost its lease, or was told to stop, has so long to end in good order."""


def operator(arguments: argparse.Namespace) -> int:
    """Run the operator."""
    from dstk import kube
    from dstk import operator as operating

    _log(arguments.log_level)
    settings = operating.OperatorSettings(
        namespace=arguments.namespace,
        kubeconfig=arguments.kubeconfig,
        components=frozenset(part.strip() for part in arguments.components.split(",") if part.strip()),
        leader_election=not arguments.no_leader_election,
        metrics_address=arguments.metrics_address and _address(arguments.metrics_address),
        worker_selector=arguments.worker_selector,
        election=kube.ElectionSettings.of(arguments.lease_seconds),
        limits=operating.limits_of(dict(map(_limit, arguments.limit))),
    )
    return until_signal(lambda stop: operating.run(settings, stop, ends_within(_END_SECONDS)))


def worker(arguments: argparse.Namespace) -> int:
    """Run a worker."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it cannot do is said by us, once
    from dstk import worker as working

    _log(arguments.log_level)
    if not arguments.name:
        raise errors.ConfigError("the worker needs its pod's name: --name or $POD_NAME")
    settings = working.WorkerSettings(
        name=arguments.name,
        pod_uid=arguments.pod_uid,
        data_address=_address(arguments.data_address),
        control_address=_address(arguments.control_address),
        metrics_address=_address(arguments.metrics_address),
        partition_metrics=arguments.partition_metrics,
        advertise_host=arguments.advertise_host,
        ready_file=Path(arguments.ready_file) if arguments.ready_file else None,
        drain_seconds=arguments.drain_seconds,
        data_dir=Path(arguments.data_dir) if arguments.data_dir else None,
        limits=dict(map(_limit, arguments.limit)),
    )
    return until_signal(lambda stop: working.run(settings, stop))


def until_signal(run: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run it; SIGINT and SIGTERM set the event, by which it has to end."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await run(stop)

    asyncio.run(main())
    return 0


def ends_within(seconds: float) -> Callable[[], None]:
    """What, once called, ends this process after so many seconds, in good order or not.

    An operator that has lost its lease and does not end is no candidate either, and nobody starts it again.
    """

    def begin() -> None:
        def end() -> None:
            logging.getLogger(__name__).error("this process did not end within %g s of its stop: cut off", seconds)
            os._exit(1)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    return begin


def _log(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise errors.ConfigError(f"{text!r} is no address; write host:port, port 0 for any")
    return text


def limits_of(given: list[str]) -> dict[str, dict[str, int | float | str]]:
    """What `--limit WHO.NAME=VALUE` gives workers and operator. Raises ConfigError for what they would not take."""
    from dstk import operator as operating
    from dstk import worker as working

    limits: dict[str, dict[str, int | float | str]] = {"worker": {}, "operator": {}}
    for text in given:
        who, dot, rest = text.partition(".")
        if not dot or who not in limits:
            raise errors.ConfigError(
                f"--limit {text!r}: write worker.NAME=VALUE or operator.NAME=VALUE, for instance worker.hold_seconds=5"
            )
        name, value = _limit(rest)
        limits[who][name] = value
    working.check_limits(limits["worker"])
    operating.limits_of(limits["operator"])
    return limits


def _limit(text: str) -> tuple[str, int | float | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise errors.ConfigError(f"--limit {text!r}: write NAME=VALUE, for instance hold_seconds=5")
    for number in (int, float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value

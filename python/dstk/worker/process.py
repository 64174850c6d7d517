"""The worker process: the node, its control service, metrics and health, from start to a clean stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

from dstk import errors, faults
from dstk._core import Node, set_fault_hook
from dstk.wire import ControlServer
from dstk.worker.control import Control
from dstk.worker.metrics import MetricsServer
from dstk.worker.settings import WorkerSettings, new_incarnation

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2


async def run(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Be a worker until `stop` is set, then wait to be emptied for as long as the settings say, and end cleanly.

    Raises :class:`~dstk.errors.ConfigError` when a port, the data directory or the ready file cannot be had,
    :class:`~dstk.errors.DataDamaged` when what is in it cannot be trusted, and :class:`~dstk.errors.Unavailable` when
    the disk fails.
    """
    incarnation = new_incarnation(settings.pod_uid)
    if faults.armed is not None:
        _reach_node_points(faults.armed, settings.name)
    limits = settings.limits if settings.data_dir is None else {**settings.limits, "data_dir": str(settings.data_dir)}
    node = Node(settings.name, incarnation, limits)
    data_address = _advertised(node.listen(settings.data_address), settings)
    control = Control(node, settings.name, incarnation, data_address, settings.pod_uid)
    server = ControlServer(control)
    metrics: MetricsServer | None = None
    try:
        metrics = MetricsServer(node, settings.metrics_address, by_partition=settings.partition_metrics)
        control_address = await server.start(settings.control_address)
        await server.set_serving(True)
        addresses = {
            "data": data_address,
            "control": _advertised(control_address, settings),
            "metrics": _advertised(metrics.address, settings),
        }
        if settings.ready_file is not None:
            try:
                write_atomically(settings.ready_file, json.dumps(addresses))
            except OSError as error:
                message = f"the ready file {settings.ready_file} cannot be written: {error.strerror}"
                raise errors.ConfigError(message) from error
        log.info("worker %s (%s) serves at %s", settings.name, incarnation, addresses)
        await _until(stop, node)
        await _drain(control, node, settings.drain_seconds)
    finally:
        await server.set_serving(False)
        control.refuse()
        await asyncio.to_thread(node.stop, settings.grace_seconds)
        # After the node: the last report says up to where the log is for good.
        control.stop()
        await server.stop(settings.grace_seconds)
        if metrics is not None:
            metrics.stop()
    log.info("worker %s has stopped", settings.name)


def _reach_node_points(armed: faults.Armed, name: str) -> None:
    """Before there is a node: starting has points, too."""
    set_fault_hook(lambda point, partition: armed.reach_blocking(point, partition or name))


async def _until(stop: asyncio.Event, node: Node) -> None:
    """Until `stop` is set. Raises Unavailable when the log can no longer be written: only another life can."""
    while node.failure is None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await stop.wait()
                return
        except TimeoutError:
            continue
    raise errors.Unavailable(f"this worker ends: {node.failure}")


async def _drain(control: Control, node: Node, seconds: float) -> None:
    """Say that this worker leaves, and wait until it owns nothing."""
    control.draining = True
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        owned = sum(state.role in ("primary", "proxy") for state in await asyncio.to_thread(node.states))
        if not owned:
            return
        await asyncio.sleep(_POLL_SECONDS)


def _advertised(bound: str, settings: WorkerSettings) -> str:
    host, _, port = bound.rpartition(":")
    return f"{settings.advertise_host or host}:{port}"


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader sees all of it or nothing."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(text)
    os.replace(scratch, path)

"""`dstk status`: what there is, in a page."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from dstk import api, errors, kube
from dstk.api.losses import acceptance, loss_of
from dstk.api.standing import READY
from dstk.cli import output
from dstk.cli.overview import Choice, WorkerSum, choose, per_worker
from dstk.cli.resources import ASSIGNMENTS, KEYSPACES, PARTITIONS, connected
from dstk.operator.workers import is_worker

_SHOWN = 40
"""Partitions in the table, unless more are asked for."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What there was at one moment, as far as it is asked for."""

    keyspaces: list[api.Keyspace]
    workers: dict[str, WorkerSum]
    partitions: list[api.Partition]
    assignments: list[api.Assignment]


def status(arguments: argparse.Namespace) -> int:
    """Print keyspaces, workers, partitions and assignments; with --watch again and again, until Ctrl-C."""
    asyncio.run(_show(arguments))
    return 0


async def _show(arguments: argparse.Namespace) -> None:
    console = output.console()
    async with connected(arguments) as (connection, namespace):
        while True:
            look = await _read(arguments, connection, namespace)
            if arguments.watch is not None and not arguments.json:
                console.clear()
            if arguments.json:
                print(json.dumps(_plain(look, arguments.limit)), flush=True)
            else:
                _print(console, look, arguments)
            if arguments.watch is None:
                return
            await asyncio.sleep(arguments.watch)


async def _read(arguments: argparse.Namespace, connection: kube.Connection, namespace: str) -> _Look:
    keyspaces = await kube.Objects(connection, KEYSPACES, namespace).list_all()
    partitions = await kube.Objects(connection, PARTITIONS, namespace).list_all()
    assignments = await kube.Objects(connection, ASSIGNMENTS, namespace).list_all()
    pods = await _pods(connection, namespace)
    choice = Choice(arguments.keyspace, arguments.worker, arguments.phase, arguments.sort)
    owners = {name for item in partitions for name in (item.spec.primary, item.spec.proxy) if name}
    choice.check([item.metadata.name for item in keyspaces], owners | pods.keys())
    chosen = choose(partitions, choice)
    workers = per_worker([item for item in partitions if not choice.keyspaces or choice.takes(item)], pods)
    names = {item.metadata.name for item in chosen}
    filtered = bool(choice.keyspaces or choice.workers or choice.phases)
    return _Look(
        [item for item in keyspaces if not choice.keyspaces or item.metadata.name in choice.keyspaces],
        {name: has for name, has in workers.items() if not choice.workers or name in choice.workers},
        chosen,
        [
            item
            for item in assignments
            if (arguments.all or not item.finished) and (not filtered or names & set(item.spec.partitions))
        ],
    )


async def _pods(connection: kube.Connection, namespace: str) -> dict[str, str]:
    """The workers' pods with a word on each; none for those who may not look at pods."""
    try:
        pods = await kube.Objects(connection, kube.PODS, namespace).list_all()
    except errors.ApiError as error:
        if error.status != 403:
            raise
        return {}
    return {pod.metadata.name: _note(pod) for pod in pods if is_worker(pod)}


def _note(pod: kube.Pod) -> str:
    if pod.metadata.deletion_timestamp:
        return "leaving"
    if pod.metadata.annotations.get(api.CORDONED_ANNOTATION) == "true":
        return "cordoned"
    return "" if pod.status.phase == "Running" else pod.status.phase or "Pending"


def _plain(look: _Look, limit: int | None) -> dict[str, Any]:
    return {
        "keyspaces": [api.to_dict(item) for item in look.keyspaces],
        "workers": {name: asdict(has) for name, has in look.workers.items()},
        "partitions": [api.to_dict(item) for item in look.partitions[:limit]],
        "assignments": [api.to_dict(item) for item in look.assignments],
    }


def _print(console: Console, look: _Look, arguments: argparse.Namespace) -> None:
    console.print(_keyspaces(look.keyspaces), _workers(look.workers))
    limit = None if arguments.all and arguments.limit is None else arguments.limit or _SHOWN
    shown = look.partitions[:limit]
    console.print(_partitions(shown))
    if len(shown) < len(look.partitions):
        more = len(look.partitions) - len(shown)
        console.print(
            f"… and {more:,} partitions more: --all or --limit N shows them, --keyspace, --worker and --phase choose"
        )
    lost = [item for item in look.partitions if loss_of(item) is not None]
    if lost:
        console.print(_losses(lost), style="red")
    if look.assignments:
        console.print(_assignments(look.assignments))
    else:
        console.print("no assignments" if arguments.all else "no unfinished assignments")


def _keyspaces(keyspaces: Sequence[api.Keyspace]) -> Table:
    table = _table("keyspace", "key length", "durability", "partitions", "ready", "conditions")
    for item in keyspaces:
        conditions = ", ".join(f"{c.type}={c.status}" for c in item.status.conditions)
        table.add_row(
            item.metadata.name, str(item.spec.key_length), item.spec.durability, str(item.status.partitions),
            str(item.status.ready), conditions,
        )  # fmt: skip
    return table


def _workers(workers: dict[str, WorkerSum]) -> Table:
    table = _table("worker", "partitions", "rows", "bytes", "ops/s", "bytes/s", "note")
    for worker, has in workers.items():
        table.add_row(
            worker, str(has.partitions), f"{has.rows:,}", decimal(has.bytes), f"{has.operations:,}",
            decimal(has.carried), has.note,
        )  # fmt: skip
    return table


def _partitions(partitions: Sequence[api.Partition]) -> Table:
    table = _table(
        "partition", "start", "end", "primary", "proxy", "epoch", "phase", "rows", "bytes", "ops/s", "bytes/s",
        "conditions",
    )  # fmt: skip
    for item in partitions:
        spec, is_now = item.spec, item.status
        table.add_row(
            item.metadata.name, spec.range.start or "-∞", spec.range.end or "+∞", spec.primary or "",
            spec.proxy or "", str(spec.epoch), is_now.phase or "", f"{is_now.rows:,}", decimal(is_now.bytes),
            f"{is_now.operations_per_second:,}", decimal(is_now.bytes_per_second), ", ".join(_remarkable(item)),
        )  # fmt: skip
    return table


def _remarkable(item: api.Partition) -> list[str]:
    """Conditions that hold, but for the one that the phase says as well."""
    held = (each.type for each in item.status.conditions if each.status is api.ConditionStatus.TRUE)
    return [type_ for type_ in held if type_ != READY]


def _losses(partitions: Sequence[api.Partition]) -> Table:
    """What was lost and nobody has accepted, whichever partitions are shown."""
    table = _table("lost", "start", "end", "since", "reason", "served", "accept by")
    for item in partitions:
        loss, name = loss_of(item), item.metadata.name
        assert loss is not None
        served = "not" if item.status.phase is api.PartitionPhase.UNAVAILABLE else "from empty since"
        table.add_row(
            name, item.spec.range.start or "-∞", item.spec.range.end or "+∞", acceptance(loss), loss.reason, served,
            f"dstk accept-loss {name}",
        )  # fmt: skip
    return table


def _assignments(assignments: Sequence[api.Assignment]) -> Table:
    table = _table("assignment", "type", "partitions", "phase", "step", "reason")
    for item in assignments:
        named = item.spec.partitions
        table.add_row(
            item.metadata.name, item.spec.type, ", ".join(named[:3]) + (" …" if len(named) > 3 else ""),
            item.status.phase or "Pending", item.status.step or "", item.status.message or item.status.reason,
        )  # fmt: skip
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

"""`dstk status`: what there is, in a page."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from typing import Any, TypeVar

from rich.table import Table

from dstk import api, kube
from dstk.api.standing import READY
from dstk.cli import output
from dstk.cli.resources import ASSIGNMENTS, KEYSPACES, PARTITIONS, connected

T = TypeVar("T")

_SHOWN = 40
"""Partitions in the table, unless all are asked for."""


def status(arguments: argparse.Namespace) -> int:
    """Print keyspaces, workers, partitions and assignments."""
    keyspaces, partitions, assignments = asyncio.run(_read(arguments))
    if not arguments.all:
        assignments = [assignment for assignment in assignments if not assignment.finished]
    if arguments.json:
        print(
            json.dumps(
                {
                    "keyspaces": [api.to_dict(item) for item in keyspaces],
                    "partitions": [api.to_dict(item) for item in partitions],
                    "assignments": [api.to_dict(item) for item in assignments],
                }
            )
        )
        return 0
    console = output.console()
    console.print(_keyspaces(keyspaces), _workers(partitions))
    shown = partitions if arguments.all else partitions[:_SHOWN]
    console.print(_partitions(shown))
    if len(shown) < len(partitions):
        console.print(f"… and {len(partitions) - len(shown)} partitions more (--all shows them)")
    if assignments:
        console.print(_assignments(assignments))
    else:
        console.print("no unfinished assignments" if not arguments.all else "no assignments")
    return 0


async def _read(
    arguments: argparse.Namespace,
) -> tuple[list[api.Keyspace], list[api.Partition], list[api.Assignment]]:
    async with connected(arguments) as (connection, namespace):
        keyspaces = await kube.Objects(connection, KEYSPACES, namespace).list_all()
        partitions = await kube.Objects(connection, PARTITIONS, namespace).list_all()
        assignments = await kube.Objects(connection, ASSIGNMENTS, namespace).list_all()
    partitions.sort(key=lambda item: (item.spec.keyspace, _first_key(item), item.metadata.name))
    return keyspaces, partitions, assignments


def _first_key(partition: api.Partition) -> bytes:
    start = partition.spec.range.start
    return bytes.fromhex(start[2:]) if start.startswith("0x") else start.encode()


def _keyspaces(keyspaces: list[api.Keyspace]) -> Table:
    table = _table("keyspace", "key length", "durability", "partitions", "ready", "conditions")
    for item in keyspaces:
        conditions = ", ".join(f"{c.type}={c.status}" for c in item.status.conditions)
        table.add_row(
            item.metadata.name, str(item.spec.key_length), item.spec.durability, str(item.status.partitions),
            str(item.status.ready), conditions,
        )  # fmt: skip
    return table


def _workers(partitions: list[api.Partition]) -> Table:
    owned = Counter(item.spec.primary or "(nobody)" for item in partitions)
    rows = Counter[str]()
    for item in partitions:
        rows[item.spec.primary or "(nobody)"] += item.status.rows
    table = _table("worker", "partitions", "rows")
    for worker, count in sorted(owned.items()):
        table.add_row(worker, str(count), f"{rows[worker]:,}")
    return table


def _partitions(partitions: list[api.Partition]) -> Table:
    table = _table("partition", "start", "end", "primary", "proxy", "epoch", "phase", "rows", "conditions")
    for item in partitions:
        table.add_row(
            item.metadata.name, item.spec.range.start or "-∞", item.spec.range.end or "+∞", item.spec.primary or "",
            item.spec.proxy or "", str(item.spec.epoch), item.status.phase or "", f"{item.status.rows:,}",
            ", ".join(_remarkable(item)),
        )  # fmt: skip
    return table


def _remarkable(item: api.Partition) -> list[str]:
    """Conditions that hold, but for the one that the phase says as well."""
    held = (each.type for each in item.status.conditions if each.status is api.ConditionStatus.TRUE)
    return [type_ for type_ in held if type_ != READY]


def _assignments(assignments: list[api.Assignment]) -> Table:
    table = _table("assignment", "type", "partitions", "phase", "step", "reason")
    for item in assignments:
        named = item.spec.partitions
        table.add_row(
            item.metadata.name, item.spec.type, ", ".join(named[:3]) + (" …" if len(named) > 3 else ""),
            item.status.phase or "Pending", item.status.step or "", item.status.message or item.status.reason,
        )  # fmt: skip
    return table


def _table(*columns: Any) -> Table:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

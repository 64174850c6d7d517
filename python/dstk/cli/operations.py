"""`dstk split`, `merge`, `move`: each creates an Assignment and shows how far it is until it ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from typing import Any

import yaml

from dstk import api, errors, kube
from dstk.cli.arguments import key_text
from dstk.cli.codes import ABORTED
from dstk.cli.progress import show
from dstk.cli.resources import ASSIGNMENTS, PARTITIONS, connected


def split(arguments: argparse.Namespace) -> int:
    """Cut a partition at one key or several."""
    params: dict[str, Any] = {"partition": arguments.partition}
    at = [key_text(key) for key in arguments.at]
    if len(at) == 1:
        params["splitKey"] = at[0]
    else:
        params["splitKeys"] = at
    if arguments.names:
        params["names"] = [name.strip() for name in arguments.names.split(",")]
    return _run(arguments, "split", {"type": "InWorkerSplit", "splitParams": params})


def merge(arguments: argparse.Namespace) -> int:
    """Join partitions of one worker."""
    if len(set(arguments.partitions)) < 2:
        raise errors.InvalidRequest(f"merge takes two partitions or more, not {' '.join(arguments.partitions)} alone")
    params: dict[str, Any] = {"partitions": arguments.partitions}
    if arguments.name:
        params["name"] = arguments.name
    return _run(arguments, "merge", {"type": "InWorkerMerge", "mergeParams": params})


def move(arguments: argparse.Namespace) -> int:
    """Take a partition to another worker; where it is now is looked up."""
    params = {"partition": arguments.partition, "from": "", "to": arguments.to}
    return _run(arguments, "move", {"type": "InterWorkerMove", "moveParams": params})


def _run(arguments: argparse.Namespace, verb: str, spec: dict[str, Any]) -> int:
    return asyncio.run(_create(arguments, verb, spec))


async def _create(arguments: argparse.Namespace, verb: str, spec: dict[str, Any]) -> int:
    async with connected(arguments) as (connection, namespace):
        await _complete(spec, connection, namespace)
        name = arguments.assignment or f"{verb}-{secrets.token_hex(4)}"
        body = {
            "apiVersion": api.API_VERSION,
            "kind": "Assignment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        if arguments.dry_run:
            print(json.dumps(body) if arguments.json else yaml.safe_dump(body, sort_keys=False), end="")
            return 0
        assignments = kube.Objects(connection, ASSIGNMENTS, namespace)
        created = await assignments.create(body)
        if arguments.no_wait:
            print(json.dumps(api.to_dict(created)) if arguments.json else f"assignment.dstk.io/{name} created")
            return 0
        ended = await show(assignments, created, quiet=arguments.json or not sys.stderr.isatty())
        if arguments.json:
            print(json.dumps(api.to_dict(ended)))
        elif ended.status.phase is api.AssignmentPhase.COMPLETED:
            print(f"assignment.dstk.io/{name} Completed")
        else:
            print(
                f"dstk: assignment {name} was {ended.status.phase}: {ended.status.reason}: {ended.status.message}",
                file=sys.stderr,
            )
        return 0 if ended.status.phase is api.AssignmentPhase.COMPLETED else ABORTED


async def _complete(spec: dict[str, Any], connection: kube.Connection, namespace: str) -> None:
    """Refuse what names no partition before an object of it exists, and say where what is to move is now."""
    partitions = kube.Objects(connection, PARTITIONS, namespace)
    params = next(value for key, value in spec.items() if key.endswith("Params"))
    for name in params.get("partitions") or [params["partition"]]:
        found = await partitions.find(name)
        if found is None:
            raise errors.InvalidRequest(
                f"there is no partition {name!r} in namespace {namespace!r}; `dstk status` lists them"
            )
        if "from" in params:
            if not found.spec.primary:
                raise errors.InvalidRequest(f"partition {name!r} has no primary yet, so it cannot move")
            params["from"] = found.spec.primary

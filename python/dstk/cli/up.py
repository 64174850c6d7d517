"""`dstk up`: a whole cluster on this machine, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from dstk import errors
from dstk.cli.cuts import bounds_given
from dstk.cli.processes import limits_of, until_signal
from dstk.local.api import ForeignApi
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.keyspace import DEFAULT_KEY_LENGTH
from dstk.local.runner import WorkerSettings

_KEYSPACE_FLAGS = ("partitions", "bounds", "key_length", "durability")


def up(arguments: argparse.Namespace) -> int:
    """Run a local cluster in the foreground."""
    api = None
    if arguments.kubeconfig is not None:
        operator = Path(arguments.operator_kubeconfig) if arguments.operator_kubeconfig is not None else None
        api = ForeignApi(Path(arguments.kubeconfig), operator)
    elif arguments.operator_kubeconfig is not None:
        raise errors.ConfigError("--operator-kubeconfig is for an API server that --kubeconfig names")
    keyspace = asked_keyspace(arguments)
    limits = limits_of(arguments.limit)

    async def run(stop: asyncio.Event) -> None:
        with _telling() as tell:
            settings = ClusterSettings(
                api=api,
                namespace=arguments.namespace,
                workers=WorkerSettings(limits=limits["worker"]),
                operator_limits=limits["operator"],
                progress=tell,
            )
            cluster = LocalCluster(Path(arguments.dir), arguments.workers, keyspace=keyspace, settings=settings)
            started = False
            try:
                started = await _unless(stop, cluster.start())
            finally:
                if not started:
                    await cluster.stop()
        try:
            if started:
                _say_ready(arguments, cluster)
                await stop.wait()
        finally:
            await cluster.stop()

    return until_signal(run)


def asked_keyspace(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The Keyspace "default" with what the flags ask for, and nothing that they do not; None: none is asked for."""
    given = [name for name in _KEYSPACE_FLAGS if getattr(arguments, name) is not None]
    if arguments.no_keyspace:
        if given:
            flag = given[0].replace("_", "-")
            raise errors.ConfigError(f"--{flag} is about the keyspace that --no-keyspace does without: leave one out")
        return None
    spec: dict[str, Any] = {}
    if arguments.key_length is not None:
        spec["keyLength"] = arguments.key_length
    if arguments.durability is not None:
        spec["durability"] = arguments.durability
    if arguments.partitions is not None and arguments.bounds is not None:
        raise errors.ConfigError("--partitions cuts evenly and --bounds where you say: leave one out")
    if arguments.partitions is not None:
        spec["partitions"] = {"initial": arguments.partitions}
    if arguments.bounds is not None:
        length = arguments.key_length or DEFAULT_KEY_LENGTH
        spec["partitions"] = {"bounds": bounds_given(arguments.bounds, length)}
    return {"metadata": {"name": "default"}, "spec": spec}


def summary(directory: str, cluster: LocalCluster) -> str:
    """What a person wants to know of a cluster that has started: where it is, and what to type next."""
    where = shlex.quote(directory)
    lines = [f"kubernetes API  {cluster.url}"]
    lines += [f"{name:<15} {worker['data']}" for name, worker in cluster.endpoints()["workers"].items()]
    lines += [f"kubeconfig      {cluster.kubeconfig}", f"logs            {cluster.directory / 'logs'}"]
    commands = [f"dstk put --hashed user/42 hello --dir {where}", f"dstk status --dir {where}"]
    commands.append(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}    # then: kubectl get partitions")
    return "\n".join(
        [
            f"ready: {cluster.served or 'no partition was waited for'}",
            *(f"  {line}" for line in lines),
            "in another shell:",
            *(f"  {line}" for line in commands),
            f"Ctrl-C stops it. `dstk up --dir {where}` goes on then with what is there: the rows of keyspaces of "
            "durability Disk; those of durability Memory end with this process.",
        ]
    )


def _say_ready(arguments: argparse.Namespace, cluster: LocalCluster) -> None:
    if cluster.served is not None and not cluster.served.whole:
        why = f"`dstk status --dir {shlex.quote(arguments.dir)}` says why"
        print(f"dstk: {cluster.served}, and it goes on without the rest; {why}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"kubeconfig": str(cluster.kubeconfig), **cluster.endpoints()}), flush=True)
    else:
        print(summary(arguments.dir, cluster), flush=True)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is waited for: in one line that changes, or a line each where that cannot be."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("starting") as status:
            yield status.update
        return
    told = ""

    def tell(line: str) -> None:
        nonlocal told
        if line != told:
            print(f"dstk: {line}", file=sys.stderr, flush=True)
        told = line

    yield tell


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do the work, unless `stop` is set meanwhile: it is cancelled then, and has cleaned up. Whether it was done."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return False
    finally:
        stopping.cancel()

"""`dstk accept-loss`: a person's yes to rows that are lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from dstk import api, errors, kube
from dstk.api.losses import acceptance, loss_of
from dstk.cli.resources import PARTITIONS, connected

_POLL_SECONDS = 0.2


def accept_loss(arguments: argparse.Namespace) -> int:
    """Accept what DataLost says of partitions, and wait until the operator has served them and taken note."""
    if bool(arguments.partitions) == arguments.all:
        raise errors.InvalidRequest("name the partitions whose loss is accepted, or give --all")
    return asyncio.run(_accept(arguments))


async def _accept(arguments: argparse.Namespace) -> int:
    async with connected(arguments) as (connection, namespace):
        partitions = kube.Objects(connection, PARTITIONS, namespace)
        lost = await _lost(partitions, arguments)
        for each in lost:
            loss = loss_of(each)
            assert loss is not None
            print(f"{each.metadata.name}: {loss.message}", file=sys.stderr)
            annotation = {api.ACCEPT_LOSS_ANNOTATION: acceptance(loss)}
            await partitions.patch(each.metadata.name, {"metadata": {"annotations": annotation}})
        names = [each.metadata.name for each in lost]
        if not arguments.no_wait:
            await _settled(partitions, names, arguments.timeout)
    if arguments.json:
        print(json.dumps({"accepted": names}))
    elif names:
        print(f"accepted: {' '.join(names)}")
    else:
        print("nothing is lost")
    return 0


async def _lost(partitions: kube.Objects[api.Partition], arguments: argparse.Namespace) -> list[api.Partition]:
    if arguments.all:
        named = await partitions.list_all()
        return sorted((each for each in named if loss_of(each) is not None), key=lambda each: each.metadata.name)
    found = []
    for name in arguments.partitions:
        partition = await partitions.find(name)
        if partition is None:
            raise errors.InvalidRequest(f"there is no partition {name!r}; `dstk status` lists them")
        if loss_of(partition) is None:
            raise errors.InvalidRequest(f"partition {name!r} has lost nothing that is not accepted yet")
        found.append(partition)
    return found


async def _settled(partitions: kube.Objects[api.Partition], names: list[str], seconds: float) -> None:
    """Until the operator has taken note for all of them. Raises Unavailable when time is up."""
    waiting = set(names)
    try:
        async with asyncio.timeout(seconds):
            while True:
                for name in sorted(waiting):
                    found = await partitions.find(name)
                    if found is None or loss_of(found) is None:
                        waiting.discard(name)
                if not waiting:
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        text = f"accepted, but not served after {seconds:g} s: {', '.join(sorted(waiting))}; `dstk status` says why"
        raise errors.Unavailable(text) from None

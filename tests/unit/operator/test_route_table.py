"""The table that is encoded once: what has changed since is never forgotten."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from dstk.api import KeyRange, Keyspace, KeyspaceSpec, ObjectMeta, Partition, PartitionSpec
from dstk.operator.losses import Losses
from dstk.operator.route_table import CHANGED_SHARE, SLICE, RouteTable
from dstk.wire import RoutesUpdate
from dstk.wire.messages import encode_routes

COUNT = 3 * SLICE


class Objects:
    """What the table reads of the caches."""

    def __init__(self) -> None:
        self.keyspaces = [keyspace("a"), keyspace("b")]
        self.partitions = SimpleNamespace(by=lambda _, name: self.held[name])
        self.held: dict[str, dict[str, Partition]] = {
            name: {f"{name}{number}": partition(name, number) for number in range(COUNT)} for name in "ab"
        }


def keyspace(name: str) -> Keyspace:
    return Keyspace(metadata=ObjectMeta(name=name), spec=KeyspaceSpec(key_length=4))


def partition(keyspace: str, number: int) -> Partition:
    bounds = KeyRange(start=f"0x{number:08x}", end=f"0x{number + 1:08x}")
    spec = PartitionSpec(keyspace=keyspace, range=bounds, primary="w", epoch=1)
    return Partition(metadata=ObjectMeta(name=f"{keyspace}{number}"), spec=spec)


def table(objects: Objects) -> RouteTable:
    cluster: Any = objects
    return RouteTable(cluster, Losses())


def epochs(made: Any) -> dict[str, int]:
    message = encode_routes(RoutesUpdate(True, (), {}, made))
    return {route.partition: route.epoch for keyspace in message.keyspaces for route in keyspace.routes}


def moved(objects: Objects, name: str) -> Partition:
    old = objects.held[name[0]][name]
    new = replace(old, spec=replace(old.spec, primary="x", epoch=old.spec.epoch + 1))
    objects.held[name[0]][name] = new
    return new


async def test_all_is_there_and_is_made_once() -> None:
    objects = Objects()
    found = table(objects)
    made, since = await found.everything()
    assert len(made) == 2 * COUNT
    assert set(epochs(made)) == {name for held in objects.held.values() for name in held}
    assert since == {}
    assert (await found.everything())[0] is made


async def test_what_changes_while_it_is_made_or_later_is_told_with_it() -> None:
    objects = Objects()
    found = table(objects)
    making = asyncio.create_task(found.everything())
    await asyncio.sleep(0)  # it has made its first slice
    await asyncio.sleep(0)
    for name in ("a0", f"b{COUNT - 1}"):
        found.mark(moved(objects, name))
    made, since = await making
    assert since == {"a0": ("a", 2), f"b{COUNT - 1}": ("b", 2)}
    assert epochs(made)["a0"] == 1
    found.mark(moved(objects, "a7"))
    again, since = await found.everything()
    assert again is made
    assert since.keys() == {"a0", f"b{COUNT - 1}", "a7"}


async def test_when_much_has_changed_it_is_made_anew() -> None:
    objects = Objects()
    found = table(objects)
    first, _ = await found.everything()
    for number in range(2 * COUNT // CHANGED_SHARE + 1):
        found.mark(moved(objects, f"a{number}"))
    made, since = await found.everything()
    assert made is not first
    assert since == {}
    assert epochs(made)["a0"] == 2


async def test_a_keyspace_that_comes_while_it_is_made_is_in_it() -> None:
    objects = Objects()
    found = table(objects)
    making = asyncio.create_task(found.everything())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    objects.keyspaces.append(keyspace("c"))
    objects.held["c"] = {"c1": partition("c", 1)}
    found.forget()
    made, _ = await making
    assert "c1" in epochs(made)

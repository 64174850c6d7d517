"""Partitions over three real nodes against a dict: any order of writes, reads, splits, merges and moves.

The nodes, their data servers and the client are the real ones, in one process; the machine plays the operator. After
every step each key has exactly one primary, and what the client reads is what the dict says.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dstk import connect, errors
from dstk._core import Node, PartitionState
from dstk.wire.messages import KeyspaceRoutes, Route, RoutesUpdate, encode_routes

KEYSPACE = "default"
KEY_LENGTH = 2
NODES = 3

key_strategy = st.integers(0, 2**16 - 1).map(lambda number: number.to_bytes(KEY_LENGTH, "big"))
value_strategy = st.binary(max_size=12)


class Partitions(RuleBasedStateMachine):
    """What the machine knows: the rows with their versions, and which partition is where at which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [Node(f"worker-{number}", f"uid-{number}/0", None) for number in range(NODES)]
        self.addresses = [node.listen("127.0.0.1:0") for node in self.nodes]
        self.rows: dict[bytes, tuple[bytes, int]] = {}
        self.versions: dict[bytes, int] = {}
        self.owners: dict[str, tuple[bytes, bytes, int, int]] = {}  # start, end, epoch, node
        self.proxies: list[tuple[str, int, int]] = []  # partition, epoch, node
        self.names = 0

    @initialize()
    def begin(self) -> None:
        self.fences = 0
        self.nodes[0].serve(KEYSPACE, "p0", 1, KEY_LENGTH, b"", b"", False)
        self.owners["p0"] = (b"", b"", 1, 0)
        self.push()
        self.client = connect(self.addresses, KEYSPACE)

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        for node in self.nodes:
            node.stop(0.0)

    def push(self) -> None:
        """The routing table as the operator would push it."""
        routes = [
            Route(name, start, end, epoch, f"worker-{at}") for name, (start, end, epoch, at) in self.owners.items()
        ]
        known = {f"worker-{number}": address for number, address in enumerate(self.addresses)}
        update = encode_routes(RoutesUpdate(True, [KeyspaceRoutes(KEYSPACE, KEY_LENGTH, routes)], known))
        for node in self.nodes:
            node.apply_routes(update.SerializeToString())

    def fresh(self) -> str:
        self.names += 1
        return f"p{self.names}"

    def name(self, number: int) -> str:
        return sorted(self.owners)[number % len(self.owners)]

    def busy(self, *names: str) -> bool:
        """A move of one of them still proxies: what comes next for it waits, as Assignments do."""
        return any(held in names for held, _, _ in self.proxies)

    def wrote(self, key: bytes, version: int) -> None:
        """A version never repeats for a key, wherever the key has been."""
        assert version > self.versions.get(key, 0)
        self.versions[key] = version

    # What clients do.

    @rule(key=key_strategy, value=value_strategy)
    def put(self, key: bytes, value: bytes) -> None:
        version = self.client.put(key, value)
        self.wrote(key, version)
        self.rows[key] = (value, version)

    @rule(key=key_strategy, value=value_strategy, right=st.booleans())
    def put_if(self, key: bytes, value: bytes, right: bool) -> None:
        current = self.rows[key][1] if key in self.rows else 0
        if right:
            version = self.client.put(key, value, if_version=current)
            self.wrote(key, version)
            self.rows[key] = (value, version)
            return
        with pytest.raises(errors.VersionMismatch) as caught:
            self.client.put(key, value, if_version=current + 1)
        assert caught.value.current_version == current

    @rule(number=st.integers(0, 2**16), key=key_strategy)
    def delete(self, number: int, key: bytes) -> None:
        if self.rows and number % 4:
            key = sorted(self.rows)[number % len(self.rows)]
        version = self.client.delete(key)
        assert (version is not None) == (key in self.rows)
        if version is not None:
            self.wrote(key, version)
            del self.rows[key]

    @rule(values=st.dictionaries(key_strategy, value_strategy, max_size=30))
    def put_many(self, values: dict[bytes, bytes]) -> None:
        versions = self.client.put_many(list(values), list(values.values()))
        for (key, value), version in zip(values.items(), versions, strict=True):
            self.wrote(key, version)
            self.rows[key] = (value, version)

    @rule(start=st.none() | key_strategy, end=st.none() | key_strategy, limit=st.integers(1, 50), reverse=st.booleans())
    def scan(self, start: bytes | None, end: bytes | None, limit: int, reverse: bool) -> None:
        if end is not None and (start or bytes(KEY_LENGTH)) >= end:
            start, end = end, None
        expected = sorted(key for key in self.rows if (start or b"") <= key and (end is None or key < end))
        if reverse:
            expected.reverse()
        page = self.client.scan(start, end, limit=limit, reverse=reverse)
        assert [(row.key, row.value, row.version) for row in page] == [
            (key, *self.rows[key]) for key in expected[:limit]
        ]
        if len(expected) > limit:
            assert page.cursor is not None

    # What the operator does.

    @rule(number=st.integers(0, 99), key=key_strategy)
    def split(self, number: int, key: bytes) -> None:
        name = self.name(number)
        start, end, epoch, at = self.owners[name]
        if self.busy(name) or key <= start.ljust(KEY_LENGTH, b"\0") or (end and key >= end):
            return
        children = [self.fresh(), self.fresh()]
        self.nodes[at].split(KEYSPACE, name, epoch, epoch + 1, [key], children)
        del self.owners[name]
        self.owners[children[0]] = (start, key, epoch + 1, at)
        self.owners[children[1]] = (key, end, epoch + 1, at)

    @precondition(lambda self: len(self.owners) > 1)
    @rule(number=st.integers(0, 99))
    def merge(self, number: int) -> None:
        ordered = sorted(self.owners.items(), key=lambda item: item[1][0])
        index = number % (len(ordered) - 1)
        (left, (start, _, left_epoch, left_at)), (right, (_, end, right_epoch, right_at)) = ordered[index : index + 2]
        if left_at != right_at or self.busy(left, right):
            return
        merged, epoch = self.fresh(), max(left_epoch, right_epoch) + 1
        self.nodes[left_at].merge(KEYSPACE, [(left, left_epoch), (right, right_epoch)], merged, epoch, start, end)
        del self.owners[left], self.owners[right]
        self.owners[merged] = (start, end, epoch, left_at)

    @rule(number=st.integers(0, 99), to=st.integers(0, NODES - 1), give_up=st.booleans(), push=st.booleans())
    def move(self, number: int, to: int, give_up: bool, push: bool) -> None:
        name = self.name(number)
        start, end, epoch, at = self.owners[name]
        if to == at or self.busy(name):
            return
        source, target = self.nodes[at], self.nodes[to]
        target.follow(
            KEYSPACE, name, epoch, KEY_LENGTH, start, end, f"worker-{at}", self.addresses[at], f"uid-{at}/0", False, 0
        )
        self.fences += 1
        fenced = source.fence(KEYSPACE, name, epoch, self.fences)
        drained = target.await_applied(KEYSPACE, name, epoch, fenced.sequence, 30.0)
        assert (drained.sequence, drained.digest) == (fenced.sequence, fenced.digest)
        if give_up:
            source.unfence(KEYSPACE, name, epoch, self.fences)
            target.drop(KEYSPACE, name, epoch)
            return
        target.promote(KEYSPACE, name, epoch + 1, fenced.sequence, fenced.digest)
        source.proxy(KEYSPACE, name, epoch + 1, f"worker-{to}", self.addresses[to])
        self.owners[name] = (start, end, epoch + 1, to)
        self.proxies.append((name, epoch + 1, at))
        if push:
            self.push()

    @precondition(lambda self: bool(self.proxies))
    @rule()
    def release(self) -> None:
        self.push()
        for name, epoch, at in self.proxies:
            self.nodes[at].release(KEYSPACE, name, epoch)
        self.proxies.clear()

    # What always holds.

    @invariant()
    def every_key_has_one_primary(self) -> None:
        held: list[PartitionState] = []
        for node in self.nodes:
            held += [state for state in node.states() if state.role == "primary"]
        bounds = sorted((state.start, state.end) for state in held)
        if not bounds:
            return  # before the first step
        assert not bounds[0][0].strip(b"\0")
        assert bounds[-1][1] == b""
        for (_, end), (start, _) in pairwise(bounds):
            assert end == start
        assert sum(state.rows for state in held) == len(self.rows)

    @rule()
    def everything_is_there(self) -> None:
        keys = sorted(self.rows)
        assert self.client.get_many(keys) == [self.rows[key] for key in keys]
        page = self.client.scan(limit=100_000)
        assert [row.key for row in page] == keys


TestPartitions = Partitions.TestCase
TestPartitions.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

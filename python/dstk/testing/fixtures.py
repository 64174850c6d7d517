"""A local cluster for the tests of your own service.

In your conftest.py: ``from dstk.testing.fixtures import dstk_cluster, dstk_session_cluster``. A test that names
``dstk_cluster`` gets a :class:`Cluster` of three workers with keyspace "default", started once a test session and
emptied before each test; ``dstk_session_cluster`` is the same for fixtures of a wider scope. docs/testing.md has more::

    def test_my_service(dstk_cluster):
        with dstk_cluster.connect() as client:
            client.put(bytes(16), b"value")

``dstk_faults`` is a cluster of a test's own that can be struck by faults while the service under test uses it. Beside
it a load of dstk's own runs, whose history is judged at the end; so a test learns whether the cluster kept its promises
while its service had to live with their price::

    def test_my_service_lives_through_faults(dstk_faults):
        with dstk_faults.striking(seconds=10, seed=1, kinds=["worker-pause", "cut-client"]):
            ...
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pytest

from dstk import api, kube
from dstk.client import Client, connect
from dstk.errors import Unavailable
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.runner import WorkerSettings
from dstk.testing.nemesis import Target
from dstk.testing.soak import SoakSettings, faulty_cluster, trying

__all__ = ["Cluster", "FaultyCluster", "dstk_cluster", "dstk_faults", "dstk_session_cluster", "faulty", "running"]

T = TypeVar("T")
Limits = Mapping[str, int | float | str]

_PARTITIONS = kube.Kind(api.API_VERSION, "Partition", "partitions", api.Partition)
_PAGE_ROWS = 10_000
"""Rows that are removed at once; a page ends earlier when they are large."""


class Cluster:
    """A running local cluster, seen from a test that knows no asyncio."""

    def __init__(self, local: LocalCluster, loop: asyncio.AbstractEventLoop) -> None:
        self.local = local
        """The cluster itself; its coroutines go through :meth:`run`."""
        self._loop = loop

    @property
    def kubeconfig(self) -> Path:
        """For kubectl and the Kubernetes clients."""
        return self.local.kubeconfig

    @property
    def addresses(self) -> list[str]:
        """Data addresses of the workers, for :func:`dstk.connect` and :func:`dstk.aio.connect`."""
        return [worker["data"] for worker in self.local.endpoints()["workers"].values()]

    def connect(self, keyspace: str = "default") -> Client:
        """A blocking client."""
        return connect(self.addresses, keyspace)

    def empty(self) -> None:
        """Remove all rows of all keyspaces. What writes at the same time may leave some."""
        for keyspace in self.run(self._keyspaces()):
            with self.connect(keyspace) as client:
                while rows := client.scan(limit=_PAGE_ROWS).rows:
                    client.delete_many([row.key for row in rows])

    async def _keyspaces(self) -> list[str]:
        """Those that have a partition: the others are not known to workers."""
        connection = await kube.connect(self.kubeconfig)
        try:
            partitions = await kube.Objects(connection, _PARTITIONS, self.local.namespace).list_all()
        finally:
            await connection.close()
        return sorted({each.spec.keyspace for each in partitions})

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the cluster, such as ``cluster.local.scale(5)``, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class FaultyCluster(Cluster):
    """A running local cluster with proxies, several operators and short leases, so that faults can strike it."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop, settings: SoakSettings) -> None:
        super().__init__(target.cluster, loop)
        self._target = target
        self._settings = settings
        self._tried = False
        self.result: dict[str, Any] = {}
        """What was found, after :meth:`striking`: see :mod:`dstk.testing.soak`."""
        self.name_client("client-test", os.getpid())

    def name_client(self, name: str, pid: int) -> None:
        """A process of the service under test: it may be cut off from workers too. This process is one already."""
        self._target.clients[name] = pid

    @contextmanager
    def striking(self, *, seconds: float, seed: int = 1, kinds: Sequence[str] = ()) -> Iterator[None]:
        """Faults for so many seconds, beside the block; once a cluster.

        When it is left all faults have ended. Raises AssertionError when an acknowledged write of dstk's own load is
        lost, its history is not linearizable, or the cluster has not healed. `kinds`: see
        :data:`dstk.testing.nemesis.KINDS`; empty: all that the keyspace survives.
        """
        assert not self._tried, "one trial a cluster: the judgement begins with keys that have no rows"
        self._tried = True
        settings = replace(self._settings, seconds=seconds, seed=seed, kinds=tuple(kinds))
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            print(line, file=sys.stderr)

        stack = AsyncExitStack()
        try:
            trial = self.run(stack.enter_async_context(trying(settings, self._target, say)))
            strikes = asyncio.run_coroutine_threadsafe(trial.strike(), self._loop)
            try:
                yield
                strikes.result()
            finally:
                strikes.cancel()
            self.result = self.run(trial.finish())
        finally:
            self.run(stack.aclose())
        if not self.result["passed"]:
            raise AssertionError("\n".join([f"seed {seed}: {self.result}", *said]))


@contextmanager
def running(
    folder: Path,
    *,
    workers: int = 3,
    partitions: int = 8,
    key_length: int = 16,
    worker_limits: Limits = MappingProxyType({}),
    operator_limits: Limits = MappingProxyType({}),
    **spec: Any,
) -> Iterator[Cluster]:
    """A cluster in `folder` with keyspace "default", until the block is left. `spec`: more of the Keyspace's spec.

    When it is entered all partitions are served. Raises Unavailable when they are not in time. The limits are those of
    `dstk worker --limit` and `dstk operator --limit`, such as {"memory_limit_bytes": 1 << 20}.
    """
    keyspace = {
        "apiVersion": "dstk.io/v1alpha1",
        "kind": "Keyspace",
        "metadata": {"name": "default"},
        "spec": {"keyLength": key_length, "partitions": {"initial": partitions}, **spec},
    }
    with _looping() as loop:
        settings = ClusterSettings(workers=WorkerSettings(limits=worker_limits), operator_limits=operator_limits)
        cluster = Cluster(LocalCluster(folder, workers, keyspace=keyspace, settings=settings), loop)
        try:
            cluster.run(cluster.local.start())
            if cluster.local.served is not None and not cluster.local.served.whole:
                raise Unavailable(f"{cluster.local.served}; see {cluster.local.directory / 'logs'}")
            yield cluster
        finally:
            cluster.run(cluster.local.stop())


@contextmanager
def faulty(folder: Path, settings: SoakSettings) -> Iterator[FaultyCluster]:
    """A cluster in `folder` that faults can strike, until the block is left. `settings` say how it is made."""
    with _looping() as loop:
        stack = AsyncExitStack()

        def run(work: Coroutine[Any, Any, T]) -> T:
            return asyncio.run_coroutine_threadsafe(work, loop).result()

        try:
            target = run(stack.enter_async_context(faulty_cluster(folder, settings)))
            yield FaultyCluster(target, loop, settings)
        finally:
            run(stack.aclose())


@contextmanager
def _looping() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="dstk-cluster", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def dstk_session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three workers and keyspace "default", once a test session; its rows stay."""
    with running(tmp_path_factory.mktemp("dstk")) as cluster:
        yield cluster


@pytest.fixture
def dstk_cluster(dstk_session_cluster: Cluster) -> Cluster:
    """The cluster of the session without a row."""
    dstk_session_cluster.empty()
    return dstk_session_cluster


@pytest.fixture
def dstk_faults(tmp_path: Path) -> Iterator[FaultyCluster]:
    """Three workers and keyspace "default" in memory, for one test, which may strike them."""
    with faulty(tmp_path, SoakSettings()) as cluster:
        yield cluster

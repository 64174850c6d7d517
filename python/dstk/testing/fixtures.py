"""A local cluster for the tests of your own service.

In your conftest.py: ``from dstk.testing.fixtures import dstk_cluster``. A test that names ``dstk_cluster`` gets a
:class:`Cluster` of three workers with keyspace "default", started once a test session::

    def test_my_service(dstk_cluster):
        with dstk_cluster.connect() as client:
            client.put(bytes(16), b"value")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dstk.client import Client, connect
from dstk.local.cluster import LocalCluster

__all__ = ["Cluster", "dstk_cluster", "running"]

T = TypeVar("T")


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

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the cluster, such as ``cluster.local.scale(5)``, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def running(
    folder: Path, *, workers: int = 3, partitions: int = 8, key_length: int = 16, **spec: Any
) -> Iterator[Cluster]:
    """A cluster in `folder` with keyspace "default", until the block is left. `spec`: more of the Keyspace's spec."""
    keyspace = {
        "apiVersion": "dstk.io/v1alpha1",
        "kind": "Keyspace",
        "metadata": {"name": "default"},
        "spec": {"keyLength": key_length, "partitions": {"initial": partitions}, **spec},
    }
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="dstk-cluster", daemon=True)
    thread.start()
    cluster = Cluster(LocalCluster(folder, workers, keyspace=keyspace), loop)
    try:
        cluster.run(cluster.local.start())
        yield cluster
    finally:
        cluster.run(cluster.local.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def dstk_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three workers and keyspace "default", once a test session."""
    with running(tmp_path_factory.mktemp("dstk")) as cluster:
        yield cluster

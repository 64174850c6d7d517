"""One client, open all the time, while everything behind it ends and comes back."""

from __future__ import annotations

import signal
from pathlib import Path

import dstk
from dstk import aio
from dstk.client import ClientSettings
from dstk.local.cluster import LocalCluster

KEYSPACE = {
    "apiVersion": "dstk.io/v1alpha1",
    "kind": "Keyspace",
    "metadata": {"name": "default"},
    "spec": {
        "keyLength": 16,
        "workers": {"selector": {"matchLabels": {"app": "kv"}}},
        "partitions": {"initial": 8},
        "durability": "Disk",
    },
}


async def test_an_open_client_goes_on_where_all_workers_and_the_cluster_itself_were_started_again(
    tmp_path: Path,
) -> None:
    def cluster() -> LocalCluster:
        return LocalCluster(tmp_path, workers=3, keyspace=KEYSPACE)

    keys = [dstk.keys.hashed(dstk.keys.u64(number)).ljust(16, b"\0") for number in range(100)]
    async with cluster() as running:
        workers = running.endpoints()["workers"]
        client = await aio.connect(workers["worker-0"]["data"], settings=ClientSettings(timeout_seconds=120.0))
        written = await client.put_many(keys, keys)
        for name in workers:
            running.kill_worker(name, signal.SIGKILL)
        assert [row and row.version for row in await client.get_many(keys)] == written
        written = await client.put_many(keys, keys)
    async with cluster():
        assert [row and row.version for row in await client.get_many(keys)] == written
        await client.put_many(keys, keys)
        await client.close()

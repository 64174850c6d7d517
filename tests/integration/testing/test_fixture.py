"""What users import for the tests of their own services."""

from pathlib import Path

import pytest

import dstk
from dstk.errors import ApiError
from dstk.testing.fixtures import Cluster, dstk_cluster, dstk_session_cluster, running
from dstk.wire import ControlClient

__all__ = ["dstk_cluster", "dstk_session_cluster"]


def test_when_it_has_started_all_partitions_are_served(tmp_path: Path) -> None:
    async def primaries(cluster: Cluster) -> int:
        count = 0
        for worker in cluster.local.endpoints()["workers"].values():
            client = ControlClient(worker["control"])
            states = (await client.status(None)).partitions.values()
            count += sum(state.role == "primary" for state in states)
            await client.close()
        return count

    with running(tmp_path, workers=2, partitions=5) as cluster:
        assert cluster.run(primaries(cluster)) == 5


def test_a_cluster_of_ones_own(dstk_cluster: Cluster) -> None:
    with dstk_cluster.connect() as client:
        version = client.put(dstk.keys.text("user/1", 16), b"value")
        assert client.get(dstk.keys.text("user/1", 16)) == dstk.Row(b"value", version)


async def test_the_same_cluster_from_asyncio(dstk_cluster: Cluster) -> None:
    async with await dstk.aio.connect(dstk_cluster.addresses) as client:
        await client.put(dstk.keys.text("user/2", 16), b"other")
        page = await client.scan(dstk.keys.text("user/", 16), limit=10)
        assert [row.value for row in page][-1] == b"other"


def test_it_can_be_scaled(dstk_cluster: Cluster) -> None:
    dstk_cluster.run(dstk_cluster.local.scale(4))
    assert len(dstk_cluster.addresses) == 4


def test_large_rows_are_left_behind(dstk_cluster: Cluster) -> None:
    with dstk_cluster.connect() as client:
        keys = [dstk.keys.hashed(dstk.keys.u64(number)).ljust(16) for number in range(64)]
        for key in keys:
            client.put(key, bytes(1 << 20))


def test_and_are_gone_in_the_next_test(dstk_cluster: Cluster) -> None:
    with dstk_cluster.connect() as client:
        assert client.scan(limit=1).rows == []


def test_a_field_that_a_keyspace_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="key_lenght"), running(tmp_path, workers=1, key_lenght=8):
        pass

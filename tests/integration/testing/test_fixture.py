"""What users import for the tests of their own services."""

import dstk
from dstk.testing.fixtures import Cluster, dstk_cluster

__all__ = ["dstk_cluster"]


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

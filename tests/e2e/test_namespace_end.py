"""A namespace that is deleted in the middle of an operation goes: no Assignment of it is held back for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from test_faults import ASSIGNMENTS, KEYSPACE, Objects

import worlds
from dstk import api, kube
from dstk.local.cluster import LocalCluster
from dstk.local.operators import OperatorLife, operator_command
from waiting import until, until_true


@dataclass
class Halted:
    """A cluster whose operator has begun move m1, and waits in the middle of it."""

    cluster: LocalCluster
    connection: kube.Connection
    no_more_operators: list[bool] = field(default_factory=list)

    @property
    def assignments(self) -> kube.Objects[api.Assignment]:
        return kube.Objects(self.connection, ASSIGNMENTS, self.connection.namespace)

    async def delete_namespace(self) -> None:
        await self.connection.request("DELETE", f"/api/v1/namespaces/{self.connection.namespace}")

    async def delete(self) -> None:
        """As the namespace's controller does, which not every API server here has."""
        if await self.assignments.find("m1") is not None:
            await self.assignments.delete("m1")

    async def end_operator(self) -> None:
        """By SIGTERM; no other comes."""
        self.no_more_operators.append(True)
        await self.cluster.restart_operator()

    async def gone(self) -> None:
        async def there_is_none() -> bool:
            return await self.assignments.find("m1") is None

        await until(there_is_none, "the Assignment is gone")


@asynccontextmanager
async def halted(folder: Path) -> AsyncIterator[Halted]:
    faults, over = folder / "faults", list[bool]()
    faults.mkdir()

    def command(life: OperatorLife) -> Sequence[str]:
        ours = operator_command(life)
        return ["sleep", "infinity"] if over else ["env", f"DSTK_FAULTS={faults}", *ours]

    settings = worlds.settings(folder, operator_command=command)
    if settings.api is None:
        # The default one may not be deleted.
        settings = replace(settings, namespace="passing")
    async with LocalCluster(folder / "up", workers=2, keyspace=KEYSPACE, settings=settings) as cluster:
        connection = await kube.connect(cluster.kubeconfig)
        objects = Objects(connection)
        await until(objects.served, "the keyspace is served")
        partition = (await objects.partitions())[2]
        to = next(name for name in cluster.endpoints()["workers"] if name != partition.spec.primary)
        point = faults / "operator.after-fence"
        point.write_text("hold")
        await objects.move("m1", partition, to)
        await until_true(lambda: not point.exists(), "the operator waits in the middle of the move")
        try:
            yield Halted(cluster, connection, over)
        finally:
            await connection.close()


async def test_what_is_deleted_with_the_namespace_is_let_go(tmp_path: Path) -> None:
    async with halted(tmp_path) as found:
        await found.delete_namespace()
        await found.delete()
        await found.gone()


async def test_an_operator_that_ends_with_the_namespace_lets_go_of_everything(tmp_path: Path) -> None:
    """Its pod may be deleted before the Assignments are."""
    async with halted(tmp_path) as found:
        await found.delete_namespace()
        await found.end_operator()
        await found.delete()
        await found.gone()


async def test_in_a_namespace_that_stays_it_is_kept(tmp_path: Path) -> None:
    async with halted(tmp_path) as found:
        await found.delete()
        await found.end_operator()
        kept = await found.assignments.get("m1")
        assert kept.metadata.deletion_timestamp is not None
        assert kept.metadata.finalizers

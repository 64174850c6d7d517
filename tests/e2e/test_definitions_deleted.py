"""Our definitions deleted, and with them every object: workers serve on, the operator says so and lives, all comes back."""

from __future__ import annotations

import json
from pathlib import Path

from failurecases import staged
from stage import ASSIGNMENTS, SOURCE, Scene, Stage
from test_bad_input import repaired, told

from dstk import api, kube
from dstk.errors import ApiError
from waiting import until

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def test_definitions_that_are_deleted_and_come_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        played = Scene(stage, await stage.connect("disk"), 1, "move", "disk")
        await played.prepare()
        operator = stage.cluster.operator_pids()
        await let_go_of_what_other_tests_left(stage)
        kept = [await stage.keyspaces.get(name) for name in ("disk", "memory")]
        for definition in api.crds():
            await stage.connection.request("DELETE", f"{DEFINITIONS}/{definition['metadata']['name']}")
        await until(lambda: gone(stage), "nothing is left")
        await told(stage, "dstk-reconciler", "DefinitionMissing")
        goal = played.rows.written + 200

        async def written() -> bool:
            return played.rows.written >= goal

        await until(written, "workers serve on")
        for definition in api.crds():
            await kube.apply(
                stage.connection, f"{DEFINITIONS}/{definition['metadata']['name']}", definition, manager="tests"
            )
        await until(lambda: defined(stage), "the definitions are served again")
        for keyspace in kept:
            body = {"metadata": {"name": keyspace.metadata.name}, "spec": api.to_dict(keyspace.spec)}
            await stage.keyspaces.create(body)
        await repaired(played, "ObjectDeleted")
        await played.serves({played.name: SOURCE})
        await played.finish(False)
        assert stage.cluster.operator_pids() == operator
        assert "has ended" not in stage.cluster_log("operator")
        # What was not begun before is done as ever.
        await played.begin()
        await played.ended("Completed")
        await played.let_go()
        await played.close()


async def let_go_of_what_other_tests_left(stage: Stage) -> None:
    """Definitions go when all their objects have, in every namespace; elsewhere no operator is left to let them go."""
    everywhere = f"/apis/{api.API_VERSION}/assignments"
    for item in json.loads(await stage.connection.request("GET", everywhere))["items"]:
        namespace = item["metadata"]["namespace"]
        if namespace != stage.cluster.namespace and item["metadata"].get("finalizers"):
            others = kube.Objects(stage.connection, ASSIGNMENTS, namespace)
            await others.patch(item["metadata"]["name"], {"metadata": {"finalizers": None}})


async def gone(stage: Stage) -> bool:
    for objects in (stage.keyspaces, stage.partitions, stage.assignments):
        try:
            await objects.list_page()
        except ApiError as error:
            if error.status == 404:
                continue
        return False
    return True


async def defined(stage: Stage) -> bool:
    try:
        for objects in (stage.keyspaces, stage.partitions, stage.assignments):
            await objects.list_page()
    except ApiError as error:
        if error.status != 404 and not error.retryable:
            raise
        return False
    return True

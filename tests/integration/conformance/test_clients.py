"""The clients that people use: the official Python ones, and kopf."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from pathlib import Path

from kubernetes import client as blocking
from kubernetes import config as blocking_config
from kubernetes.aio import client, config, watch
from kubernetes.dynamic import DynamicClient

from conformance.apiclient import Api
from conformance.crd import GROUP, widget
from waiting import WAIT_SECONDS, until, until_true


async def test_the_asyncio_client(api: Api, kubeconfig: Path) -> None:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as connection:
        objects = client.CustomObjectsApi(connection)
        where = {"group": GROUP, "version": "v1", "namespace": api.namespace, "plural": "widgets"}
        made = await objects.create_namespaced_custom_object(**where, body=widget("a"))
        listed = await objects.list_namespaced_custom_object(**where)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
        await objects.patch_namespaced_custom_object(
            **where, name="a", body={"spec": {"size": 7}}, _content_type="application/merge-patch+json"
        )
        seen = []
        async with watch.Watch() as stream:
            async for event in stream.stream(
                objects.list_namespaced_custom_object, **where, resource_version=made["metadata"]["resourceVersion"]
            ):
                seen.append((event["type"], event["object"]["spec"]["size"]))
                break
        assert seen == [("MODIFIED", 7)]
        core = client.CoreV1Api(connection)
        pod = client.V1Pod(
            metadata=client.V1ObjectMeta(name="p"),
            spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
        )
        assert (await core.create_namespaced_pod(api.namespace, pod)).metadata.uid
        pods = await core.list_namespaced_pod(api.namespace)
        assert [one.status.phase for one in pods.items] == ["Pending"]


async def test_the_dynamic_client(api: Api, kubeconfig: Path) -> None:
    def work() -> list[str]:
        configuration = blocking.Configuration()
        blocking_config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        dynamic = DynamicClient(blocking.ApiClient(configuration))
        widgets = dynamic.resources.get(api_version=f"{GROUP}/v1", kind="Widget")
        widgets.create(body=widget("a"), namespace=api.namespace)
        widgets.server_side_apply(
            body=widget("a", size=5), namespace=api.namespace, field_manager="dynamic", force_conflicts=True
        )
        found = widgets.get(name="a", namespace=api.namespace)
        assert found.spec.size == 5
        widgets.delete(name="a", namespace=api.namespace)
        return [item.metadata.name for item in widgets.get(namespace=api.namespace).items]

    assert await asyncio.to_thread(work) == []


OPERATOR = """
    import asyncio
    import sys

    import kopf
    from kubernetes.aio import client, config

    @kopf.on.login()
    def login(**_):
        return kopf.login_via_client(**_)

    @kopf.on.startup()
    def configure(settings, **_):
        settings.posting.level = 50
        settings.persistence.finalizer = "conformance.dstk.io/kopf"
        settings.peering.standalone = True

    @kopf.daemon("conformance.dstk.io", "v1", "widgets", cancellation_timeout=5)
    async def run(name, stopped, **_):
        print("daemon of", name, "runs", flush=True)
        await stopped.wait(600)
        print("daemon of", name, "stops", flush=True)

    @kopf.on.create("conformance.dstk.io", "v1", "widgets")
    async def created(spec, patch, **_):
        patch.status["phase"] = f"running {spec['size']}"

    @kopf.on.event("", "v1", "pods")
    async def seen(name, type, **_):
        print("pod", name, type, flush=True)
"""


async def test_a_kopf_operator_with_daemons(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    script = tmp_path / "operator.py"
    script.write_text(textwrap.dedent(OPERATOR))
    await api.create(api.widgets, widget("before"))
    command = [sys.executable, "-m", "kopf", "run", str(script), "--namespace", api.namespace, "--standalone"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    log = tmp_path / "operator.log"
    with log.open("wb") as output:
        running = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
    try:
        await api.create(api.widgets, widget("after", size=9))
        for name, phase in (("before", "running 3"), ("after", "running 9")):
            await until_phase(api, name, phase, log)
        metadata = (await api.get(f"{api.widgets}/after")).body["metadata"]
        assert metadata["finalizers"] == ["conformance.dstk.io/kopf"]
        await api.create(
            api.core("pods"), {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        )
        await until_said(log, "pod p ADDED")
        await api.delete(f"{api.widgets}/after")
        await api.until_gone(f"{api.widgets}/after")
        await until_said(log, "daemon of after stops")
        running.terminate()
        assert await asyncio.wait_for(running.wait(), WAIT_SECONDS) == 0
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def until_said(log: Path, text: str) -> None:
    await until_true(lambda: text in log.read_text(), text)


async def until_phase(api: Api, name: str, phase: str, log: Path) -> None:
    async def has_it() -> bool:
        return bool((await api.get(f"{api.widgets}/{name}")).body.get("status", {}).get("phase") == phase)

    await until(has_it, lambda: f"{name} is to get the phase {phase!r}; the operator said:\n{log.read_text()}")

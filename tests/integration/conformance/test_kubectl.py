"""kubectl, as people type it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.apiclient import WAIT_SECONDS, Api
from conformance.crd import widget

Kubectl = Callable[..., Any]


async def test_get_prints_the_columns(api: Api, run: Kubectl) -> None:
    await api.create(api.widgets, widget("a", size=5, tags=["x"]))
    head, row = (await run("get", "widgets")).out.splitlines()
    assert head.split() == ["NAME", "SIZE", "COLOR", "READY", "AGE"]
    assert row.split()[:3] == ["a", "5", "red"]
    wide = (await run("get", "wdg", "a", "-o", "wide")).out.splitlines()
    assert wide[0].split() == ["NAME", "SIZE", "COLOR", "READY", "TAGS", "AGE"]
    assert (await run("get", "gadgets", "-o", "name")).out == "widget.conformance.dstk.io/a\n"
    assert (await run("get", "widget", "a", "-o", "jsonpath={.spec.size}")).out == "5"
    assert json.loads((await run("get", "widgets", "-o", "json")).out)["items"][0]["spec"]["color"] == "red"
    assert "No resources found" in (await run("get", "widgets", "-l", "a=b")).err
    assert "NotFound" in (await run("get", "widgets", "nope", ok=False)).err
    assert (await run("get", "widgets", "-A")).out.splitlines()[0].split()[0] == "NAMESPACE"
    chunked = await run("get", "widgets", "--chunk-size=1", "--sort-by=.spec.size")
    assert len(chunked.out.splitlines()) == 2


async def test_apply_changes_and_says_so(api: Api, run: Kubectl) -> None:
    assert (await run("apply", "-f", "-", input=widget("a"))).out == "widget.conformance.dstk.io/a created\n"
    assert (await run("apply", "-f", "-", input=widget("a"))).out == "widget.conformance.dstk.io/a unchanged\n"
    assert (await run("apply", "-f", "-", input=widget("a", size=9))).out == "widget.conformance.dstk.io/a configured\n"
    assert (await api.get(f"{api.widgets}/a")).body["spec"]["size"] == 9
    diff = await run("diff", "-f", "-", input=widget("a", size=10), ok=False)
    assert (diff.code, "+  size: 10" in diff.out) == (1, True)
    served = await run("apply", "--server-side", "--field-manager=me", "-f", "-", input=widget("b"))
    assert served.out == "widget.conformance.dstk.io/b serverside-applied\n"
    await api.patch(f"{api.widgets}/b", {"spec": {"size": 4}}, fieldManager="other")
    clash = await run("apply", "--server-side", "--field-manager=me", "-f", "-", input=widget("b", size=8), ok=False)
    assert 'conflict with "other" using conformance.dstk.io/v1: .spec.size' in clash.err


async def test_apply_of_core_kinds(run: Kubectl) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    await run("apply", "-f", "-", input=settings)
    await run("apply", "-f", "-", input={**settings, "data": {"a": "3"}})
    assert json.loads((await run("get", "cm", "c", "-o", "json")).out)["data"] == {"a": "3"}
    ports = [{"port": 80, "name": "web"}, {"port": 81, "name": "more"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    await run("apply", "-f", "-", input=service)
    service["spec"] = {"ports": ports[:1]}
    await run("apply", "-f", "-", input=service)
    assert (await run("get", "svc", "s", "-o", "jsonpath={.spec.ports[*].port}")).out == "80"


async def test_refusals_are_readable(run: Kubectl) -> None:
    refused = await run("apply", "-f", "-", input=widget("a", size=1000), ok=False)
    assert refused.code == 1
    assert (
        'The Widget "a" is invalid: spec.size: Invalid value: 1000: spec.size in body should be less than or equal to 100'
        in refused.err
    )
    refused = await run("apply", "-f", "-", input=widget("a", low=9), ok=False)
    assert 'The Widget "a" is invalid: spec: Invalid value: low must not be above size' in refused.err
    refused = await run("apply", "-f", "-", input=widget("a", sise=9), ok=False)
    assert 'unknown field "spec.sise"' in refused.err
    relaxed = await run("apply", "--validate=warn", "-f", "-", input=widget("a", sise=9))
    assert 'Warning: unknown field "spec.sise"' in relaxed.err


async def test_explain(run: Kubectl) -> None:
    text = (await run("explain", "widget")).out
    assert "A Widget is a thing to test with." in text
    assert "KIND:       Widget" in text
    text = (await run("explain", "widgets.spec.size")).out
    assert "How big it is." in text
    assert "FIELD: size <integer>" in text


async def test_describe_shows_events(api: Api, run: Kubectl) -> None:
    made = await api.create(api.widgets, widget("a"))
    about = {"kind": "Widget", "name": "a", "namespace": api.namespace, "uid": made["metadata"]["uid"]}
    event = {
        "metadata": {"name": "a.1"},
        "involvedObject": about,
        "reason": "Tested",
        "message": "well",
        "type": "Normal",
    }
    await api.create(api.core("events"), event)
    text = (await run("describe", "widget", "a")).out
    assert "API Version:  conformance.dstk.io/v1" in text
    assert "Tested" in text
    assert "Tested" in (await run("events")).out
    assert "widget/a" in (await run("get", "events")).out


async def test_patch_label_annotate_edit_status(api: Api, run: Kubectl) -> None:
    await api.create(api.widgets, widget("a"))
    await run("patch", "widget", "a", "--type=merge", "-p", '{"spec":{"size":6}}')
    await run("patch", "widget", "a", "--type=json", "-p", '[{"op":"add","path":"/spec/low","value":2}]')
    await run("label", "widget", "a", "x=y")
    await run("annotate", "widget", "a", "note=this")
    await run("patch", "widget", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"ok"}}')
    found = (await api.get(f"{api.widgets}/a")).body
    assert (found["spec"]["size"], found["spec"]["low"], found["status"]["phase"]) == (6, 2, "ok")
    assert (found["metadata"]["labels"], found["metadata"]["annotations"]) == ({"x": "y"}, {"note": "this"})


async def test_wait_for_conditions_fields_and_deletion(api: Api, run: Kubectl) -> None:
    await api.create(api.widgets, widget("a"))
    waiting = asyncio.create_task(run("wait", "widget/a", "--for=condition=Ready", "--timeout=60s"))
    phase = asyncio.create_task(run("wait", "widget/a", "--for=jsonpath={.status.phase}=done", "--timeout=60s"))
    status = {"status": {"phase": "done", "conditions": [{"type": "Ready", "status": "True"}]}}
    await api.patch(f"{api.widgets}/a/status", status)
    assert "condition met" in (await waiting).out
    assert "condition met" in (await phase).out
    gone = asyncio.create_task(run("wait", "widget/a", "--for=delete", "--timeout=60s"))
    assert (await run("delete", "widget", "a")).out.startswith('widget.conformance.dstk.io "a" deleted')
    await gone


async def test_delete_waits_for_finalizers(api: Api, run: Kubectl) -> None:
    body = widget("a")
    body["metadata"]["finalizers"] = ["dstk.io/held"]
    await api.create(api.widgets, body)
    deleting = asyncio.create_task(run("delete", "widget", "a"))
    await api.until(f"{api.widgets}/a", lambda one: "deletionTimestamp" in one.body["metadata"])
    assert not deleting.done()
    await api.patch(f"{api.widgets}/a", {"metadata": {"finalizers": None}})
    await deleting
    assert (await api.get(f"{api.widgets}/a")).code == 404


async def test_get_watch_prints_each_step(api: Api, kubectl: str, kubeconfig: Path) -> None:
    await api.create(api.widgets, widget("a"))
    watching = await asyncio.create_subprocess_exec(
        kubectl, "--kubeconfig", str(kubeconfig), "-n", api.namespace, "get", "widgets", "-w",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            lines = [await watching.stdout.readline(), await watching.stdout.readline()]
            for size in (4, 5, 6):
                await api.patch(f"{api.widgets}/a", {"spec": {"size": size}})
                lines.append(await watching.stdout.readline())
    finally:
        watching.kill()
        await watching.wait()
    assert [line.decode().split()[1] for line in lines] == ["SIZE", "3", "4", "5", "6"]


async def test_api_resources_and_versions(run: Kubectl) -> None:
    text = (await run("api-resources", "--api-group=conformance.dstk.io")).out
    assert text.splitlines()[1].split() == ["widgets", "wdg", "conformance.dstk.io/v1", "true", "Widget"]
    assert "conformance.dstk.io/v1" in (await run("api-versions")).out
    assert "Server Version: v1." in (await run("version")).out
    assert (await run("auth", "can-i", "list", "widgets")).out.strip() == "yes"

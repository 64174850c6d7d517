"""Namespaces, Events, Leases, Pods, owners and dependents, and what a server says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import worlds
from conformance.apiclient import TABLE, WAIT_SECONDS, Api
from conformance.crd import widget

needs_controllers = pytest.mark.skipif(
    worlds.REAL, reason="namespaces and dependents are removed by the controller manager, which does not run here"
)
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_health(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body) == (200, "ok")


async def test_the_version_is_one_that_clients_understand(api: Api) -> None:
    body = (await api.get("/version")).body
    assert body["major"] == "1"
    assert body["gitVersion"].startswith("v1.")


async def test_discovery_lists_groups_and_resources(api: Api) -> None:
    assert (await api.get("/api")).body["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api.get("/apis")).body["groups"]}
    assert groups["conformance.dstk.io"]["preferredVersion"]["groupVersion"] == "conformance.dstk.io/v1"
    assert {"apiextensions.k8s.io", "coordination.k8s.io", "events.k8s.io"} <= groups.keys()
    assert (await api.get("/apis/conformance.dstk.io")).body["kind"] == "APIGroup"
    found = (await api.get("/apis/conformance.dstk.io/v1")).body
    resources = {one["name"]: one for one in found["resources"]}
    assert resources["widgets"]["shortNames"] == ["wdg"]
    assert resources["widgets"]["categories"] == ["gadgets"]
    assert resources["widgets"]["singularName"] == "widget"
    assert set(resources["widgets"]["verbs"]) == {
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    }  # fmt: skip
    assert set(resources["widgets/status"]["verbs"]) == {"get", "patch", "update"}
    core = {one["name"]: one for one in (await api.get("/api/v1")).body["resources"]}
    assert core["pods"]["shortNames"] == ["po"]
    assert core["namespaces"]["namespaced"] is False


async def test_discovery_in_one_document(api: Api) -> None:
    answer = await api.send("GET", "/apis", accept=DISCOVERY)
    assert answer.body["kind"] == "APIGroupDiscoveryList"
    assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
    async with asyncio.timeout(WAIT_SECONDS):
        while "conformance.dstk.io" not in {item["metadata"]["name"] for item in answer.body["items"]}:
            answer = await api.send("GET", "/apis", accept=DISCOVERY)
    group = next(item for item in answer.body["items"] if item["metadata"]["name"] == "conformance.dstk.io")
    resource = next(one for one in group["versions"][0]["resources"] if one["resource"] == "widgets")
    assert (resource["scope"], resource["shortNames"]) == ("Namespaced", ["wdg"])
    assert resource["subresources"][0]["subresource"] == "status"
    core = (await api.send("GET", "/api", accept=DISCOVERY)).body
    assert core["items"][0]["versions"][0]["version"] == "v1"


async def test_openapi_describes_the_kind(api: Api) -> None:
    described = await api.until("/openapi/v3", lambda answer: "apis/conformance.dstk.io/v1" in answer.body["paths"])
    path, _, query = described.body["paths"]["apis/conformance.dstk.io/v1"]["serverRelativeURL"].partition("?")
    document = (await api.get(path, **dict([query.split("=", 1)]))).body
    kind = {"group": "conformance.dstk.io", "kind": "Widget", "version": "v1"}
    schemas = document["components"]["schemas"].values()
    schema = next(one for one in schemas if kind in one.get("x-kubernetes-group-version-kind", []))
    assert schema["properties"]["spec"]["properties"]["size"]["maximum"] == 100
    named = document["paths"]["/apis/conformance.dstk.io/v1/namespaces/{namespace}/widgets/{name}"]
    assert named["patch"]["x-kubernetes-group-version-kind"] == kind
    assert "fieldValidation" in {parameter["name"] for parameter in named["patch"]["parameters"]}


@needs_controllers
async def test_a_deleted_namespace_takes_all_with_it(api: Api) -> None:
    path = f"/api/v1/namespaces/{api.namespace}"
    assert (await api.get(path)).body["status"]["phase"] == "Active"
    held = widget("held")
    held["metadata"]["finalizers"] = ["dstk.io/held"]
    await api.create(api.widgets, held)
    await api.create(api.core("configmaps"), {"metadata": {"name": "c"}, "data": {"a": "b"}})
    assert (await api.delete(path)).code == 200
    assert (await api.get(path)).body["status"]["phase"] == "Terminating"
    refused = await api.post(api.widgets, widget("late"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "because it is being terminated" in refused.message
    await api.until_gone(f"{api.core('configmaps')}/c")
    assert (await api.patch(f"{api.widgets}/held", {"metadata": {"finalizers": None}})).code == 200
    await api.until_gone(path)


async def test_the_default_namespace_stays(api: Api) -> None:
    answer = await api.delete("/api/v1/namespaces/default", dryRun="All")
    assert (answer.code, answer.message) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )


def owned_by(owner: dict[str, Any], name: str) -> dict[str, Any]:
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    body = widget(name)
    body["metadata"]["ownerReferences"] = [{**reference, "blockOwnerDeletion": True}]
    return body


@needs_controllers
async def test_dependents_go_with_their_owner(api: Api) -> None:
    owner = await api.create(api.widgets, widget("owner"))
    child = await api.create(api.widgets, owned_by(owner, "child"))
    await api.create(api.widgets, owned_by(child, "grandchild"))
    other = await api.create(api.widgets, widget("other"))
    shared = owned_by(owner, "shared")
    shared["metadata"]["ownerReferences"] += owned_by(other, "x")["metadata"]["ownerReferences"]
    await api.create(api.widgets, shared)
    await api.delete(f"{api.widgets}/owner")
    await api.until_gone(f"{api.widgets}/child")
    await api.until_gone(f"{api.widgets}/grandchild")
    left = await api.until(f"{api.widgets}/shared", lambda one: len(one.body["metadata"]["ownerReferences"]) == 1)
    assert left.body["metadata"]["ownerReferences"][0]["uid"] == other["metadata"]["uid"]


@needs_controllers
async def test_orphans_stay(api: Api) -> None:
    owner = await api.create(api.widgets, widget("owner"))
    await api.create(api.widgets, owned_by(owner, "child"))
    await api.delete(f"{api.widgets}/owner", {"propagationPolicy": "Orphan"})
    await api.until_gone(f"{api.widgets}/owner")
    assert "ownerReferences" not in (await api.get(f"{api.widgets}/child")).body["metadata"]


@needs_controllers
async def test_foreground_waits_for_the_dependents(api: Api) -> None:
    owner = await api.create(api.widgets, widget("owner"))
    child = owned_by(owner, "child")
    child["metadata"]["finalizers"] = ["dstk.io/held"]
    await api.create(api.widgets, child)
    answer = await api.delete(f"{api.widgets}/owner", {"propagationPolicy": "Foreground"})
    assert "foregroundDeletion" in answer.body["metadata"]["finalizers"]
    await api.until(f"{api.widgets}/child", lambda one: "deletionTimestamp" in one.body["metadata"])
    assert (await api.get(f"{api.widgets}/owner")).code == 200
    await api.patch(f"{api.widgets}/child", {"metadata": {"finalizers": None}})
    await api.until_gone(f"{api.widgets}/owner")


async def test_events_are_the_same_in_both_groups(api: Api) -> None:
    about = {"kind": "Widget", "name": "w", "namespace": api.namespace, "apiVersion": "conformance.dstk.io/v1"}
    event = {
        "metadata": {"name": "w.1"},
        "involvedObject": about,
        "reason": "Tested",
        "message": "it was tested",
        "type": "Normal",
        "count": 2,
    }
    await api.create(api.core("events"), event)
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    mirrored = (await api.get(f"{path}/w.1")).body
    assert mirrored["apiVersion"] == "events.k8s.io/v1"
    assert (mirrored["regarding"]["name"], mirrored["note"], mirrored["deprecatedCount"]) == ("w", "it was tested", 2)
    found = await api.get(api.core("events"), fieldSelector="involvedObject.name=w,involvedObject.kind=Widget")
    assert [item["reason"] for item in found.body["items"]] == ["Tested"]
    assert (await api.get(api.core("events"), fieldSelector="involvedObject.name=x")).body["items"] == []
    table = (await api.send("GET", api.core("events"), accept=TABLE)).body
    row = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (row["Type"], row["Reason"], row["Object"], row["Message"]) == (
        "Normal",
        "Tested",
        "widget/w",
        "it was tested",
    )


async def test_leases_are_taken_by_version(api: Api) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    made = await api.create(path, {"metadata": {"name": "l"}, "spec": spec})
    taken = {**made, "spec": {**made["spec"], "holderIdentity": "b", "leaseTransitions": 1}}
    assert (await api.put(f"{path}/l", taken)).code == 200
    assert (await api.put(f"{path}/l", taken)).code == 409
    assert (await api.patch(f"{path}/l", {"spec": {"leaseDurationSeconds": 0}})).code == 422


async def test_config_maps_may_be_replaced_without_a_version(api: Api) -> None:
    path = api.core("configmaps")
    await api.create(path, {"metadata": {"name": "c"}, "data": {"a": "b"}})
    answer = await api.put(f"{path}/c", {"metadata": {"name": "c"}, "data": {"a": "c"}})
    assert (answer.code, answer.body["data"]) == (200, {"a": "c"})


async def test_pods_tell_their_state(api: Api) -> None:
    ports = [{"containerPort": 7070, "name": "data"}]
    spec = {"containers": [{"name": "worker", "image": "i", "ports": ports}]}
    made = await api.create(api.core("pods"), {"metadata": {"name": "p", "labels": {"app": "kv"}}, "spec": spec})
    assert made["spec"]["containers"][0]["ports"][0] == {"containerPort": 7070, "name": "data", "protocol": "TCP"}
    assert made["status"]["phase"] == "Pending"
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    status["containerStatuses"] = [
        {"name": "worker", "ready": True, "restartCount": 0, "image": "i", "imageID": "", "state": {"running": {}}}
    ]
    assert (await api.patch(f"{api.core('pods')}/p/status", {"status": status})).code == 200
    table = (await api.send("GET", api.core("pods"), accept=TABLE)).body
    assert table["rows"][0]["cells"][:3] == ["p", "1/1", "Running"]
    answer = await api.delete(f"{api.core('pods')}/p", {"gracePeriodSeconds": 0})
    assert (answer.code, answer.body["kind"]) == (200, "Pod")
    assert (await api.get(f"{api.core('pods')}/p")).code == 404


async def test_the_ports_of_a_pod_cannot_change_but_its_image_can(api: Api) -> None:
    container = {"name": "c", "image": "i", "ports": [{"name": "data", "containerPort": 7070}]}
    await api.create(api.core("pods"), {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
    other = {**container, "ports": [{"name": "data", "containerPort": 7071}]}
    refused = await api.patch(f"{api.core('pods')}/p", {"spec": {"containers": [other]}})
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`" in refused.message
    assert (
        await api.patch(f"{api.core('pods')}/p", {"spec": {"containers": [{**container, "image": "j"}]}})
    ).code == 200
    assert (await api.patch(f"{api.core('pods')}/p", {"metadata": {"labels": {"a": "b"}}})).code == 200


async def test_one_may_ask_what_one_may_do(api: Api) -> None:
    review = {"spec": {"resourceAttributes": {"verb": "list", "group": "conformance.dstk.io", "resource": "widgets"}}}
    answer = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert (answer.code, answer.body["status"]["allowed"]) == (201, True)


POD = {"containers": [{"name": "c", "image": "none"}], "terminationGracePeriodSeconds": 600, "nodeName": "node-0"}


async def make_pod(api: Api, **spec: Any) -> dict[str, Any]:
    return await api.create(api.core("pods"), {"metadata": {"name": "p"}, "spec": POD | spec})


async def test_a_pod_on_a_node_is_there_until_its_node_says_that_it_has_ended(api: Api) -> None:
    path = f"{api.core('pods')}/p"
    await make_pod(api)
    assert (await api.delete(path)).code == 200
    metadata = (await api.get(path)).body["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 600
    assert metadata["deletionTimestamp"] > metadata["creationTimestamp"]
    # Neither a change nor another deletion ends it.
    assert (await api.patch(f"{path}/status", {"status": {"phase": "Running"}})).code == 200
    assert (await api.delete(path)).code == 200
    assert (await api.get(path)).body["metadata"]["deletionTimestamp"] == metadata["deletionTimestamp"]
    assert (await api.delete(path, {"gracePeriodSeconds": 0})).code == 200
    assert (await api.get(path)).code == 404


async def test_the_grace_of_a_deletion_goes_before_the_pods(api: Api) -> None:
    await make_pod(api)
    await api.delete(f"{api.core('pods')}/p", {"gracePeriodSeconds": 7})
    assert (await api.get(f"{api.core('pods')}/p")).body["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_a_pod_that_has_ended_goes_at_once(api: Api) -> None:
    await make_pod(api)
    await api.patch(f"{api.core('pods')}/p/status", {"status": {"phase": "Succeeded"}})
    await api.delete(f"{api.core('pods')}/p")
    assert (await api.get(f"{api.core('pods')}/p")).code == 404


async def test_an_eviction_deletes_the_pod_that_it_means(api: Api) -> None:
    path = f"{api.core('pods')}/p"
    uid = (await make_pod(api))["metadata"]["uid"]
    eviction: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    other = await api.post(f"{path}/eviction", eviction | {"deleteOptions": {"preconditions": {"uid": "another"}}})
    assert (other.code, other.reason) == (409, "Conflict")
    assert "deletionTimestamp" not in (await api.get(path)).body["metadata"]
    done = await api.post(f"{path}/eviction", eviction | {"deleteOptions": {"preconditions": {"uid": uid}}})
    assert done.code == 201
    assert (await api.get(path)).body["metadata"]["deletionGracePeriodSeconds"] == 600
    gone = await api.post(f"{api.core('pods')}/q/eviction", eviction | {"metadata": {"name": "q"}})
    assert gone.code == 404


async def test_discovery_tells_of_evictions(api: Api) -> None:
    resources = {one["name"]: one for one in (await api.get("/api/v1")).body["resources"]}
    found = resources["pods/eviction"]
    assert (found["kind"], found["group"], found["version"], found["verbs"]) == (
        "Eviction", "policy", "v1", ["create"],
    )  # fmt: skip


async def test_a_stateful_set_counts_its_generations_and_has_a_status(api: Api) -> None:
    path = api.core("statefulsets").replace("/api/v1/", "/apis/apps/v1/")
    labels = {"app": "kv"}
    spec = {
        "serviceName": "kv",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": POD["containers"]}},
    }
    made = await api.create(path, {"metadata": {"name": "kv"}, "spec": spec})
    assert (made["spec"]["replicas"], made["metadata"]["generation"]) == (1, 1)
    changed = await api.patch(f"{path}/kv", {"spec": {"replicas": 3}})
    assert changed.body["metadata"]["generation"] == 2
    status = {"replicas": 3, "readyReplicas": 2, "updateRevision": "r2"}
    told = await api.patch(f"{path}/kv/status", {"status": status})
    assert told.body["status"].items() >= status.items()
    assert told.body["metadata"]["generation"] == 2
    table = (await api.send("GET", path, accept=TABLE)).body
    assert table["rows"][0]["cells"][:2] == ["kv", "2/3"]

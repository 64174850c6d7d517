"""Merge, JSON and strategic merge patches; server-side apply."""

from __future__ import annotations

from typing import Any

from conformance.apiclient import JSON_PATCH, STRATEGIC, Api
from conformance.crd import widget


async def test_merge_patches_merge_delete_and_replace(api: Api) -> None:
    await api.create(api.widgets, widget("a", tags=["x"], limits={"cpu": 1, "ram": 2}, low=1))
    answer = await api.patch(
        f"{api.widgets}/a", {"spec": {"limits": {"cpu": None, "disk": 3}, "tags": ["y", "z"], "low": None}}
    )
    assert answer.body["spec"] == {"size": 3, "color": "red", "limits": {"ram": 2, "disk": 3}, "tags": ["y", "z"]}


async def test_a_merge_patch_may_name_the_version_it_is_for(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"size": 4}}
    assert (await api.patch(f"{api.widgets}/a", patch)).code == 200
    assert (await api.patch(f"{api.widgets}/a", patch)).code == 409


async def test_json_patches(api: Api) -> None:
    await api.create(api.widgets, widget("a", tags=["x", "z"]))
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/spec/size", "value": 3},
        {"op": "replace", "path": "/spec/size", "value": 7},
        {"op": "add", "path": "/spec/tags/1", "value": "y"},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "1"}},
        {"op": "copy", "from": "/spec/size", "path": "/spec/low"},
        {"op": "remove", "path": "/spec/tags/0"},
        {"op": "move", "from": "/metadata/annotations/a~1b", "path": "/metadata/annotations/c"},
    ]
    answer = await api.patch(f"{api.widgets}/a", operations, JSON_PATCH)
    assert answer.code == 200, answer.body
    assert answer.body["spec"] == {"size": 7, "low": 7, "color": "red", "tags": ["y", "z"]}
    assert answer.body["metadata"]["annotations"] == {"c": "1"}
    refused = await api.patch(f"{api.widgets}/a", [{"op": "test", "path": "/spec/size", "value": 3}], JSON_PATCH)
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert (await api.patch(f"{api.widgets}/a", [{"op": "remove", "path": "/spec/no"}], JSON_PATCH)).code == 422
    assert (await api.patch(f"{api.widgets}/a", {"op": "remove"}, JSON_PATCH)).code == 400


def pod(name: str) -> dict[str, Any]:
    containers = [
        {"name": "one", "image": "i:1", "ports": [{"containerPort": 1, "name": "data"}]},
        {"name": "two", "image": "j"},
    ]
    return {"metadata": {"name": name}, "spec": {"containers": containers}}


async def test_strategic_patches_merge_lists_by_key(api: Api) -> None:
    await api.create(api.core("pods"), pod("p"))
    path = f"{api.core('pods')}/p"
    answer = await api.patch(path, {"spec": {"containers": [{"name": "one", "image": "i:2"}]}}, STRATEGIC)
    assert answer.code == 200, answer.body
    assert [(c["name"], c["image"]) for c in answer.body["spec"]["containers"]] == [("one", "i:2"), ("two", "j")]
    status = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}}
    assert (await api.patch(f"{path}/status", status, STRATEGIC)).code == 200
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    answer = await api.patch(f"{path}/status", ready, STRATEGIC)
    conditions = {one["type"]: one["status"] for one in answer.body["status"]["conditions"]}
    assert conditions == {"Ready": "True", "Other": "True"}
    gone = {"status": {"conditions": [{"type": "Other", "$patch": "delete"}]}}
    answer = await api.patch(f"{path}/status", gone, STRATEGIC)
    assert [one["type"] for one in answer.body["status"]["conditions"]] == ["Ready"]


async def test_apply_creates_updates_and_lets_go(api: Api) -> None:
    path = f"{api.widgets}/a"
    answer = await api.apply(path, widget("a", code="abc", tags=["x"]), "one")
    assert answer.code == 201
    entry = answer.body["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"], entry["fieldsType"]) == ("one", "Apply", "FieldsV1")
    assert entry["fieldsV1"] == {"f:spec": {"f:code": {}, "f:size": {}, "f:tags": {'v:"x"': {}}}}
    again = await api.apply(path, widget("a", code="abc", tags=["x"]), "one")
    assert (again.code, again.body) == (200, answer.body)
    answer = await api.apply(path, widget("a", size=4, code="abc"), "one")
    assert answer.body["spec"] == {"size": 4, "color": "red", "code": "abc"}
    assert answer.body["metadata"]["generation"] == 2


async def test_apply_conflicts_name_the_fields_and_their_owner(api: Api) -> None:
    path = f"{api.widgets}/a"
    await api.apply(path, widget("a", size=3, low=1), "one")
    answer = await api.apply(path, widget("a", size=4, low=1), "two")
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.size'
    assert answer.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.size"}
    ]
    shared = await api.apply(path, widget("a", size=3), "two")
    assert shared.code == 200
    forced = await api.apply(path, widget("a", size=4), "two", force="true")
    assert forced.body["spec"] == {"size": 4, "low": 1, "color": "red"}
    owners = {entry["manager"]: entry["fieldsV1"] for entry in forced.body["metadata"]["managedFields"]}
    assert owners == {"one": {"f:spec": {"f:low": {}}}, "two": {"f:spec": {"f:size": {}}}}


async def test_apply_conflicts_with_other_writes(api: Api) -> None:
    path = f"{api.widgets}/a"
    await api.create(api.widgets, widget("a"), fieldManager="editor")
    answer = await api.apply(path, widget("a", size=9, color="blue"), "one")
    assert answer.code == 409
    assert answer.message == (
        'Apply failed with 2 conflicts: conflicts with "editor" using conformance.dstk.io/v1:\n'
        "- .spec.color\n- .spec.size"
    )
    await api.apply(path, widget("a", size=9), "one", force="true")
    patched = await api.patch(path, {"spec": {"size": 5}}, fieldManager="editor")
    owners = {(one["manager"], one["operation"]): one["fieldsV1"] for one in patched.body["metadata"]["managedFields"]}
    assert "f:size" in owners[("editor", "Update")]["f:spec"]
    assert ("one", "Apply") not in owners


async def test_apply_merges_keyed_lists_by_item(api: Api) -> None:
    path = f"{api.widgets}/a"
    await api.apply(path, widget("a", parts=[{"name": "p", "count": 1}], limits={"cpu": 1}), "one")
    other = {**widget("a"), "spec": {"parts": [{"name": "q", "count": 2}], "limits": {"ram": 1}}}
    answer = await api.apply(path, other, "two")
    assert answer.code == 200, answer.body
    assert answer.body["spec"]["parts"] == [{"name": "p", "count": 1}, {"name": "q", "count": 2}]
    assert answer.body["spec"]["limits"] == {"cpu": 1, "ram": 1}
    clash = {**widget("a"), "spec": {"parts": [{"name": "p", "count": 5}]}}
    answer = await api.apply(path, clash, "two")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.parts[name="p"].count'
    answer = await api.apply(path, {**widget("a"), "spec": {"limits": {"ram": 1}}}, "two")
    assert answer.body["spec"]["parts"] == [{"name": "p", "count": 1}]


async def test_apply_of_status_is_apart(api: Api) -> None:
    path = f"{api.widgets}/a"
    await api.apply(path, widget("a"), "one")
    body = {"apiVersion": "conformance.dstk.io/v1", "kind": "Widget", "metadata": {"name": "a"}}
    status = {**body, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    answer = await api.apply(f"{path}/status", status, "ctl")
    assert answer.code == 200, answer.body
    assert answer.body["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    entry = next(one for one in answer.body["metadata"]["managedFields"] if one["manager"] == "ctl")
    assert entry["subresource"] == "status"
    answer = await api.apply(path, widget("a", size=4), "one")
    assert answer.body["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


async def test_apply_needs_a_manager_and_takes_yaml(api: Api) -> None:
    path = f"{api.widgets}/a"
    answer = await api.patch(path, widget("a"), "application/apply-patch+yaml")
    assert answer.code == 422
    assert "fieldManager: Required value: is required for apply patch" in answer.message
    text = "apiVersion: conformance.dstk.io/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 5}\n"
    assert (await api.apply(path, text, "one")).body["spec"]["size"] == 5
    labels = {**widget("b"), "metadata": {"name": "b", "managedFields": [{"manager": "x"}]}}
    assert (await api.apply(f"{api.widgets}/b", labels, "one")).code == 400


async def test_apply_owns_labels_and_annotations_apart(api: Api) -> None:
    path = f"{api.widgets}/a"
    mine, theirs = widget("a"), widget("a")
    mine["metadata"]["labels"] = {"a": "1"}
    theirs["metadata"]["labels"] = {"b": "2"}
    del theirs["spec"]
    await api.apply(path, mine, "one")
    answer = await api.apply(path, theirs, "two")
    assert answer.body["metadata"]["labels"] == {"a": "1", "b": "2"}
    answer = await api.apply(path, widget("a"), "one")
    assert answer.body["metadata"]["labels"] == {"b": "2"}

"""Create, read, replace, delete: metadata, versions, refusals."""

from __future__ import annotations

import asyncio
import re

import pytest

from conformance.apiclient import MERGE, Api
from conformance.crd import widget


async def test_a_created_object_has_the_servers_metadata(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    metadata = made["metadata"]
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["uid"])
    assert int(metadata["resourceVersion"]) > 0
    assert metadata["generation"] == 1
    assert metadata["namespace"] == api.namespace
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert metadata["managedFields"][0]["manager"] == "conformance"
    assert made["spec"] == {"size": 3, "color": "red"}
    assert (await api.get(f"{api.widgets}/a")).body == made


async def test_creating_twice_is_refused(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    answer = await api.post(api.widgets, widget("a"))
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'widgets.conformance.dstk.io "a" already exists'
    assert answer.body["details"] == {"name": "a", "group": "conformance.dstk.io", "kind": "widgets"}
    assert answer.body["kind"] == "Status"


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    for answer in (await api.get(f"{api.widgets}/a"), await api.delete(f"{api.widgets}/a")):
        assert (answer.code, answer.reason) == (404, "NotFound")
        assert answer.message == 'widgets.conformance.dstk.io "a" not found'
    answer = await api.patch(f"{api.widgets}/a", {"spec": {"size": 4}})
    assert answer.code == 404
    answer = await api.get("/apis/conformance.dstk.io/v1/gizmos")
    assert answer.code == 404
    answer = await api.post("/apis/conformance.dstk.io/v1/namespaces/nowhere/widgets", widget("a"))
    assert (answer.code, answer.message) == (404, 'namespaces "nowhere" not found')


async def test_generate_name_makes_a_name(api: Api) -> None:
    body = widget("x")
    body["metadata"] = {"generateName": "made-"}
    names = {(await api.create(api.widgets, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(re.fullmatch(r"made-[a-z0-9]{5}", name) for name in names)


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a" * 254, "dot."])
async def test_names_that_are_none_are_refused(api: Api, name: str) -> None:
    answer = await api.post(api.widgets, widget(name))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.body["details"]["causes"][0]["field"] == "metadata.name"


async def test_a_name_is_required(api: Api) -> None:
    body = widget("x")
    body["metadata"] = {}
    answer = await api.post(api.widgets, body)
    assert answer.code == 422
    assert "metadata.name: Required value: name or generateName is required" in answer.message


async def test_labels_are_checked(api: Api) -> None:
    body = widget("a")
    body["metadata"]["labels"] = {"bad key": "x", "good": "bad value"}
    answer = await api.post(api.widgets, body)
    assert answer.code == 422
    assert {cause["field"] for cause in answer.body["details"]["causes"]} == {"metadata.labels"}


async def test_an_object_of_another_kind_or_place_is_refused(api: Api) -> None:
    wrong_version = {**widget("a"), "apiVersion": "conformance.dstk.io/v9"}
    answer = await api.post(api.widgets, wrong_version)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    elsewhere = widget("a")
    elsewhere["metadata"]["namespace"] = "default"
    answer = await api.post(api.widgets, elsewhere)
    assert answer.code == 400
    assert "does not match the namespace sent on the request" in answer.message
    answer = await api.post(api.widgets, "{not json")
    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_a_replace_needs_the_current_version(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    path = f"{api.widgets}/a"
    fresh = {**made, "spec": {"size": 4}}
    answer = await api.put(path, fresh)
    assert answer.code == 200
    assert answer.body["metadata"]["generation"] == 2
    assert int(answer.version) > int(made["metadata"]["resourceVersion"])
    answer = await api.put(path, fresh)
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on widgets.conformance.dstk.io "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    answer = await api.put(path, widget("a"))
    assert answer.code == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in answer.message


async def test_a_replace_of_something_else_is_refused(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    renamed = {**made, "metadata": {**made["metadata"], "name": "b"}}
    answer = await api.put(f"{api.widgets}/a", renamed)
    assert answer.code == 400
    assert "does not match the name on the URL (a)" in answer.message
    other_life = {**made, "metadata": {**made["metadata"], "uid": "11111111-1111-1111-1111-111111111111"}}
    answer = await api.put(f"{api.widgets}/a", other_life)
    assert answer.code == 409


async def test_a_write_that_changes_nothing_keeps_the_version(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    assert (await api.put(f"{api.widgets}/a", made)).body == made
    assert (await api.patch(f"{api.widgets}/a", {"spec": {"size": 3}})).body == made


async def test_the_server_sets_its_own_metadata(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    patch = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 77, "selfLink": "x"}}
    after = (await api.patch(f"{api.widgets}/a", patch)).body["metadata"]
    assert after["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert after["generation"] == 1


async def test_generation_counts_changes_of_the_spec(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    path = f"{api.widgets}/a"
    labelled = await api.patch(path, {"metadata": {"labels": {"x": "y"}}})
    assert labelled.body["metadata"]["generation"] == 1
    assert (await api.patch(f"{path}/status", {"status": {"phase": "ready"}})).body["metadata"]["generation"] == 1
    assert (await api.patch(path, {"spec": {"size": 9}})).body["metadata"]["generation"] == 2


async def test_status_and_the_rest_are_written_apart(api: Api) -> None:
    body = {**widget("a"), "status": {"phase": "early"}}
    made = await api.create(api.widgets, body)
    assert "status" not in made
    path = f"{api.widgets}/a"
    answer = await api.patch(f"{path}/status", {"status": {"phase": "ready"}, "spec": {"size": 50}})
    assert (answer.body["status"], answer.body["spec"]["size"]) == ({"phase": "ready"}, 3)
    answer = await api.patch(path, {"status": {"phase": "lost"}, "spec": {"size": 5}})
    assert (answer.body["status"], answer.body["spec"]["size"]) == ({"phase": "ready"}, 5)
    assert (await api.get(f"{path}/status")).body["status"] == {"phase": "ready"}
    replaced = {**answer.body, "status": {"phase": "done"}}
    assert (await api.put(f"{path}/status", replaced)).body["status"] == {"phase": "done"}
    stale = await api.put(f"{path}/status", replaced)
    assert (stale.code, stale.reason) == (409, "Conflict")


async def test_a_delete_says_what_went(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    answer = await api.delete(f"{api.widgets}/a")
    assert answer.code == 200
    assert answer.body["status"] == "Success"
    assert answer.body["details"] == {
        "name": "a",
        "group": "conformance.dstk.io",
        "kind": "widgets",
        "uid": made["metadata"]["uid"],
    }
    assert (await api.get(f"{api.widgets}/a")).code == 404


async def test_a_delete_may_be_meant_for_one_life_or_version(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    path = f"{api.widgets}/a"
    answer = await api.delete(path, {"preconditions": {"uid": "other"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "the UID in the precondition (other) does not match the UID in record" in answer.message
    answer = await api.delete(path, {"preconditions": {"resourceVersion": "1"}})
    assert answer.code == 409
    metadata = made["metadata"]
    exact = {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}
    assert (await api.delete(path, exact)).code == 200


async def test_finalizers_hold_a_deleted_object(api: Api) -> None:
    body = widget("a")
    body["metadata"]["finalizers"] = ["dstk.io/one", "dstk.io/two"]
    await api.create(api.widgets, body)
    path = f"{api.widgets}/a"
    answer = await api.delete(path)
    assert answer.code == 200
    marked = answer.body["metadata"]
    assert marked["deletionTimestamp"]
    assert marked["deletionGracePeriodSeconds"] == 0
    again = await api.delete(path)
    assert again.body["metadata"]["deletionTimestamp"] == marked["deletionTimestamp"]
    more = await api.patch(path, {"metadata": {"finalizers": ["dstk.io/one", "dstk.io/two", "dstk.io/three"]}})
    assert more.code == 422
    assert "no new finalizers can be added if the object is being deleted" in more.message
    assert (await api.patch(path, {"spec": {"size": 8}})).body["spec"]["size"] == 8
    assert (await api.patch(path, {"metadata": {"finalizers": ["dstk.io/two"]}})).code == 200
    assert (await api.get(path)).code == 200
    assert (await api.patch(path, {"metadata": {"finalizers": None}})).code == 200
    assert (await api.get(path)).code == 404


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for number in range(4):
        body = widget(f"w{number}")
        body["metadata"]["labels"] = {"odd": str(number % 2)}
        await api.create(api.widgets, body)
    assert (await api.delete(api.widgets, labelSelector="odd=1")).code == 200
    left = (await api.get(api.widgets)).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["w0", "w2"]


async def test_dry_runs_check_and_store_nothing(api: Api) -> None:
    answer = await api.post(api.widgets, widget("a"), dryRun="All")
    assert (answer.code, answer.body["spec"]["color"]) == (201, "red")
    assert (await api.get(f"{api.widgets}/a")).code == 404
    assert (await api.post(api.widgets, widget("a", size=1000), dryRun="All")).code == 422
    assert (await api.post(api.widgets, widget("a"), dryRun="Some")).code == 422
    made = await api.create(api.widgets, widget("a"))
    path = f"{api.widgets}/a"
    assert (await api.patch(path, {"spec": {"size": 9}}, dryRun="All")).body["spec"]["size"] == 9
    assert (await api.delete(path, dryRun="All")).code == 200
    assert (await api.get(path)).body == made


async def test_unknown_fields_are_dropped_or_refused(api: Api) -> None:
    body = widget("a", sise=4, parts=[{"name": "x", "colour": "blue"}])
    answer = await api.post(api.widgets, body, fieldValidation="Strict", dryRun="All")
    assert answer.code == 400
    assert 'unknown field "spec.sise"' in answer.message
    assert 'unknown field "spec.parts[0].colour"' in answer.message
    answer = await api.post(api.widgets, body, fieldValidation="Warn", dryRun="All")
    assert answer.code == 201
    assert 'unknown field \\"spec.sise\\"' in ",".join(answer.headers.getall("Warning"))
    answer = await api.post(api.widgets, body, fieldValidation="Ignore")
    assert "Warning" not in answer.headers
    assert answer.body["spec"] == {"size": 3, "color": "red", "parts": [{"name": "x", "count": 1}]}
    answer = await api.post(api.widgets, b'{"spec":{"size":1,"size":2}}', fieldValidation="Strict")
    assert answer.code == 400


async def test_free_parts_keep_what_they_are_given(api: Api) -> None:
    made = await api.create(api.widgets, widget("a", free={"deep": [{"x": None, "y": 1.5}]}, limits={"cpu": 2}))
    assert made["spec"]["free"] == {"deep": [{"x": None, "y": 1.5}]}
    assert made["spec"]["limits"] == {"cpu": 2}


async def test_one_writer_wins_each_version(api: Api) -> None:
    made = await api.create(api.widgets, widget("a"))
    version = made["metadata"]["resourceVersion"]
    tries = [
        api.patch(f"{api.widgets}/a", {"metadata": {"resourceVersion": version}, "spec": {"size": size}})
        for size in range(10, 20)
    ]
    codes = sorted(answer.code for answer in await asyncio.gather(*tries))
    assert codes == [200] + [409] * 9


async def test_methods_and_media_types_that_do_not_fit(api: Api) -> None:
    assert (await api.send("PUT", api.core("pods"), {})).code == 405
    assert (await api.send("POST", f"{api.core('pods')}/a", {})).code == 405
    nameless = await api.send("PUT", api.widgets, widget("a"))
    assert (nameless.code, nameless.message) == (400, "name must be provided")
    await api.create(api.widgets, widget("a"))
    answer = await api.patch(f"{api.widgets}/a", {"spec": {}}, "text/plain")
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")
    strategic = await api.patch(f"{api.widgets}/a", {"spec": {}}, "application/strategic-merge-patch+json")
    assert strategic.code == 415
    assert (await api.send("GET", api.widgets, accept="text/plain")).code == 406
    assert (await api.patch(f"{api.widgets}/a", "[]", MERGE)).code >= 400


async def test_objects_above_the_limit_are_refused(api: Api) -> None:
    answer = await api.post(api.widgets, widget("a", free={"blob": "x" * 2_000_000}))
    assert answer.code >= 400
    answer = await api.post(api.widgets, widget("a", free={"blob": "x" * 4_000_000}))
    assert (answer.code, answer.reason) == (413, "RequestEntityTooLarge")
    assert (await api.post(api.widgets, widget("a", free={"blob": "x" * 1_000_000}))).code == 201

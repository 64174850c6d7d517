"""Lists: order, selectors, pages, tables."""

from __future__ import annotations

import pytest

from conformance.apiclient import TABLE, Api
from conformance.crd import WIDGET_PATH, widget


async def make(api: Api, count: int) -> list[str]:
    names = [f"w{number:02}" for number in range(count)]
    for number, name in enumerate(names):
        body = widget(name, size=number + 1)
        body["metadata"]["labels"] = {"n": str(number), "odd": "yes" if number % 2 else "no"}
        await api.create(api.widgets, body)
    return names


def names_of(body: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def test_a_list_is_in_order_of_names(api: Api) -> None:
    await make(api, 3)
    body = (await api.get(api.widgets)).body
    assert (body["kind"], body["apiVersion"]) == ("WidgetList", "conformance.dstk.io/v1")
    assert names_of(body) == ["w00", "w01", "w02"]
    assert int(body["metadata"]["resourceVersion"]) >= int(body["items"][-1]["metadata"]["resourceVersion"])
    everywhere = (await api.get(f"{WIDGET_PATH}/widgets")).body
    assert {"w00", "w01", "w02"} <= set(names_of(everywhere))


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("odd=yes", [1, 3]),
        ("odd==yes,n!=1", [3]),
        ("n in (0, 3)", [0, 3]),
        ("n notin (0,3),odd", [1, 2]),
        ("!odd", []),
        ("missing!=x", [0, 1, 2, 3]),
        ("odd", [0, 1, 2, 3]),
        ("n>1", [2, 3]),
    ],
)
async def test_label_selectors(api: Api, selector: str, chosen: list[int]) -> None:
    names = await make(api, 4)
    answer = await api.get(api.widgets, labelSelector=selector)
    assert names_of(answer.body) == [names[at] for at in chosen]


async def test_field_selectors(api: Api) -> None:
    await make(api, 2)
    assert names_of((await api.get(api.widgets, fieldSelector="metadata.name=w01")).body) == ["w01"]
    assert names_of((await api.get(api.widgets, fieldSelector="metadata.name!=w01")).body) == ["w00"]
    everywhere = f"metadata.namespace={api.namespace},metadata.name=w00"
    assert names_of((await api.get(f"{WIDGET_PATH}/widgets", fieldSelector=everywhere)).body) == ["w00"]
    answer = await api.get(api.widgets, fieldSelector="spec.size=1")
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert "field label not supported: spec.size" in answer.message


async def test_pod_fields_can_be_selected(api: Api) -> None:
    for name, node in (("a", "n1"), ("b", "n2")):
        spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": node}
        await api.create(api.core("pods"), {"metadata": {"name": name}, "spec": spec})
    await api.patch(f"{api.core('pods')}/a/status", {"status": {"phase": "Running"}})
    assert names_of((await api.get(api.core("pods"), fieldSelector="spec.nodeName=n2")).body) == ["b"]
    assert names_of((await api.get(api.core("pods"), fieldSelector="status.phase=Running")).body) == ["a"]
    assert names_of((await api.get(api.core("pods"), fieldSelector="status.phase!=Running")).body) == ["b"]


async def test_pages_show_one_moment(api: Api) -> None:
    names = await make(api, 7)
    first = (await api.get(api.widgets, limit="3")).body
    assert names_of(first) == names[:3]
    assert first["metadata"]["remainingItemCount"] == 4
    await api.delete(f"{api.widgets}/w04")
    await api.create(api.widgets, widget("w03a"))
    second = (await api.get(api.widgets, limit="3", **{"continue": first["metadata"]["continue"]})).body
    assert names_of(second) == names[3:6]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = (await api.get(api.widgets, limit="3", **{"continue": second["metadata"]["continue"]})).body
    assert names_of(third) == names[6:]
    assert not third["metadata"].get("continue")
    bad = await api.get(api.widgets, limit="3", **{"continue": "nonsense"})
    assert bad.code == 400


async def test_tables_have_the_definitions_columns(api: Api) -> None:
    await api.create(api.widgets, widget("a", size=5, tags=["x", "y"]))
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    await api.patch(f"{api.widgets}/a/status", status)
    answer = await api.send("GET", api.widgets, accept=TABLE)
    assert answer.body["kind"] == "Table"
    assert [(c["name"], c["type"], c["priority"]) for c in answer.body["columnDefinitions"]] == [
        ("Name", "string", 0),
        ("Size", "integer", 0),
        ("Color", "string", 0),
        ("Ready", "string", 0),
        ("Tags", "string", 1),
        ("Age", "date", 0),
    ]
    (row,) = answer.body["rows"]
    assert row["cells"][:5] == ["a", 5, "red", "True", '["x","y"]']
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == "a"
    one = await api.send("GET", f"{api.widgets}/a", accept=TABLE)
    assert one.body["rows"][0]["cells"][:4] == ["a", 5, "red", "True"]
    whole = await api.send("GET", f"{api.widgets}/a", accept=TABLE, includeObject="Object")
    assert whole.body["rows"][0]["object"]["spec"]["size"] == 5


async def test_metadata_alone_can_be_asked_for(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    body = (await api.send("GET", api.widgets, accept=accept)).body
    assert body["kind"] == "PartialObjectMetadataList"
    assert set(body["items"][0]) <= {"kind", "apiVersion", "metadata"}


async def test_bad_queries_are_refused(api: Api) -> None:
    assert (await api.get(api.widgets, labelSelector="a=b=c")).code == 400
    assert (await api.get(api.widgets, limit="many")).code == 400

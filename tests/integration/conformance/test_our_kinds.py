"""Our own kinds at an API server: what it admits and refuses, and what kubectl shows of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from admissioncases import BAD, CHANGES, GOOD, keyspace, resource
from conformance.apiclient import APPLY, Answer, Api
from dstk.api import API_VERSION, RESOURCES, crds

Kubectl = Callable[..., Any]
Json = dict[str, Any]

PLURALS = {each.kind: each.plural for each in RESOURCES}


@pytest.fixture
async def ours(api: Api) -> Api:
    """The API under test with our definitions."""
    for definition in crds():
        await api.define(definition)
    return api


def path(api: Api, kind: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{api.namespace}/{PLURALS[kind]}"


def causes(answer: Answer) -> dict[str, str]:
    return {cause["field"]: cause["message"] for cause in answer.body["details"]["causes"]}


# Rules and schema


@pytest.mark.parametrize("object_", GOOD.values(), ids=GOOD)
async def test_admitted(ours: Api, object_: Json) -> None:
    answer = await ours.post(path(ours, object_["kind"]), object_, fieldValidation="Strict")
    assert answer.code == 201, answer.body


@pytest.mark.parametrize(("object_", "says"), BAD.values(), ids=BAD)
async def test_refused_with_the_field_and_the_reason(ours: Api, object_: Json, says: str) -> None:
    answer = await ours.post(path(ours, object_["kind"]), object_)
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    told = [f"{field}: {message}" for field, message in causes(answer).items()]
    assert any(says in each for each in told), told
    assert all(each.startswith(("spec", "metadata.name", "<nil>")) for each in told)


@pytest.mark.parametrize(("old", "new", "says"), CHANGES.values(), ids=CHANGES)
async def test_changed(ours: Api, old: Json, new: Json, says: str | None) -> None:
    where = path(ours, old["kind"])
    made = await ours.create(where, old)
    where += f"/{old['metadata']['name']}"
    if "status" in old:
        where += "/status"
        made = (await ours.put(where, {**made, "status": old["status"]})).body
    answer = await ours.put(where, {**made, **{part: new[part] for part in ("spec", "status") if part in new}})
    if says is None:
        assert answer.code == 200, answer.body
        return
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    assert any(says in f"{field}: {message}" for field, message in causes(answer).items()), answer.body


def rules() -> list[tuple[str, str, bool]]:
    """Every rule of our definitions: kind, message, and whether it compares with what was."""

    def of(schema: Json) -> list[Json]:
        found = list(schema.get("x-kubernetes-validations", ()))
        for below in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
            if isinstance(below, dict):
                found += of(below)
        return found

    return [
        (crd["spec"]["names"]["kind"], rule["message"], "oldSelf" in rule["rule"])
        for crd in crds()
        for rule in of(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    ]


@pytest.mark.parametrize(("kind", "message", "compares"), rules(), ids=[message for _, message, _ in rules()])
async def test_every_rule_has_an_object_that_it_refuses_and_one_that_it_lets_pass(
    ours: Api, kind: str, message: str, compares: bool
) -> None:
    if compares:
        refused = [new for _, new, says in CHANGES.values() if says and says in message and new["kind"] == kind]
        passes = [new for _, new, says in CHANGES.values() if says is None and new["kind"] == kind]
    else:
        tried = [
            (each, await ours.post(path(ours, kind), each, dryRun="All"))
            for each, _ in BAD.values()
            if each["kind"] == kind
        ]
        refused = [each for each, answer in tried if any(message in cause for cause in causes(answer).values())]
        passes = [each for each in GOOD.values() if each["kind"] == kind]
    assert refused, "no case is refused by it"
    assert passes


async def test_an_epoch_that_jumps_is_refused_and_one_that_grows_is_not(ours: Api) -> None:
    owned = resource("Partition", {"range": {"start": "a", "end": "o"}, "primary": "w-0", "epoch": 7}, name="p")
    await ours.create(path(ours, "Partition"), owned)
    where = f"{path(ours, 'Partition')}/p"
    for epoch in (7 + 65_537, 2**53 - 1):
        answer = await ours.patch(where, {"spec": {"epoch": epoch}})
        assert (answer.code, causes(answer)) == (422, {"spec.epoch": causes(answer)["spec.epoch"]})
        assert "at most 65536 at a time" in answer.message
    assert (await ours.patch(where, {"spec": {"epoch": 7 + 65_536}})).body["spec"]["epoch"] == 7 + 65_536


async def test_a_lower_epoch_is_refused_however_it_is_written(ours: Api) -> None:
    owned = resource("Partition", {"range": {"start": "a", "end": "o"}, "primary": "w-0", "epoch": 7}, name="p")
    await ours.create(path(ours, "Partition"), owned)
    where = f"{path(ours, 'Partition')}/p"
    lower = copy.deepcopy(owned)
    lower["spec"]["epoch"] = 6
    answers = [
        await ours.patch(where, {"spec": {"epoch": 6}}),
        await ours.patch(where, {"spec": {"epoch": None}}),
        await ours.patch(where, [{"op": "replace", "path": "/spec/epoch", "value": 6}], "application/json-patch+json"),
        await ours.apply(where, lower, "someone", force="true"),
    ]
    for answer in answers:
        assert (answer.code, causes(answer)) == (422, {"spec.epoch": causes(answer)["spec.epoch"]})
        assert "epoch never decreases" in answer.message
    assert (await ours.get(where)).body["spec"]["epoch"] == 7


# Sizes


def largest_new() -> Json:
    names = [f"{number:03}-{'n' * 249}" for number in range(1000)]
    return resource("Assignment", {"type": "New", "newParams": {"partitions": names, "primary": "w-0"}}, name="largest")


async def test_the_largest_assignment_fits_with_all_that_an_api_server_notes_about_it(ours: Api) -> None:
    made = await ours.apply(f"{path(ours, 'Assignment')}/largest", largest_new(), "someone")
    assert made.code == 201, made.body
    assert len(json.dumps(made.body)) > 500_000


async def test_what_is_larger_than_the_store_takes_is_refused_and_nothing_is_there(ours: Api) -> None:
    # The schema bounds our own fields; annotations have a bound of their own, labels have none but the store's.
    many = {f"k{number:05}.example.org/{'l' * 63}": "v" * 63 for number in range(11_000)}
    large = keyspace()
    large["metadata"] = {"name": "large", "labels": many}
    answer = await ours.post(path(ours, "Keyspace"), large)
    assert answer.code >= 400
    assert "too large" in answer.message
    assert (await ours.get(f"{path(ours, 'Keyspace')}/large")).code == 404
    noted = keyspace()
    noted["metadata"] = {"name": "noted", "annotations": {"a": "x" * 300_000}}
    answer = await ours.post(path(ours, "Keyspace"), noted)
    assert answer.code == 422
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in answer.message


# Server-side apply


async def test_apply_says_who_else_holds_a_field_and_force_takes_it(ours: Api) -> None:
    where = f"{path(ours, 'Keyspace')}/ks"
    body = resource("Keyspace", {"keyLength": 16, "proxySeconds": 5, "policy": {"mode": "Off"}}, name="ks")
    assert (await ours.apply(where, body, "gitops")).code == 201
    other = resource("Keyspace", {"keyLength": 16, "proxySeconds": 9}, name="ks")
    conflict = await ours.apply(where, other, "someone")
    assert (conflict.code, conflict.reason) == (409, "Conflict")
    assert causes(conflict) == {".spec.proxySeconds": 'conflict with "gitops"'}
    taken = await ours.apply(where, other, "someone", force="true")
    assert (taken.code, taken.body["spec"]["proxySeconds"], taken.body["spec"]["policy"]["mode"]) == (200, 9, "Off")
    assert (await ours.apply(where, body, "gitops")).code == 409


async def test_conditions_are_merged_by_type(ours: Api) -> None:
    await ours.create(path(ours, "Keyspace"), resource("Keyspace", {"keyLength": 16}, name="ks"))
    where = f"{path(ours, 'Keyspace')}/ks/status"

    def condition(type_: str) -> Json:
        said = {"type": type_, "status": "True", "reason": "Told", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        return {
            "apiVersion": API_VERSION, "kind": "Keyspace", "metadata": {"name": "ks"},
            "status": {"conditions": [said]},
        }  # fmt: skip

    for type_, manager in (("Ready", "one"), ("Cut", "another")):
        answer = await ours.patch(where, condition(type_), APPLY, fieldManager=manager)
        assert answer.code == 200, answer.body
    assert [each["type"] for each in answer.body["status"]["conditions"]] == ["Ready", "Cut"]


# kubectl


@pytest.mark.parametrize("wide", [False, True], ids=["as it is", "wide"])
async def test_kubectl_prints_the_columns_of_the_definitions(ours: Api, run: Kubectl, wide: bool) -> None:
    for object_ in (
        resource("Keyspace", {"keyLength": 16}, name="ks"),
        resource("Partition", {"range": {"start": "a", "end": "o"}, "primary": "w-0", "proxy": "w-1", "epoch": 3}, name="p"),
        resource("Assignment", {"type": "InterWorkerMove", "moveParams": {"partition": "p", "from": "w-0", "to": "w-1"}}, name="a"),
    ):  # fmt: skip
        await ours.create(path(ours, object_["kind"]), object_)
    shown = {
        "ks": ["ks", "16"],
        "part": ["p", "a", "o", "w-0", "w-1"],
        "asg": ["a", "InterWorkerMove", "p", "w-0", "w-1"],
    }
    for kind in RESOURCES:
        head, row = (await run("get", kind.short, *(["-o", "wide"] if wide else []))).out.splitlines()
        columns = [column.name.upper() for column in kind.columns if wide or not column.wide]
        assert " ".join(head.split()) == " ".join(["NAME", *columns])
        assert row.split()[: len(shown[kind.short])] == shown[kind.short]


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("keyspaces", "KIND:       Keyspace"),
        ("ks.spec", "-required-"),
        ("partitions.spec.range", "closed-open"),
        ("part.spec.epoch", "Grows with every change of ownership"),
        ("assignments.spec.moveParams", "The pod that shall serve it"),
        ("asg.spec.type", "InWorkerSplit"),
        ("asg.status.phase", "Aborted has changed"),
    ],
)
async def test_kubectl_explains_every_field(ours: Api, run: Kubectl, field: str, says: str) -> None:
    assert says in (await run("explain", field)).out


async def test_kubectl_apply_names_the_field_of_every_refusal(ours: Api, run: Kubectl) -> None:
    documents, told = [], {}
    for number, (object_, says) in enumerate(BAD.values()):
        name = object_["metadata"]["name"] if len(object_["metadata"]["name"]) > 1 else f"bad-{number}"
        documents.append({**object_, "metadata": {"name": name}})
        told[name] = says
    # As YAML, which every kubectl takes apart at the dashes.
    given = "".join(f"---\n{json.dumps(document)}\n" for document in documents)
    done = await run("apply", "-f", "-", input=given, ok=False)
    assert done.code != 0
    assert done.out == ""
    refusals = done.err.splitlines()
    assert len(refusals) == len(documents), done.err
    for name, says in told.items():
        (refusal,) = [each for each in refusals if f'"{name}" is invalid: ' in each]
        fields = refusal.partition(" is invalid: ")[2].removeprefix("[")
        assert says in fields
        assert fields.startswith(("spec.", "spec: ", "metadata.name: ")), refusal

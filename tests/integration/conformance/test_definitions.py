"""CustomResourceDefinitions: schemas, defaults, rules, and the words of their refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from conformance.apiclient import Api
from conformance.crd import WIDGETS, widget

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("below the minimum", {"size": 0}, "spec.size", "Invalid value: 0: spec.size in body should be greater than or equal to 1"),
    ("above the maximum", {"size": 101}, "spec.size", "Invalid value: 101: spec.size in body should be less than or equal to 100"),
    ("another type", {"size": "3"}, "spec.size", 'Invalid value: "string": spec.size in body must be of type integer: "string"'),
    ("null", {"size": None}, "spec.size", "Required value"),
    ("null in a list", {"tags": [None]}, "spec.tags[0]", 'Invalid value: "null": spec.tags[0] in body must be of type string: "null"'),
    ("a fraction", {"size": 1.5}, "spec.size", 'Invalid value: "number": spec.size in body must be of type integer: "number"'),
    ("not of the enum", {"color": "green"}, "spec.color", 'Unsupported value: "green": supported values: "red", "blue"'),
    ("too short", {"code": "a"}, "spec.code", 'Invalid value: "a": spec.code in body should be at least 2 chars long'),
    ("too long", {"code": "abcdefghi"}, "spec.code", "Too long: may not be more than 8 bytes"),
    ("another pattern", {"code": "a1b"}, "spec.code", "Invalid value: \"a1b\": spec.code in body should match '^[a-z]+$'"),
    ("too many", {"tags": ["a", "b", "c", "d"]}, "spec.tags", "Too many: 4: must have at most 3 items"),
    ("twice in a set", {"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
    ("twice by key", {"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]", 'Duplicate value: {"name":"a"}'),
    ("without its key", {"parts": [{"count": 1}]}, "spec.parts[0].name", "Required value"),
    ("a wrong map value", {"limits": {"cpu": "x"}}, "spec.limits.cpu", 'Invalid value: "string": spec.limits.cpu in body must be of type integer: "string"'),
    ("no time", {"when": "yesterday"}, "spec.when", 'Invalid value: "yesterday": spec.when in body must be of type date-time: "yesterday"'),
    ("against a rule", {"low": 4}, "spec", "Invalid value: low must not be above size"),
    ("against a rule with a computed message", {"left": {}, "right": {}}, "spec", "Invalid value: only one of left and right, color red"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_a_refusal_names_the_field_and_says_why(api: Api, spec: dict[str, Any], field: str, text: str) -> None:
    answer = await api.post(api.widgets, {**widget("a"), "spec": {"size": 3, **spec}})
    assert (answer.code, answer.reason) == (422, "Invalid")
    causes = {cause["field"]: cause["message"] for cause in answer.body["details"]["causes"]}
    assert causes[field] == text
    assert f"{field}: {text}" in answer.message
    assert answer.message.startswith('Widget.conformance.dstk.io "a" is invalid: ')
    assert answer.body["details"]["kind"] == "Widget"


async def test_several_mistakes_are_told_at_once(api: Api) -> None:
    answer = await api.post(api.widgets, {**widget("a"), "spec": {"color": "green", "code": "A"}})
    fields = sorted({cause["field"] for cause in answer.body["details"]["causes"]})
    assert fields == ["<nil>", "spec.code", "spec.color", "spec.size"]


UNCHECKED = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)


@pytest.mark.parametrize(
    ("spec", "unchecked"),
    [
        ({"size": 0}, False),
        ({"size": 3, "tags": ["a", "a"]}, False),
        ({"size": "3"}, True),
        ({"size": 3, "color": "green"}, True),
        ({"size": 3, "code": "abcdefghi"}, True),
        ({"size": 3, "tags": ["a", "b", "c", "d"]}, True),
        ({"size": 3, "parts": [{"count": 1}]}, True),
    ],
)
async def test_rules_are_not_asked_about_an_object_of_another_shape(
    api: Api, spec: dict[str, Any], unchecked: bool
) -> None:
    answer = await api.post(api.widgets, {**widget("a"), "spec": {**spec, "low": 5}})
    causes = {cause["field"]: cause["message"] for cause in answer.body["details"]["causes"]}
    assert causes.get("<nil>") == (UNCHECKED if unchecked else None)
    assert causes.get("spec") == (None if unchecked else "Invalid value: low must not be above size")


async def test_a_null_that_may_not_be_is_as_if_it_were_not_there(api: Api) -> None:
    spec = {"low": None, "color": None, "note": None, "limits": {"cpu": None}, "tags": None}
    made = await api.create(api.widgets, widget("a", **spec))
    assert made["spec"] == {"size": 3, "color": "red", "note": None, "limits": {}}


async def test_what_fits_is_taken(api: Api) -> None:
    spec = {
        "low": 3, "port": "http", "when": "2026-01-01T00:00:00Z", "note": None, "tags": ["a", "b"],
        "parts": [{"name": "x"}], "code": "abcdefgh", "left": {},
    }  # fmt: skip
    made = await api.create(api.widgets, widget("a", **spec))
    assert made["spec"]["parts"] == [{"name": "x", "count": 1}]
    assert "color" in made["spec"]
    assert (await api.post(api.widgets, widget("b", port=80))).code == 201
    assert (await api.post(api.widgets, widget("c", port=1.5))).code == 422


async def test_transition_rules_compare_with_what_was(api: Api) -> None:
    await api.create(api.widgets, widget("a", code="abc"))
    path = f"{api.widgets}/a"
    answer = await api.patch(path, {"spec": {"code": "xyz"}})
    assert answer.code == 422
    assert answer.message == (
        'Widget.conformance.dstk.io "a" is invalid: spec.code: Invalid value: "xyz": code is immutable'
    )
    assert (await api.patch(path, {"spec": {"size": 4}})).code == 200
    assert (await api.patch(path, {"spec": {"code": None}})).code == 200
    assert (await api.patch(path, {"spec": {"code": "xyz"}})).code == 200


async def test_a_definition_becomes_established(api: Api) -> None:
    found = (await api.get(f"{DEFINITIONS}/widgets.conformance.dstk.io")).body
    conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert found["status"]["acceptedNames"]["listKind"] == "WidgetList"
    assert found["status"]["storedVersions"] == ["v1"]
    assert found["spec"]["names"]["singular"] == "widget"


def definition(kind: str, schema: dict[str, Any], **version: Any) -> dict[str, Any]:
    made = copy.deepcopy(WIDGETS)
    plural = f"{kind.lower()}s"
    made["metadata"]["name"] = f"{plural}.conformance.dstk.io"
    made["spec"]["names"] = {"plural": plural, "kind": kind}
    root = {"type": "object", "properties": {"spec": schema}}
    made["spec"]["versions"] = [
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}, **version}
    ]
    return made


BAD_SCHEMAS: list[tuple[str, dict[str, Any], str]] = [
    ("a field without a type", {"type": "object", "properties": {"x": {"minimum": 1}}}, "properties[x].type"),
    ("an unknown type", {"type": "thing"}, "spec].type"),
    ("a list without items", {"type": "array"}, "items"),
    ("a rule that cannot be read", {"type": "object", "x-kubernetes-validations": [{"rule": "self."}]}, "rule"),
    (
        "a rule about an unknown field",
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.y > 1"}],
        },
        "rule",
    ),
    (
        "a rule with an unknown function",
        {"type": "string", "x-kubernetes-validations": [{"rule": "nosuch(self)"}]},
        "rule",
    ),
    (
        "a default of another type",
        {"type": "object", "properties": {"x": {"type": "integer", "default": "y"}}},
        "default",
    ),
]


@pytest.mark.parametrize(("schema", "field"), [case[1:] for case in BAD_SCHEMAS], ids=[case[0] for case in BAD_SCHEMAS])
async def test_schemas_that_mean_nothing_are_refused(api: Api, schema: dict[str, Any], field: str) -> None:
    answer = await api.post(DEFINITIONS, definition("Bad", schema))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert any(field in cause["field"] for cause in answer.body["details"]["causes"]), answer.body


async def test_the_name_of_a_definition_is_derived(api: Api) -> None:
    made = definition("Odd", {"type": "object"})
    made["metadata"]["name"] = "odds.example.org"
    answer = await api.post(DEFINITIONS, made)
    assert answer.code == 422
    assert 'must be spec.names.plural+"."+spec.group' in answer.message


async def test_a_changed_schema_applies_to_the_next_write(api: Api) -> None:
    made = definition("Gadget", {"type": "object", "properties": {"x": {"type": "integer"}}})
    await api.define(made)
    path = f"/apis/conformance.dstk.io/v1/namespaces/{api.namespace}/gadgets"
    body = {
        "apiVersion": "conformance.dstk.io/v1",
        "kind": "Gadget",
        "metadata": {"name": "g"},
        "spec": {"x": 1, "y": 2},
    }
    assert (await api.create(path, body))["spec"] == {"x": 1}
    properties = {"x": {"type": "integer"}, "y": {"type": "integer", "default": 5}}
    wider = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    change = {"spec": {"versions": [{**made["spec"]["versions"][0], "schema": {"openAPIV3Schema": wider}}]}}
    assert (await api.patch(f"{DEFINITIONS}/gadgets.conformance.dstk.io", change)).code == 200
    await until_spec(api, path, {"x": 1, "y": 5})
    assert (await api.patch(f"{path}/g", {"spec": {"y": 7}})).body["spec"] == {"x": 1, "y": 7}
    await api.delete(f"{DEFINITIONS}/gadgets.conformance.dstk.io")
    await api.until_gone(f"{DEFINITIONS}/gadgets.conformance.dstk.io")
    await api.until_gone("/apis/conformance.dstk.io/v1/gadgets")


async def until_spec(api: Api, path: str, spec: dict[str, Any]) -> None:
    """A real server serves a changed schema a moment after it has stored it."""
    await api.until(f"{path}/g", lambda answer: answer.body["spec"] == spec)


async def test_rules_see_optional_parts_lists_and_text(api: Api) -> None:
    rules = [
        {"rule": "self.words.all(w, w.size() <= 3)", "message": "words are short"},
        {"rule": "self.words.isSorted()", "message": "words are sorted"},
        {"rule": "self.?extra.orValue(0) < 10", "message": "extra is small"},
        {"rule": "!self.words.exists(w, w.startsWith('x')) || has(self.extra)", "message": "x needs extra"},
        {"rule": "self.words.join('-').matches('^[a-zé-]*$')", "message": "words are letters"},
    ]
    properties = {
        "words": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}},
        "extra": {"type": "integer"},
    }
    schema = {"type": "object", "required": ["words"], "properties": properties, "x-kubernetes-validations": rules}
    await api.define(definition("Ruled", schema))
    path = f"/apis/conformance.dstk.io/v1/namespaces/{api.namespace}/ruleds"

    async def refusals(**spec: Any) -> list[str]:
        body = {
            "apiVersion": "conformance.dstk.io/v1",
            "kind": "Ruled",
            "metadata": {"generateName": "r-"},
            "spec": spec,
        }
        answer = await api.post(path, body)
        if answer.code == 201:
            return []
        return [cause["message"].removeprefix("Invalid value: ") for cause in answer.body["details"]["causes"]]

    assert await refusals(words=["a", "b"]) == []
    assert await refusals(words=["éaé"]) == []
    assert await refusals(words=["long!"]) == ["words are short", "words are letters"]
    assert await refusals(words=["b", "a"]) == ["words are sorted"]
    assert await refusals(words=["x"]) == ["x needs extra"]
    assert await refusals(words=["x"], extra=10) == ["extra is small"]
    await api.delete(f"{DEFINITIONS}/ruleds.conformance.dstk.io")
    await api.until_gone(f"{DEFINITIONS}/ruleds.conformance.dstk.io")

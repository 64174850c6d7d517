"""What the API server itself refuses, one object at a time: the generated schema and its rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from admission import admit, defaulted

from admissioncases import BAD, CHANGES, GOOD, keyspace, resource
from dstk.api import KINDS, crds, decode, to_dict

Json = dict[str, Any]

DATA = Path(__file__).parents[2] / "data"
SEED = list(yaml.safe_load_all((DATA / "seed.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("object_", GOOD.values(), ids=GOOD)
def test_admitted(object_: Json) -> None:
    assert admit(object_) == []


@pytest.mark.parametrize("object_", SEED, ids=lambda o: f"{o['kind']} {o['metadata']['name']}")
def test_the_seed_is_admitted_and_survives_the_typed_models(object_: Json) -> None:
    assert admit(object_) == []
    typed = to_dict(decode(KINDS[object_["kind"]], object_))
    assert defaulted(typed) == defaulted(object_)


@pytest.mark.parametrize(("object_", "says"), BAD.values(), ids=BAD)
def test_refused(object_: Json, says: str) -> None:
    errors = admit(object_)
    assert any(says in error for error in errors), errors


@pytest.mark.parametrize(("old", "new", "says"), CHANGES.values(), ids=CHANGES)
def test_changed(old: Json, new: Json, says: str | None) -> None:
    errors = admit(new, old)
    assert (errors == []) if says is None else any(says in error for error in errors), errors


def test_what_a_keyspace_gets_when_nothing_is_said() -> None:
    spec = defaulted(keyspace())["spec"]
    assert spec["durability"] == "Memory"
    assert spec["failover"] == "Confirmed"
    assert spec["proxySeconds"] == 60
    assert spec["partitions"] == {}
    assert spec["policy"]["mode"] == "Auto"
    assert spec["policy"]["maxConcurrentMoves"] == 1


def test_the_defaults_of_the_schema_are_those_of_the_models() -> None:
    for kind, spec in (("Keyspace", {"keyLength": 16}), ("Partition", {"range": {}})):
        object_ = resource(kind, spec)
        assert decode(KINDS[kind], defaulted(object_)) == decode(KINDS[kind], object_)


def test_every_field_says_what_it_is_and_is_bounded() -> None:
    def walk(schema: Json, path: str) -> None:
        assert schema.get("description"), f"{path} has no description"
        match schema["type"]:
            case "string":
                assert "maxLength" in schema or "enum" in schema, f"{path} has no maxLength"
            case "integer" | "number":
                assert {"minimum", "maximum"} <= schema.keys(), f"{path} has no bounds"
            case "array":
                assert "maxItems" in schema, f"{path} has no maxItems"
            case "object" if "additionalProperties" in schema:
                assert "maxProperties" in schema, f"{path} has no maxProperties"
        for name, field in schema.get("properties", {}).items():
            walk(field, f"{path}.{name}")

    for crd in crds():
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for name in ("spec", "status"):
            walk(schema["properties"][name], f"{crd['spec']['names']['kind']}.{name}")


def test_a_status_has_no_defaults() -> None:
    for crd in crds():
        status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
        assert "default" not in yaml.safe_dump(status)

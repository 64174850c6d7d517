"""docs/policy.md has every field of the policy, with the bounds and the default that the definition has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dstk.api import Keyspace, Policy, crds, decode

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in re.findall(r"^\| (`.+) \|$", PAGE, re.MULTILINE)
    if len(cells := line.split(" | ")) == 5
}


def schema() -> dict[str, Any]:
    (definition,) = (each for each in crds() if each["spec"]["names"]["kind"] == "Keyspace")
    (version,) = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    found: dict[str, Any] = spec["properties"]["policy"]["properties"]
    return found


FIELDS = schema()


def test_every_field_has_a_row_in_the_order_of_the_definition() -> None:
    assert list(ROWS) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_row_has_the_unit_the_default_and_the_bounds(name: str) -> None:
    field = FIELDS[name]
    unit, default, bounds, meaning = ROWS[name]
    assert default == str(field["default"])
    assert bounds == (", ".join(field["enum"]) if "enum" in field else f"{field['minimum']} to {field['maximum']}")
    assert unit
    assert meaning


def test_the_example_is_a_keyspace() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    keyspace = decode(Keyspace, yaml.safe_load(example))
    assert keyspace.spec.policy.max_rows == 2_000_000
    assert keyspace.spec.policy != Policy()
    assert {*yaml.safe_load(example)["spec"]["policy"]} <= {*FIELDS}

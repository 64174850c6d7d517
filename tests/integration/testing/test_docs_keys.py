"""What docs/keys.md and the first example of the README show is run: every block of Python, by a client of a real cluster; its tables are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dstk import keys
from dstk.api import Keyspace, decode
from dstk.plan.cut import initial_partitions
from dstk.testing.fixtures import Cluster, dstk_cluster, dstk_session_cluster

__all__ = ["dstk_cluster", "dstk_session_cluster"]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "keys.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_block_of_the_page_runs(dstk_cluster: Cluster) -> None:
    found = blocks(PAGE, "python")
    assert len(found) >= 8
    with dstk_cluster.connect() as client:
        names: dict[str, Any] = {"client": client}
        for block in found:
            exec(compile(block, "docs/keys.md", "exec"), names)


def test_the_first_example_of_the_readme_runs(dstk_cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    first = blocks((ROOT / "README.md").read_text(), "python")[0]
    assert "127.0.0.1:PORT" in first
    exec(compile(first.replace("127.0.0.1:PORT", dstk_cluster.addresses[0]), "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Row(value=b'hello', version=")


def test_layouts_have_the_lengths_that_the_page_says() -> None:
    rows = re.findall(r"^\| `(Layout\(.*\))` \| (\d+)", PAGE, re.MULTILINE)
    assert len(rows) >= 6
    for layout, length in rows:
        assert eval(layout, vars(keys).copy()).length == int(length), layout


def test_parts_have_the_lengths_that_the_page_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == ["u64", "i64", "timestamp", "uuid"]
    for part, length in rows:
        assert keys.Layout(part=getattr(keys, part)).length == int(length), part


def test_the_keyspace_of_the_page_is_cut_at_its_bounds() -> None:
    (spec,) = blocks(PAGE, "yaml")
    partitions = initial_partitions(decode(Keyspace, yaml.safe_load(spec)))
    assert [keys.parse_bound(each.spec.range.start, 32).rstrip(b"\0") for each in partitions[1:]] == [
        b"customer/3",
        b"customer/6",
        b"order/2",
        b"order/5",
    ]


@pytest.mark.parametrize(
    ("first", "values", "partitions"),
    [
        (keys.text(14), [f"user/{number}" for number in range(2000)], 1),
        (keys.u64, range(2000), 1),
        (keys.hashed(keys.text(14)), [f"user/{number}" for number in range(2000)], 16),
        (keys.hashed(keys.u64), range(2000), 16),
        (keys.digest(), [f"user/{number}" for number in range(2000)], 16),
    ],
    ids=["text", "u64", "hashed text", "hashed u64", "digest"],
)
def test_what_spreads_over_the_first_partitions(first: Any, values: Any, partitions: int) -> None:
    rows = keys.Layout(16, first=first).encode_many(first=values)
    index = keys.RangeIndex([start or bytes(16) for start, _ in keys.even_bounds(16, 16)], key_length=16)
    assert len({*index.find_many(rows).tolist()}) == partitions

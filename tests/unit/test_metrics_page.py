"""docs/metrics.md has every metric there is, with what the code says of it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from dstk.operator.metrics import Metrics, PartitionCollector
from dstk.worker.metrics import FAMILIES, PARTITION_FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

Row = tuple[str, str, str, str]


def of_workers() -> list[Row]:
    rows = [
        (
            f"dstk_worker_{family.name}",
            "counter" if family.name.endswith("_total") else "gauge",
            ", ".join(family.labels),
            family.help,
        )
        for family in FAMILIES
    ]
    return rows + [
        (f"dstk_worker_{name}", "gauge", "keyspace, partition, role", text) for name, text in PARTITION_FAMILIES
    ]


def of_operators() -> list[Row]:
    instruments = [each for each in vars(Metrics()).values() if isinstance(each, Counter | Gauge | Histogram)]
    rows = [
        (
            each._name + ("_total" if isinstance(each, Counter) else ""),
            each._type,
            ", ".join(each._labelnames),
            each._documentation,
        )
        for each in instruments
    ]
    collected = PartitionCollector([]).collect()
    return rows + [(each.name, each.type, ", ".join(each._labelnames), each.documentation) for each in collected]  # type: ignore[attr-defined]


def on_the_page(heading: str) -> list[Row]:
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [map(str.strip, line.split("|")) for line in section.splitlines() if line.startswith("| `dstk_")]
    return [(name.strip("`"), kind, labels, text) for _, name, kind, labels, text, _ in rows]


def test_workers() -> None:
    assert on_the_page("Workers") == of_workers()


def test_the_operator() -> None:
    assert on_the_page("Operator") == of_operators()

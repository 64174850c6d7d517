"""What a worker tells Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from dstk._core import Node
from dstk.worker.metrics import FAMILIES, NodeCollector
from expositions import complaints, ours


def registry(node: Node, *, by_partition: bool = False) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(NodeCollector(node, by_partition=by_partition))
    return made


def test_it_keeps_to_the_conventions(tmp_path: Path) -> None:
    node = Node("worker-0", "1/a", {"data_dir": str(tmp_path)})
    try:
        assert complaints(ours(registry(node, by_partition=True))) == []
    finally:
        node.stop(0.0)


def test_every_counter_of_the_node_has_its_place(tmp_path: Path) -> None:
    node = Node("worker-0", "1/a", {"data_dir": str(tmp_path)})
    try:
        told = [counter for family in FAMILIES for counter in family.samples.values()]
        assert sorted(told) == sorted(node.counters())
    finally:
        node.stop(0.0)


def test_what_only_grows_is_a_counter() -> None:
    for family in FAMILIES:
        counters = {counter.endswith("_total") for counter in family.samples.values()}
        assert counters == {family.name.endswith("_total")}, family.name

"""What Prometheus' conventions ask of a page of metrics: those that `promtool check metrics` has, and a few more."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

TYPES = ("counter", "gauge", "histogram", "summary")
OTHER_UNITS = {"ms": "seconds", "milliseconds": "seconds", "us": "seconds", "minutes": "seconds", "kb": "bytes"}
ABBREVIATED = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "m", "h", "d"}


def families(text: str) -> list[Metric]:
    """The metrics of a page. Raises ValueError when it is no page of metrics."""
    return list(parse(text))


def ours(registry: CollectorRegistry) -> list[Metric]:
    """The metrics of a registry that are not those of any process; both formats can be read and say the same."""
    read = families(generate_latest(registry).decode())
    opened = {family.name: family for family in parse_open(generate_open(registry).decode())}
    for family in read:
        assert (opened[family.name].type, opened[family.name].documentation) == (family.type, family.documentation)
    return [family for family in read if family.name.startswith("dstk_")]


def complaints(found: Iterable[Metric]) -> list[str]:
    """What is wrong with their names, labels and texts."""
    wrong: list[str] = []
    seen: set[str] = set()
    for family in found:
        name, words = family.name, family.name.split("_")
        labels = {label for sample in family.samples for label in sample.labels}
        text = family.documentation
        problems = {
            "is there twice": name in seen,
            "is no lower snake case": not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name),
            "names its type": any(word in TYPES for word in words),
            "says a word twice in a row": any(a == b for a, b in pairwise(words)),
            "is no counter, but ends in _total": family.type != "counter" and words[-1] == "total",
            "has a unit that is no base unit": any(word in OTHER_UNITS for word in words),
            "abbreviates a unit": any(word in ABBREVIATED for word in words),
            "ends as a histogram's series do": words[-1] in ("count", "sum", "bucket"),
            "has a label that is no lower snake case": any(not re.fullmatch("[a-z][a-z_]*", each) for each in labels),
            "has a label that says the name again": any(label in words[1:] for label in labels - {"partition"}),
            "has no type": family.type == "unknown",
            "has no text": not text,
            "has a text that is only the name": text.rstrip(".").lower().replace(" ", "_") in name,
            "has a text that is no sentence": not re.fullmatch(r"[A-Z0-9].*\.", text),
            "has a text that says a word twice in a row": re.search(r"\b(\w+) \1\b", text) is not None,
        }
        wrong += [f"{name} {problem}" for problem, holds in problems.items() if holds]
        seen.add(name)
    return wrong

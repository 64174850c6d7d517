"""Tests on a whole cluster: `make test-cluster IMAGE=…`, on whatever cluster KUBECONFIG names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import ROOT, Cluster, keyspace, until

HERE = Path(__file__).parent
REPLICAS, SPARE = 3, 1
FIGURES = ROOT / "build" / "cluster.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs a cluster and an image: make test-cluster")
    for item in items:
        if not os.environ.get("IMAGE") and HERE in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """dstk, installed by its chart, with a keyspace that lives in memory and one on disk. Nothing of it stays."""
    cluster = Cluster(os.environ["IMAGE"])
    repository, _, tag = cluster.image.rpartition(":")
    had_definitions = "partitions.dstk.io" in cluster.kubectl("get", "crds", "-o", "name")
    cluster.kubectl("create", "namespace", cluster.namespace)
    try:
        values = {
            "crds.install": str(not had_definitions).lower(),
            "image.repository": repository,
            "image.tag": tag,
            "workers.replicas": REPLICAS,
            "workers.spare": SPARE,
            "workers.disk.enabled": "true",
            "workers.disk.size": "1Gi",
            "workers.disk.takeOwnership": "true",  # a test cluster's volumes are folders, as a rule
            "workers.resources.requests.cpu": "50m",
            "workers.resources.requests.memory": "64Mi",
            "workers.resources.limits.memory": "512Mi",
            "workers.limits.memory_limit_bytes": "0",  # one of them is to be ended by the kernel
            "operator.resources.requests.cpu": "50m",
            "operator.leaseSeconds": "5",
        }
        settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        cluster.helm("install", "test", str(ROOT / "deploy" / "helm" / "dstk"), *settings, "--wait", "--timeout=5m")
        cluster.apply(keyspace("memory", "Memory", partitions=6), keyspace("disk", "Disk", partitions=6))
        until(lambda: cluster.ready("memory") and cluster.ready("disk"), "both keyspaces are served")
        yield cluster
    finally:
        if not os.environ.get("KEEP"):
            cluster.helm("uninstall", "test", "--ignore-not-found")
            # Without an operator nobody takes from the workers what they would wait to be rid of.
            cluster.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", check=False)
            cluster.kubectl("delete", "namespace", cluster.namespace, "--ignore-not-found", "--timeout=120s")
            if not had_definitions:
                cluster.kubectl("delete", "crds", "-l", "app.kubernetes.io/instance=test", "--timeout=120s")


@pytest.fixture(scope="session")
def note() -> Iterator[Callable[..., None]]:
    """Keeps figures, in build/cluster.json."""
    figures: dict[str, Any] = {}

    def add(what: str, **values: Any) -> None:
        figures[what] = values
        print(what, values, flush=True)

    yield add
    if figures:
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps({"at": time.strftime("%Y-%m-%d"), **figures}, indent=1) + "\n")

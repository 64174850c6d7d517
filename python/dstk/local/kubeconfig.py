"""The kubeconfig that lets kubectl and every Kubernetes client reach the embedded API."""

from __future__ import annotations

import json
from pathlib import Path

from dstk.local.apiserver.files import write_text


def write_kubeconfig(path: Path, server: str, namespace: str = "default") -> None:
    """Write a kubeconfig for `server` (`http://127.0.0.1:PORT`) to `path`, readable by its owner alone."""
    name = "dstk"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "users": [{"name": name, "user": {}}],
        "current-context": name,
    }
    write_text(path, json.dumps(config, indent=2) + "\n", mode=0o600)

"""Which Kubernetes API the tests run against: the embedded one, or a real kube-apiserver with DSTK_TEST_KUBERNETES=1.

Of the real one there is one a test process, from the first test to the last; each cluster of a test gets a namespace of
its own there, and its operator runs as a ServiceAccount with the Role that the Helm chart gives it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dstk.local.cluster import ClusterSettings
from dstk.testing.control_plane import ControlPlane, Tenant, binaries

REAL = os.environ.get("DSTK_TEST_KUBERNETES", "") not in ("", "0")
CHART_FILES = Path(__file__).parents[1] / "deploy" / "helm" / "dstk" / "files"

_plane: ControlPlane | None = None


@contextmanager
def world(folder: Path | None) -> Iterator[ControlPlane | None]:
    """The real control plane, its files in `folder`, until the block is left; none without a folder."""
    global _plane
    if folder is None:
        yield None
        return
    with ControlPlane(folder, binaries()) as _plane:
        try:
            yield _plane
            answers = {
                (event.allowed, event.verb, event.group, event.resource)
                for event in _plane.audit()
                if _is_operator(event.account)
            }
            # For a moment after its start the API server does not know of any Role yet.
            forbidden = {tuple(right) for allowed, *right in answers if not allowed and (True, *right) not in answers}
            assert not forbidden, f"the operator's Role is too small: {sorted(forbidden)}"
        finally:
            _plane = None


def plane() -> ControlPlane:
    """The real control plane. Only where REAL is true."""
    assert _plane is not None
    return _plane


def kubectl() -> str | None:
    """The kubectl to test with: that of the real world, $KUBECTL, or the one on PATH."""
    if REAL:
        return str(binaries() / "kubectl")
    return os.environ.get("KUBECTL") or shutil.which("kubectl")


def rules() -> list[dict[str, Any]]:
    """The rules of the operator's Role, with those that it needs to restart workers."""
    files = (CHART_FILES / "operator-role-rules.yaml", CHART_FILES / "operator-restart-rules.yaml")
    return [rule for path in files for rule in yaml.safe_load(path.read_text())]


def tenant(folder: Path) -> Tenant | None:
    """The API server for the local cluster of that folder: a namespace of the real one; None for the embedded one."""
    if _plane is None:
        return None
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return _plane.tenant(f"test-{name}", rules())


def settings(folder: Path, **more: Any) -> ClusterSettings:
    """Settings of the local cluster of that folder in this world."""
    return ClusterSettings(api=tenant(folder), **more)


def _is_operator(account: str) -> bool:
    namespace, _, name = account.partition(":")
    return namespace.startswith("test-") and name == "dstk-operator"

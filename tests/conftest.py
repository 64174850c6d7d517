"""The Kubernetes API of the whole test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import worlds
from dstk.testing.control_plane import ControlPlane


@pytest.fixture(scope="session", autouse=True)
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane | None]:
    """A real kube-apiserver for all tests of this process, when DSTK_TEST_KUBERNETES asks for it."""
    with worlds.world(tmp_path_factory.mktemp("control-plane") if worlds.REAL else None) as plane:
        yield plane

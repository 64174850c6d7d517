"""The API that the conformance suite runs against: the embedded one, or a real one (see worlds.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import worlds
from conformance.apiclient import Api, connect
from conformance.crd import WIDGETS
from dstk.local.apiserver import ApiServer, Settings
from dstk.local.kubeconfig import write_kubeconfig


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """A kubeconfig for the API under test."""
    if worlds.REAL:
        yield worlds.plane().kubeconfig
        return
    async with ApiServer(Settings(directory=tmp_path / "state")) as server:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, server.url)
        yield path


@pytest.fixture
async def api(kubeconfig: Path) -> AsyncIterator[Api]:
    """The API under test, a namespace of one's own in it, and the Widget definition established."""
    async with connect(kubeconfig) as client:
        await client.define(WIDGETS)
        await client.make_namespace()
        yield client
        await client.remove_namespace()


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The kubectl to test with."""
    found = worlds.kubectl()
    if not found:
        pytest.skip("there is no kubectl: put one on PATH or name it in $KUBECTL")
    return found

"""The API that the conformance suite runs against: the embedded one, or a real one (see worlds.py)."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import worlds
from conformance.apiclient import WAIT_SECONDS, Api, connect
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


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(kubectl: str, kubeconfig: Path, api: Api, tmp_path: Path) -> Callable[..., Any]:
    """Runs kubectl in the test's namespace; input may be an object."""

    async def call(*arguments: str, input: Any = None, ok: bool = True) -> Result:
        command = [
            kubectl,
            "--kubeconfig",
            str(kubeconfig),
            "--cache-dir",
            str(tmp_path / "cache"),
            "-n",
            api.namespace,
        ]
        text = input if input is None or isinstance(input, str) else json.dumps(input)
        done = await asyncio.to_thread(
            subprocess.run, [*command, *arguments], input=text, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        if ok:
            assert done.returncode == 0, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return call

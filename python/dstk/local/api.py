"""The Kubernetes API of a local cluster: the embedded one, or one that is there already."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from dstk.errors import ConfigError, Unavailable
from dstk.local.apiserver.files import poll
from dstk.local.kubeconfig import write_kubeconfig
from dstk.local.process import CrashBackoff, Supervised

__all__ = ["ApiServer", "EmbeddedApi", "ForeignApi", "give_up"]

_POLL_SECONDS = 0.05
_FAILED_STARTS = 3


class ApiServer(Protocol):
    """What a cluster needs of its API server. Once it has started, both kubeconfigs are there.

    `kubeconfig` is for whoever sets the cluster up and uses it, `operator_kubeconfig` for its operator.
    """

    kubeconfig: Path
    operator_kubeconfig: Path

    async def start(self) -> None:
        """Returns once it answers."""

    async def stop(self) -> None: ...

    async def restart(self) -> None:
        """End it by SIGTERM; returns once the next life answers, at the same address, with the same objects."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it; it is started again when that ends it."""

    def describe(self) -> str:
        """What it said last, for an error that says why it is not ready."""


class EmbeddedApi:
    """dstk's own, as a process; its files in `directory`."""

    def __init__(self, directory: Path, namespace: str, *, grace_seconds: float, backoff: CrashBackoff) -> None:
        self.kubeconfig = self.operator_kubeconfig = directory / "run" / "kubeconfig"
        self._directory = directory
        self._namespace = namespace
        self._ready_file = directory / "run" / "api.json"
        self._url = ""
        self._process = Supervised(
            "api", self._command, directory / "logs" / "api.log", grace_seconds=grace_seconds, backoff=backoff
        )

    def _command(self) -> Sequence[str]:
        port = self._url.rpartition(":")[2] or "0"
        serve = [sys.executable, "-m", "dstk.local.apiserver", "--port", port]
        logs = ["--logs", str(self._directory / "logs")]
        return [*serve, "--dir", str(self._directory / "api"), *logs, "--ready-file", str(self._ready_file)]

    async def start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        await self._process.start()

        async def written() -> bool:
            give_up(self._process)
            return self._ready_file.exists()

        await poll(written, _POLL_SECONDS)
        self._url = json.loads(self._ready_file.read_text())["url"]
        write_kubeconfig(self.kubeconfig, self._url, self._namespace)

    async def stop(self) -> None:
        await self._process.stop()

    async def restart(self) -> None:
        await self._process.restart()
        await poll(self._answers, _POLL_SECONDS)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.kill(number)

    def describe(self) -> str:
        return self._process.tail()

    async def _answers(self) -> bool:
        give_up(self._process)
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


class ForeignApi:
    """One that is there already, and is left running. `operator_kubeconfig`: who the operator is there."""

    def __init__(self, kubeconfig: Path, operator_kubeconfig: Path | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.operator_kubeconfig = operator_kubeconfig or kubeconfig

    async def start(self) -> None:
        for path in {self.kubeconfig, self.operator_kubeconfig}:
            if not path.exists():
                raise ConfigError(f"kubeconfig {str(path)!r} does not exist")

    async def stop(self) -> None:
        """Nothing: it is somebody else's."""

    async def restart(self) -> None:
        raise ConfigError(f"the API server that {self.kubeconfig} names was not started here")

    def kill(self, number: int = signal.SIGKILL) -> None:
        raise ConfigError(f"the API server that {self.kubeconfig} names was not started here")

    def describe(self) -> str:
        return f"see the API server that {self.kubeconfig} names"


def give_up(process: Supervised) -> None:
    """Raises Unavailable when the process ends again and again before anything works."""
    if process.restarts >= _FAILED_STARTS and process.pid is None:
        raise Unavailable(f"{process.name} ends with {process.last_exit} at every start:\n{process.tail()}")

"""A whole dstk on this machine: API server, operator and workers, each a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import aiohttp

from dstk import api, kube
from dstk.errors import ApiError, ConfigError, DstkError, Unavailable
from dstk.local.files import poll, write_json
from dstk.local.kubeconfig import write_kubeconfig
from dstk.local.process import CrashBackoff, Supervised
from dstk.local.runner import Endpoints, WorkerSet, WorkerSettings

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_FAILED_STARTS = 3
_APPLY = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
_KEYSPACES: kube.Kind[dict[str, Any]] = kube.Kind("dstk.io/v1alpha1", "Keyspace", "keyspaces", dict)
_LEASES = ("dstk-assigner", "dstk-reconciler")


def operator_command(kubeconfig: Path, namespace: str) -> Sequence[str]:
    """The command of the operator. It is the only one here, so it need not wait for another's lease to end."""
    where = ["--kubeconfig", str(kubeconfig), "--namespace", namespace]
    return [sys.executable, "-m", "dstk.cli", "operator", *where, "--no-leader-election"]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`start_seconds` bounds the whole start, `grace_seconds` each process's end after SIGTERM."""

    namespace: str = "default"
    operator: bool = True
    operators: int = 1
    """Several take part in leader election, so `operator_command` has to leave it on."""
    operator_command: Callable[[Path, str], Sequence[str]] = operator_command
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    start_seconds: float = 60.0
    grace_seconds: float = 10.0
    backoff: CrashBackoff = field(default_factory=CrashBackoff)


class LocalCluster:
    """API server, operator and `workers` workers, their files in `directory`. An async context manager.

    directory/kubeconfig and directory/endpoints.json appear when all is ready; logs are in directory/logs. What ends
    is started again, as on a cluster; the API server keeps its objects over that. Whatever happens to this process,
    its children die with it. Raises ConfigError when the directory is in use, Unavailable when something does not
    come up.
    """

    def __init__(
        self,
        directory: Path,
        workers: int = 3,
        *,
        keyspace: dict[str, Any] | None = None,
        settings: ClusterSettings | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.kubeconfig = self.directory / "kubeconfig"
        self.settings = settings or ClusterSettings()
        self.url = ""
        self.workers: WorkerSet | None = None
        self._replicas = workers
        self._keyspace = keyspace
        self._lock: TextIO | None = None
        self._connection: kube.Connection | None = None
        self._api: Supervised | None = None
        self._operators: list[Supervised] = []

    async def __aenter__(self) -> LocalCluster:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def endpoints(self) -> dict[str, Any]:
        """What endpoints.json says: the API's address, and each listening worker's."""
        workers: dict[str, Endpoints] = self.workers.endpoints() if self.workers is not None else {}
        return {"api": self.url, "workers": workers}

    async def start(self) -> None:
        """Start everything and wait until it is ready. On failure nothing stays behind."""
        self._take_directory()
        try:
            async with asyncio.timeout(self.settings.start_seconds):
                await self._start()
        except TimeoutError:
            waiting = self._describe()
            await self.stop()
            raise Unavailable(
                f"the cluster was not ready within {self.settings.start_seconds:g} s: {waiting}"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End workers, operator and API server, in this order."""
        steps: list[Callable[[], Awaitable[None]]] = []
        if self.workers is not None:
            steps.append(self.workers.stop)
        steps[:0] = [each.stop for each in self._operators]
        if self._connection is not None:
            steps.append(self._connection.close)
        if self._api is not None:
            steps.append(self._api.stop)
        try:
            await _all(steps)
        finally:
            self.workers = self._connection = self._api = None
            self._operators = []
            if self._lock is not None:  # else they are of whoever has the directory
                for name in ("kubeconfig", "endpoints.json"):
                    (self.directory / name).unlink(missing_ok=True)
                self._lock.close()
                self._lock = None

    def operator_pids(self) -> list[int | None]:
        """The process of each operator; None while it is between two lives."""
        return [each.pid for each in self._operators]

    async def restart_operator(self, which: int = 0) -> None:
        """Stop an operator by SIGTERM and wait until its next life has started."""
        await self._running(self._operator(which), "operator").restart()

    def kill_operator(self, number: int = signal.SIGKILL, which: int = 0) -> None:
        """Send a signal to an operator; it is started again."""
        self._running(self._operator(which), "operator").kill(number)

    async def restart_api(self) -> None:
        """Stop the API server by SIGTERM and wait until the next one answers, at the same address."""
        await self._running(self._api, "API server").restart()
        await self._until(self._answers)

    def kill_api(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the API server; it is started again with all its objects."""
        self._running(self._api, "API server").kill(number)

    def kill_worker(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker; it comes back under its name. Raises KeyError for an unknown name."""
        if self.workers is None:
            raise ConfigError("the cluster is not running")
        self.workers.kill(name, number)

    async def scale(self, workers: int) -> None:
        """Have so many workers, and wait until they are ready."""
        if self.workers is None:
            raise ConfigError("the cluster is not running")
        await self.workers.scale(workers)
        await self.workers.ready()

    def _take_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "run").mkdir(exist_ok=True)
        lock = (self.directory / "run" / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigError(
                f"{self.directory} is in use by process {owner}; choose another --dir or stop it"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    async def _start(self) -> None:
        await self._start_api()
        kubeconfig = self.directory / "run" / "kubeconfig"
        write_kubeconfig(kubeconfig, self.url, self.settings.namespace)
        self._connection = await kube.connect(kubeconfig)
        await self._apply_definitions()
        before = await self._leadership()
        self.workers = WorkerSet(
            self._connection,
            self.directory,
            replicas=self._replicas,
            namespace=self.settings.namespace,
            settings=self.settings.workers,
            on_change=self._write_endpoints,
        )
        await self.workers.start()
        if self.settings.operator:
            for number in range(self.settings.operators):
                operator = self._supervised(
                    f"operator-{number}" if number else "operator",
                    lambda: self.settings.operator_command(kubeconfig, self.settings.namespace),
                )
                self._operators.append(operator)
                await operator.start()
        await self._create_keyspace()
        await self.workers.ready()
        if self.settings.operator:
            await self._until(lambda: self._leads(before))
        self._write_endpoints()
        write_kubeconfig(self.kubeconfig, self.url, self.settings.namespace)

    def _supervised(self, name: str, command: Callable[[], Sequence[str]]) -> Supervised:
        log_path = self.directory / "logs" / f"{name}.log"
        settings = self.settings
        return Supervised(name, command, log_path, grace_seconds=settings.grace_seconds, backoff=settings.backoff)

    async def _start_api(self) -> None:
        ready_file = self.directory / "run" / "api.json"
        ready_file.unlink(missing_ok=True)
        port = 0

        def command() -> Sequence[str]:
            serve = [sys.executable, "-m", "dstk.local.apiserver", "--port", str(port)]
            return [*serve, "--dir", str(self.directory / "api"), "--ready-file", str(ready_file)]

        self._api = self._supervised("api", command)
        await self._api.start()

        async def written() -> bool:
            self._check(self._api)
            return ready_file.exists()

        await self._until(written)
        self.url = json.loads(ready_file.read_text())["url"]
        port = int(self.url.rpartition(":")[2])

    async def _answers(self) -> bool:
        self._check(self._api)
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _apply_definitions(self) -> None:
        """Server-side apply of dstk's definitions, so that a directory of an older version is brought up to date."""
        path = f"{self.url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        async with aiohttp.ClientSession(headers=_APPLY) as session:
            for definition in api.crds():
                name = definition["metadata"]["name"]
                query = {"fieldManager": "dstk-local", "force": "true"}
                async with session.patch(f"{path}/{name}", params=query, data=json.dumps(definition)) as response:
                    if response.status >= 400:
                        refused = await response.json()
                        raise ApiError(response.status, refused.get("reason", ""), refused.get("message", ""))

    async def _create_keyspace(self) -> None:
        if self._keyspace is None or self._connection is None:
            return
        keyspaces = kube.Objects(self._connection, _KEYSPACES, self.settings.namespace)
        if await keyspaces.find(self._keyspace["metadata"]["name"]) is None:
            await keyspaces.create(self._keyspace)

    async def _leadership(self) -> dict[str, str]:
        """The leases of the operator's components, as versions: they move on when an operator takes them."""
        if self._connection is None:
            return {}
        leases = kube.Objects(self._connection, kube.LEASES, self.settings.namespace)
        found = [await leases.find(name) for name in _LEASES]
        return {lease.metadata.name: lease.metadata.resource_version for lease in found if lease is not None}

    async def _leads(self, before: dict[str, str]) -> bool:
        for operator in self._operators:
            self._check(operator)
        now = await self._leadership()
        return len(now) == len(_LEASES) and all(now[name] != before.get(name) for name in _LEASES)

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        await poll(condition, _POLL_SECONDS)

    def _check(self, process: Supervised | None) -> None:
        """Give up on a process that ends again and again before anything works."""
        if process is not None and process.restarts >= _FAILED_STARTS and process.pid is None:
            raise Unavailable(f"{process.name} ends with {process.last_exit} at every start:\n{process.tail()}")

    def _operator(self, which: int) -> Supervised | None:
        return self._operators[which] if which < len(self._operators) else None

    def _running(self, process: Supervised | None, name: str) -> Supervised:
        if process is None:
            raise ConfigError(f"the {name} is not running")
        return process

    def _describe(self) -> str:
        if self.workers is None:
            return f"the API server says {self._api.tail() if self._api is not None else ''!r}"
        missing = self._replicas - len(self.workers.endpoints())
        if missing:
            return f"{missing} of {self._replicas} workers do not listen; see {self.directory / 'logs'}"
        return f"the operator does not lead; see {self.directory / 'logs' / 'operator.log'}"

    def _write_endpoints(self) -> None:
        write_json(self.directory / "endpoints.json", self.endpoints())


async def _all(steps: list[Callable[[], Awaitable[None]]]) -> None:
    """Take every step, whatever becomes of the others; raises the first error at the end."""
    failure: BaseException | None = None
    for step in steps:
        try:
            await step()
        except (DstkError, OSError, asyncio.CancelledError) as error:
            failure = failure or error
    if failure is not None:
        raise failure

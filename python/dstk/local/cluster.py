"""A whole dstk on this machine: API server, operator and workers, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from dstk import api, kube
from dstk.errors import ApiError, ConfigError, DstkError, Unavailable
from dstk.local.api import ApiServer, EmbeddedApi, give_up
from dstk.local.files import poll, write_json, write_text
from dstk.local.operators import OperatorCommand, OperatorLife, operator_command
from dstk.local.ports import HOST, RecordedPorts
from dstk.local.process import CrashBackoff, Supervised
from dstk.local.runner import Endpoints, WorkerSet, WorkerSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_SECONDS = 0.05
_NAMESPACES = "/api/v1/namespaces"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KEYSPACES: kube.Kind[dict[str, Any]] = kube.Kind("dstk.io/v1alpha1", "Keyspace", "keyspaces", dict)
_LEASES = ("dstk-assigner", "dstk-reconciler")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`start_seconds` bounds the whole start, `grace_seconds` each process's end after SIGTERM."""

    api: ApiServer | None = None
    """The Kubernetes API to use; None: the embedded one, a process of the cluster's own."""
    namespace: str | None = None
    """None: that of the API's kubeconfig, "default" with the embedded one."""
    operator: bool = True
    operators: int = 1
    """Several take part in leader election, so `operator_command` has to leave it on."""
    operator_command: OperatorCommand = operator_command
    operator_limits: Mapping[str, int | float | str] = field(default_factory=dict)
    """Limits of operations, as `dstk operator --limit` takes them. Those of workers are in `workers`."""
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
        self.namespace = self.settings.namespace or "default"
        self.workers: WorkerSet | None = None
        self._replicas = workers
        self._keyspace = keyspace
        self._lock: TextIO | None = None
        self._connection: kube.Connection | None = None
        self._api: ApiServer | None = None
        self._operators: list[Supervised] = []
        self._operator_metrics: dict[str, str] = {}
        self._ports = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LocalCluster:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def endpoints(self) -> dict[str, Any]:
        """What endpoints.json says: the API's address, where operators serve metrics, each listening worker's."""
        workers: dict[str, Endpoints] = self.workers.endpoints() if self.workers is not None else {}
        operators = {name: {"metrics": address} for name, address in self._operator_metrics.items()}
        return {"api": self.url, "operators": operators, "workers": workers}

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
            self._operator_metrics = {}
            await self._ports.aclose()
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
        settings = self.settings
        self._api = settings.api or EmbeddedApi(
            self.directory, self.namespace, grace_seconds=settings.grace_seconds, backoff=settings.backoff
        )
        await self._api.start()
        self._connection = connection = await kube.connect(self._api.kubeconfig)
        self.url, self.namespace = connection.server, settings.namespace or connection.namespace
        await self._have_namespace(connection)
        await self._apply_definitions(connection)
        before = await self._leadership()
        self.workers = WorkerSet(
            connection,
            self.directory,
            replicas=self._replicas,
            namespace=self.namespace,
            settings=settings.workers,
            on_change=self._write_endpoints,
        )
        await self.workers.start()
        if settings.operator:
            recorded = RecordedPorts(self.directory / "operator-ports.json", ["metrics"])
            for number in range(settings.operators):
                await self._start_operator(f"operator-{number}" if number else "operator", self._api, recorded)
        await self._create_keyspace()
        await self.workers.ready()
        if settings.operator:
            await self._until(lambda: self._leads(before))
        self._write_endpoints()
        write_text(self.kubeconfig, self._api.kubeconfig.read_text(), mode=0o600)

    async def _start_operator(self, name: str, api_server: ApiServer, recorded: RecordedPorts) -> None:
        settings = self.settings
        ports = await self._ports.enter_async_context(recorded.reserved(name))
        address = f"{HOST}:{ports['metrics']}"
        life = OperatorLife(api_server.operator_kubeconfig, self.namespace, address, settings.operator_limits)
        if any(address in word for word in settings.operator_command(life)):  # else this one serves none
            self._operator_metrics[name] = address
        operator = self._supervised(name, lambda: settings.operator_command(life))
        self._operators.append(operator)
        await operator.start()

    def _supervised(self, name: str, command: Callable[[], Sequence[str]]) -> Supervised:
        log_path = self.directory / "logs" / f"{name}.log"
        settings = self.settings
        return Supervised(name, command, log_path, grace_seconds=settings.grace_seconds, backoff=settings.backoff)

    async def _have_namespace(self, connection: kube.Connection) -> None:
        try:
            await kube.request(connection, "GET", f"{_NAMESPACES}/{self.namespace}")
        except ApiError as error:
            if error.status == 403:
                return  # whoever may not look at it was given one
            if not kube.is_not_found(error):
                raise
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
            await kube.request(connection, "POST", _NAMESPACES, body=body)

    async def _apply_definitions(self, connection: kube.Connection) -> None:
        """Server-side apply of dstk's definitions, so that those of an older version are brought up to date."""
        for definition in api.crds():
            path = f"{_DEFINITIONS}/{definition['metadata']['name']}"
            await kube.apply(connection, path, definition, manager="dstk-local")
        for kind in api.RESOURCES:
            await self._until(partial(self._is_served, connection, kind.plural))

    async def _is_served(self, connection: kube.Connection, plural: str) -> bool:
        """A real API server serves a new definition a moment after it was established."""
        try:
            await kube.request(connection, "GET", f"/apis/{api.API_VERSION}/namespaces/{self.namespace}/{plural}")
        except ApiError as error:
            if error.status != 404 and not error.retryable:
                raise
            return False
        return True

    async def _create_keyspace(self) -> None:
        if self._keyspace is None or self._connection is None:
            return
        keyspaces = kube.Objects(self._connection, _KEYSPACES, self.namespace)
        if await keyspaces.find(self._keyspace["metadata"]["name"]) is None:
            await keyspaces.create(self._keyspace)

    async def _leadership(self) -> dict[str, str]:
        """The leases of the operator's components, as versions: they move on when an operator takes them."""
        if self._connection is None:
            return {}
        leases = kube.Objects(self._connection, kube.LEASES, self.namespace)
        found = [await leases.find(name) for name in _LEASES]
        return {lease.metadata.name: lease.metadata.resource_version for lease in found if lease is not None}

    async def _leads(self, before: dict[str, str]) -> bool:
        for operator in self._operators:
            give_up(operator)
        now = await self._leadership()
        return len(now) == len(_LEASES) and all(now[name] != before.get(name) for name in _LEASES)

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        await poll(condition, _POLL_SECONDS)

    def _operator(self, which: int) -> Supervised | None:
        return self._operators[which] if which < len(self._operators) else None

    def _running(self, process: T | None, name: str) -> T:
        if process is None:
            raise ConfigError(f"the {name} is not running")
        return process

    def _describe(self) -> str:
        if self.workers is None:
            return f"the API server says {self._api.describe() if self._api is not None else ''!r}"
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

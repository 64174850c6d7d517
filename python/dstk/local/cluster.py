"""A whole dstk on this machine: API server, operator and workers, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from dstk import kube
from dstk.errors import ConfigError, DstkError, Unavailable
from dstk.local import serving
from dstk.local.api import ApiServer, EmbeddedApi, give_up
from dstk.local.apiserver.files import poll
from dstk.local.directory import Directory, Made
from dstk.local.operators import OperatorCommand, OperatorLife, operator_command
from dstk.local.ports import HOST, RecordedPorts
from dstk.local.process import CrashBackoff, Supervised
from dstk.local.provision import Provision
from dstk.local.runner import Endpoints, WorkerSet, WorkerSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_SECONDS = 0.05
_LEASES = ("dstk-assigner", "dstk-reconciler")

DEFAULT_WORKERS = 3
"""Workers of a cluster that had none before, where nobody asks for another number."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`start_seconds` bounds the start of all processes, `grace_seconds` each process's end after SIGTERM.

    `serve_seconds` bounds the wait for all partitions to be served: rows that wait for a person must not keep the
    cluster from running. 0: no wait.
    """

    api: ApiServer | None = None
    """The Kubernetes API to use; None: the embedded one, a process of the cluster's own."""
    namespace: str | None = None
    """None: the one that the directory was made for; at first that of the API's kubeconfig, "default" with the
    embedded one."""
    operator: bool = True
    operators: int = 1
    """Several take part in leader election, so `operator_command` has to leave it on."""
    operator_command: OperatorCommand = operator_command
    operator_limits: Mapping[str, int | float | str] = field(default_factory=dict)
    """Limits of operations, as `dstk operator --limit` takes them. Those of workers are in `workers`."""
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    start_seconds: float = 60.0
    serve_seconds: float = 30.0
    grace_seconds: float = 10.0
    backoff: CrashBackoff = field(default_factory=CrashBackoff)
    progress: Callable[[str], None] = field(default=lambda _: None)
    """Is told what the start is waiting for."""


class LocalCluster:
    """API server, operator and `workers` workers, their files in `directory`. An async context manager.

    A directory goes on where it was. `workers` None: as many as it had, three at first. `keyspace`: created, or changed
    to say what is asked; fields that are left out stay as they are. Raises ConfigError for what cannot be changed.

    When all partitions are served directory/kubeconfig and then directory/endpoints.json appear; logs are in
    directory/logs. What ends is started again, as on a cluster; the API server keeps its objects over that. Whatever
    happens to this process, its children die with it. Raises ConfigError when the directory is in use, Unavailable when
    something does not come up.
    """

    def __init__(
        self,
        directory: Path,
        workers: int | None = None,
        *,
        keyspace: dict[str, Any] | None = None,
        settings: ClusterSettings | None = None,
    ) -> None:
        self._files = Directory(directory)
        self.directory = self._files.path
        self.kubeconfig = self._files.kubeconfig
        self.settings = settings or ClusterSettings()
        self.url = ""
        self.namespace = self.settings.namespace or "default"
        self.workers: WorkerSet | None = None
        self.served: serving.Served | None = None
        """What was served when the cluster had started; None: it was not waited for."""
        self._asked = workers
        self._replicas = DEFAULT_WORKERS if workers is None else workers
        self._keyspace = keyspace
        self._made: Made | None = None
        self._ready = False
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
        self._files.take()
        try:
            async with asyncio.timeout(self.settings.start_seconds):
                await self._start()
            await self._wait_served()
            self._announce()
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
        self._ready = False
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
            self._files.release()

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
        self._remember(workers)
        await self.workers.scale(workers)
        await self.workers.ready()

    async def _start(self) -> None:
        settings, say = self.settings, self.settings.progress
        made = self._made = self._files.recall()
        if made is not None:
            made.agree(self.directory, embedded=settings.api is None, namespace=settings.namespace)
            self.namespace = made.namespace
            if self._asked is None:
                self._replicas = made.workers
        say("starting the Kubernetes API")
        self._api = settings.api or EmbeddedApi(
            self.directory, self.namespace, grace_seconds=settings.grace_seconds, backoff=settings.backoff
        )
        await self._api.start()
        self._connection = connection = await kube.connect(self._api.kubeconfig)
        if made is None:
            self.namespace = settings.namespace or connection.namespace
        self.url = connection.server
        there = Provision(connection, self.namespace)
        uid = await there.namespace()
        if made is not None:
            made.agree_on_uid(self.directory, uid)
        await there.definitions()
        if made is not None and self._replicas < made.workers:
            await there.check_spared(settings.workers.names(self._replicas))
        if self._keyspace is not None:
            await there.keyspace(self._keyspace)
        self._made = Made(
            self._replicas, self.namespace, settings.api is None, uid or (made.namespace_uid if made else "")
        )
        self._files.remember(self._made)
        before = await self._leadership()
        say(f"starting {self._replicas} workers and the operator")
        self.workers = WorkerSet(
            connection,
            self.directory,
            replicas=self._replicas,
            namespace=self.namespace,
            settings=settings.workers,
            on_change=self._on_change,
        )
        await self.workers.start()
        if settings.operator:
            recorded = RecordedPorts(self.directory / "operator-ports.json", ["metrics"])
            for number in range(settings.operators):
                await self._start_operator(f"operator-{number}" if number else "operator", self._api, recorded)
        await self.workers.ready()
        if settings.operator:
            await self._until(lambda: self._leads(before))

    async def _wait_served(self) -> None:
        """Wait until the workers answer for all keys, or for as long as the settings say."""
        settings = self.settings
        if not settings.serve_seconds or not settings.operator or not self._replicas:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.serve_seconds):
                await self._until(self._is_served_whole)

    async def _is_served_whole(self) -> bool:
        assert self._connection is not None
        addresses = [each["data"] for each in self.endpoints()["workers"].values()]
        try:
            self.served = await serving.look(self._connection, self.namespace, addresses)
        except DstkError as error:
            log.debug("the partitions cannot be looked at: %s", error)
            return False
        self.settings.progress(f"waiting for the partitions: {self.served}")
        return self.served.whole

    def _announce(self) -> None:
        assert self._api is not None
        self._ready = True
        self._files.announce(self._api.kubeconfig.read_text(), self.endpoints())

    def _on_change(self) -> None:
        if self._ready:
            self._files.update(self.endpoints())

    def _remember(self, workers: int) -> None:
        assert self._made is not None
        self._replicas = workers
        self._made = replace(self._made, workers=workers)
        self._files.remember(self._made)

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

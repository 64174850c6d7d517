"""What a StatefulSet and the kubelet do, for worker processes on this machine.

Each worker is a process and a Pod object. A process that ends takes its Pod with it; the next one comes under the same
name with a new Pod, hence a new UID. Deleting the Pod stops the process, as on a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dstk import kube
from dstk.errors import ApiError, DstkError, Unavailable
from dstk.local.apiserver.annotations import LOG_START, PREVIOUS_LOG_START
from dstk.local.apiserver.files import read_when_written
from dstk.local.ports import HOST, PORTS, RecordedPorts, reserved_ports
from dstk.local.process import Child, CrashBackoff

log = logging.getLogger(__name__)

T = TypeVar("T")

Endpoints = dict[str, str]

_FAILED_STARTS = 3
_PODS: kube.Kind[dict[str, Any]] = kube.Kind("v1", "Pod", "pods", dict)


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a worker: what its process is told. `ports` are those that its Pod says; 0 is any free one."""

    name: str
    pod_uid: str
    ready_file: Path
    data_dir: Path
    ports: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(PORTS, 0))
    limits: Mapping[str, int | float | str] = field(default_factory=dict)


Command = Callable[[Life], Sequence[str]]
"""The command of a worker."""


def worker_command(life: Life) -> Sequence[str]:
    """The command of a real worker."""
    addresses = [f"--{name}-address={HOST}:{port}" for name, port in life.ports.items()]
    identity = ["--name", life.name, "--pod-uid", life.pod_uid]
    files = ["--ready-file", str(life.ready_file), "--data-dir", str(life.data_dir)]
    limits = [f"--limit={name}={value}" for name, value in life.limits.items()]
    return [sys.executable, "-m", "dstk.cli", "worker", *identity, *addresses, *files, *limits]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How workers are named and run. `grace_seconds`: between SIGTERM and SIGKILL.

    `limits`: as `dstk worker --limit` takes them. `keep_ports`: a worker has the same ports in every life, also of the
    cluster; else others, as a pod has another address.
    """

    name_prefix: str = "worker"
    labels: dict[str, str] = field(default_factory=lambda: {"app": "kv"})
    command: Command = worker_command
    limits: Mapping[str, int | float | str] = field(default_factory=dict)
    keep_ports: bool = True
    grace_seconds: float = 10.0
    backoff: CrashBackoff = field(default_factory=CrashBackoff)

    def names(self, replicas: int) -> set[str]:
        """The names of so many workers."""
        return {f"{self.name_prefix}-{number}" for number in range(replicas)}


def pod_object(
    name: str, ports: Mapping[str, int], settings: WorkerSettings, annotations: Mapping[str, str]
) -> dict[str, Any]:
    """The Pod of a worker that is about to start."""
    labels = {**settings.labels, "statefulset.kubernetes.io/pod-name": name}
    container = {
        "name": "worker",
        "image": "local-process",
        "command": ["dstk", "worker"],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
    }
    return {
        "metadata": {"name": name, "labels": labels, "annotations": dict(annotations)},
        "spec": {"containers": [container]},
    }


def running_status(endpoints: Endpoints, now: str) -> dict[str, Any]:
    """The status of a Pod whose process listens."""
    host = endpoints["data"].rpartition(":")[0]
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    container = {
        "name": "worker",
        "image": "local-process",
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "started": True,
        "state": {"running": {"startedAt": now}},
    }
    return {
        "phase": "Running",
        "podIP": host,
        "hostIP": host,
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [container],
    }


def _utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class _Worker:
    """One name: its present process, its present Pod, and the task that keeps both going."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.child: Child | None = None
        self.endpoints: Endpoints | None = None
        self.task: asyncio.Task[None] | None = None
        self.failures = 0
        """Lives in a row that ended before they listened."""
        self._log_start: int | None = None

    def begin_log(self, path: Path) -> dict[str, str]:
        """Another life begins: annotations of its Pod that say where in the log it does, and where the one before."""
        before, self._log_start = self._log_start, path.stat().st_size if path.exists() else 0
        starts = {LOG_START: self._log_start, PREVIOUS_LOG_START: before}
        return {name: str(start) for name, start in starts.items() if start is not None}


class WorkerSet:
    """Keeps `replicas` workers running, named `PREFIX-0` and on. Use start(), then stop(); stop() leaves nothing."""

    def __init__(
        self,
        connection: kube.Connection,
        directory: Path,
        *,
        replicas: int,
        namespace: str = "default",
        settings: WorkerSettings | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._pods = kube.Objects(connection, _PODS, namespace)
        self._directory = directory
        self._replicas = replicas
        self._ports = RecordedPorts(directory / "ports.json")
        self._settings = settings or WorkerSettings()
        self._on_change = on_change or (lambda: None)
        self._workers: dict[str, _Worker] = {}
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    def endpoints(self) -> dict[str, Endpoints]:
        """Addresses of the workers that listen, by name."""
        return {name: dict(one.endpoints) for name, one in sorted(self._workers.items()) if one.endpoints is not None}

    def pid(self, name: str) -> int | None:
        """The process of a worker, None while it is between two lives. Raises KeyError for an unknown name."""
        child = self._workers[name].child
        return child.pid if child is not None and child.exit_code is None else None

    def uid(self, name: str) -> str:
        """The UID of a worker's present Pod."""
        return self._workers[name].uid

    async def start(self) -> None:
        """Start all workers; ready() waits for them."""
        (self._directory / "run").mkdir(parents=True, exist_ok=True)
        await self.scale(self._replicas)
        self._watcher = asyncio.create_task(self._watch(), name="watch worker pods")

    async def scale(self, replicas: int) -> None:
        """Have `replicas` workers: add at the end, or stop those with the highest numbers and wait for their end."""
        self._replicas = replicas
        wanted = self._settings.names(replicas)
        for name in sorted(wanted - self._workers.keys()):
            worker = self._workers[name] = _Worker(name)
            worker.task = asyncio.create_task(self._keep(worker), name=f"keep {name}")
        surplus = [worker for name, worker in self._workers.items() if name not in wanted]
        await asyncio.gather(*map(self._retire, surplus))

    async def ready(self) -> None:
        """Wait until every worker listens and its Pod says so.

        Raises Unavailable when one ends again and again before it listens, with the end of its log.
        """
        while len(self.endpoints()) < self._replicas:
            self._changed.clear()
            for worker in self._workers.values():
                if worker.task is not None and worker.task.done():
                    worker.task.result()
                if worker.failures >= _FAILED_STARTS and worker.child is not None:
                    code = worker.child.exit_code
                    raise Unavailable(f"{worker.name} ends with {code} at every start:\n{worker.child.tail()}")
            await self._changed.wait()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker's process. Raises KeyError for an unknown name."""
        child = self._workers[name].child
        if child is not None:
            child.signal(number)

    async def stop(self) -> None:
        """End all processes, then remove their Pods."""
        self._replicas = 0
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await asyncio.gather(*map(self._retire, list(self._workers.values())))

    async def _retire(self, worker: _Worker) -> None:
        if worker.task is not None:
            worker.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, DstkError):
                await worker.task
        if worker.child is not None:
            await worker.child.stop(self._settings.grace_seconds)
        self._workers.pop(worker.name, None)
        self._note()
        with contextlib.suppress(DstkError):
            await self._remove_pod(worker)

    def _note(self) -> None:
        self._changed.set()
        self._on_change()

    async def _keep(self, worker: _Worker) -> None:
        """One life after the other, with pauses between them."""
        delay: float | None = None
        keep = self._settings.keep_ports
        async with self._ports.reserved(worker.name) if keep else contextlib.nullcontext() as kept:
            while True:
                began = time.monotonic()
                await self._live(worker, kept)
                delay = self._settings.backoff.next(delay, time.monotonic() - began)
                await asyncio.sleep(delay)

    async def _live(self, worker: _Worker, kept: dict[str, int] | None) -> None:
        """One process with its Pod, from start to end; at the ports `kept` for it, or at free ones."""
        with reserved_ports() if kept is None else contextlib.nullcontext(kept) as ports:
            log_path = self._directory / "logs" / f"{worker.name}.log"
            annotations = worker.begin_log(log_path)
            pod = await self._insist(lambda: self._fresh_pod(worker.name, ports, annotations))
            worker.uid = pod["metadata"]["uid"]
            ready_file = self._directory / "run" / f"{worker.name}.json"
            ready_file.unlink(missing_ok=True)
            # A StatefulSet gives a name its volume back.
            data_dir = self._directory / "data" / worker.name
            command = self._settings.command(
                Life(worker.name, worker.uid, ready_file, data_dir, ports, self._settings.limits)
            )
            worker.child = child = await Child.start(command, log_path)
            announcement = asyncio.create_task(self._announce(worker, ready_file))
            try:
                code = await child.wait()
                log.warning("%s ended with %s", worker.name, code)
            finally:
                announcement.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await announcement
                worker.failures = 0 if worker.endpoints is not None else worker.failures + 1
                worker.endpoints = None
                self._note()
            child.kill_session()
        await self._insist(lambda: self._remove_pod(worker))

    async def _announce(self, worker: _Worker, ready_file: Path) -> None:
        """Say that the Pod runs as soon as the process listens."""
        endpoints: Endpoints = await read_when_written(ready_file)
        status = running_status(endpoints, _utc_now())
        await self._insist(lambda: self._pods.patch_status(worker.name, status))
        worker.endpoints = endpoints
        self._note()

    async def _fresh_pod(self, name: str, ports: Mapping[str, int], annotations: Mapping[str, str]) -> dict[str, Any]:
        """A new Pod of that name; one that is left over from an earlier life is removed first."""
        if await self._pods.find(name) is not None:
            await self._pods.delete(name)
        return await self._pods.create(pod_object(name, ports, self._settings, annotations))

    async def _remove_pod(self, worker: _Worker) -> None:
        try:
            await self._pods.delete(worker.name, uid=worker.uid)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` until the API server has answered: it may be restarting just now."""
        delays = kube.Backoff(longest=1.0)
        while True:
            try:
                return await call()
            except ApiError as error:
                if not error.retryable:
                    raise
                problem: DstkError = error
            except DstkError as error:
                problem = error
            log.warning("the Kubernetes API does not answer, trying again: %s", problem)
            await asyncio.sleep(delays.next())

    async def _watch(self) -> None:
        """Stop the process of a Pod that somebody deletes; it comes back with a new one."""
        delays = kube.Backoff(longest=1.0)
        while True:
            try:
                page = await self._pods.list_page()
                self._compare({pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in page.items})
                async for event in self._pods.watch(page.resource_version):
                    delays.reset()
                    if event.type == "DELETED" and event.object is not None:
                        metadata = event.object["metadata"]
                        self._deleted(metadata["name"], metadata["uid"])
            except DstkError as error:
                log.debug("watch of pods: %s", error)
            await asyncio.sleep(delays.next())

    def _compare(self, present: dict[str, str]) -> None:
        for name, worker in self._workers.items():
            if worker.endpoints is not None and name not in present:
                self._deleted(name, worker.uid)

    def _deleted(self, name: str, uid: str) -> None:
        worker = self._workers.get(name)
        if worker is not None and worker.uid == uid and worker.child is not None and worker.child.exit_code is None:
            log.info("pod %s was deleted; its process is stopped", name)
            worker.child.signal(signal.SIGTERM)

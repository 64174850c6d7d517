"""The operator process: which component runs when, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from dstk.api import GROUP
from dstk.clock import SYSTEM, Clock
from dstk.errors import DstkError, Unavailable
from dstk.kube import Api, Election, connect
from dstk.operator.assigner import Assigner
from dstk.operator.availability import AvailabilityReporter
from dstk.operator.cluster import Cluster, pod_reference
from dstk.operator.disks import DiskFloors
from dstk.operator.executor import ActionExecutor
from dstk.operator.kopf_thread import KopfThread
from dstk.operator.metrics import Metrics, MetricsServer, PartitionCollector
from dstk.operator.namespace import NamespaceEnd, cluster_identity
from dstk.operator.ports import Dial
from dstk.operator.reconciler import Reconciler
from dstk.operator.retention import Retention
from dstk.operator.routes import RoutePublisher
from dstk.operator.settings import OperatorSettings
from dstk.operator.sizes import SizeReporter
from dstk.operator.spans import Spans
from dstk.operator.worker_reconciler import WorkerReconciler
from dstk.operator.workers import WorkerLink, WorkerLinks
from dstk.wire import ControlClient

__all__ = ["Operator", "Ports", "run"]

log = logging.getLogger(__name__)

RANK_SECONDS = 1.0
"""The highest term that workers know is looked at so often, and when one is heard."""

SILENT_SECONDS = 180.0
"""The API server not heard for so long makes /healthz say so."""


def _nothing() -> None: ...


async def run(settings: OperatorSettings, stop: asyncio.Event, ending: Callable[[], None] = _nothing) -> None:
    """Run the components that ``settings`` names until ``stop`` is set.

    Each starts when this process holds its lease. Raises Unavailable when a lease is lost: the process must then end,
    as another one may be leading already. ConfigError for a wrong configuration. ``ending`` is called when the end
    begins, whatever brought it about.
    """
    connection = await connect(settings.kubeconfig)
    try:
        await Operator(connection, settings).run(stop, ending)
    finally:
        await connection.close()


class Daemons(Protocol):
    """What calls the reconciler for each Assignment, and keeps the finalizers: kopf."""

    async def run(self) -> None:
        """Until cancelled."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What an operator meets the world by, besides the API server."""

    clock: Clock
    dial: Dial
    """Reaches a worker."""
    daemons: Callable[[Reconciler, Any, str, OperatorSettings], Daemons]
    """Of a reconciler, an API server, a namespace and the settings."""
    identity: Callable[[], str]
    """Another one in each process: who holds a lease."""
    token: Callable[[], str]
    """Another one each time: makes names of Events unique."""


REAL = Ports(
    SYSTEM,
    ControlClient,
    KopfThread,
    lambda: f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}",
    lambda: secrets.token_hex(8),
)


class Operator:
    """One process's worth of operator. ``metrics_address`` is what is bound, once it runs."""

    def __init__(
        self, api: Api, settings: OperatorSettings, metrics: Metrics | None = None, ports: Ports = REAL
    ) -> None:
        namespace = settings.namespace or api.namespace
        self.metrics = metrics or Metrics()
        self.metrics_address: str | None = None
        self.cluster = Cluster(api, namespace, settings, self.metrics.on_write, ports.clock, ports.token)
        self.metrics.registry.register(PartitionCollector(self.cluster.partitions))
        self.disks = DiskFloors(api, namespace, settings.floor_interval, ports.clock)
        self.workers = WorkerLinks(
            self.cluster.pods, settings, self.disks, ports.dial, ports.clock, self.cluster.lease_before
        )
        self.spans = Spans(self.cluster.keyspaces, self.cluster.partitions)
        self._api = api
        self._ports = ports
        self._namespace = namespace
        self._settings = settings
        self._identity = ports.identity()
        self._started = False

    async def run(self, stop: asyncio.Event, ending: Callable[[], None] = _nothing) -> None:
        """Until ``stop`` is set; raises what ends a component before that. ``ending``: see :func:`run`."""
        server = MetricsServer(self.metrics, self._unhealthy)
        if self._settings.metrics_address is not None:
            self.metrics_address = await server.start(self._settings.metrics_address)
            log.info("metrics on http://%s/metrics", self.metrics_address)
        leading = asyncio.Event()
        work: list[Awaitable[None]] = [self._watch(leading)]
        if self._settings.runs("reconciler"):
            work.append(self._lead("reconciler", self._reconcile, leading))
        if self._settings.runs("assigner"):
            work.append(self._lead("assigner", self._assign, leading))
        try:
            await _until(stop, work, ending)
        finally:
            await server.stop()

    async def _watch(self, leading: asyncio.Event) -> None:
        """Caches and links to workers, which only a leader needs."""
        await leading.wait()
        self._started = True
        self.workers.cluster = await cluster_identity(self._api, self._namespace)
        self.workers.on_misdirected(self._say_misdirected)
        self.workers.on_change(lambda _: self.metrics.workers.set(sum(link.reachable for link in self.workers)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.cluster.run())
            tasks.create_task(self.workers.run())

    async def _lead(
        self, component: str, work: Callable[[Election, Callable[[], bool]], Awaitable[None]], leading: asyncio.Event
    ) -> None:
        name = f"{self._settings.lease}-{component}"
        election = Election(
            self._api, name, self._namespace, self._identity, self._settings.election, self._ports.clock
        )
        if self._settings.leader_election:
            term = await election.acquire()
        else:
            term = await election.take_over()
        log.info("%s runs with term %d", component, term)
        if component == "reconciler":
            self.workers.lead()
        self.metrics.leader.labels(component).set(term)
        self._say_what_is_missing(election)
        leading.set()
        try:
            if self._settings.leader_election:
                await _until_lost(election, work(election, lambda: election.is_held))
            else:
                await work(election, lambda: True)
        finally:
            await election.release()

    def _say_misdirected(self, link: WorkerLink) -> None:
        about = pod_reference(link.name, self._namespace, link.uid)
        self.cluster.events.record(about, "Warning", "Misdirected", link.misdirected)

    def _say_what_is_missing(self, election: Election) -> None:
        """An Event on the Lease while the definition of a kind is gone; the operator goes on once it is there again."""
        cluster = self.cluster

        def say(plural: str) -> None:
            message = f"there is no definition of {plural}.{GROUP}: apply crds/ again; workers serve what they have"
            cluster.events.record(election.reference, "Warning", "DefinitionMissing", message)

        for cache in (cluster.keyspaces, cluster.partitions, cluster.assignments):
            cache.on_missing(partial(say, cache.objects.kind.plural))

    async def _reconcile(self, election: Election, leads: Callable[[], bool]) -> None:
        settings, cluster = self._settings, self.cluster

        def term() -> int:
            return election.term

        routes = RoutePublisher(cluster, self.workers, self.spans, self.metrics, settings, term, leads)
        writes = asyncio.Semaphore(settings.max_writes)
        executor = ActionExecutor(cluster, self.workers, self.metrics, term, writes, routes.publish_now, leads)
        reconciler = Reconciler(cluster, self.workers, self.spans, executor, self.metrics, settings, term)
        recovery = WorkerReconciler(cluster, self.workers, self.spans, executor, settings)
        await cluster.synced()
        await self.workers.introduced()
        await self._outrank(election)
        reconciler.take_orphans()
        availability = AvailabilityReporter(cluster, self.workers, self.metrics, writes, leads)
        retention = Retention(cluster, settings.keep_finished)
        namespace = NamespaceEnd(cluster, self._api, self._namespace)
        daemons = self._ports.daemons(reconciler, self._api, self._namespace, settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_rank(election))
                tasks.create_task(recovery.run())
                tasks.create_task(availability.run())
                tasks.create_task(self.disks.run())
                tasks.create_task(retention.run())
                tasks.create_task(namespace.run())
                tasks.create_task(daemons.run())
        finally:
            await routes.stop()
            await namespace.leave()

    async def _keep_rank(self, election: Election) -> None:
        """For ever: a worker that comes later may know a higher term too."""
        known = asyncio.Event()
        self.workers.on_term(lambda: known.set())
        while True:
            known.clear()
            await self._outrank(election)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RANK_SECONDS):
                    await known.wait()

    async def _outrank(self, election: Election) -> None:
        """See to it that no worker knows a higher term than ours: one from before the API server was set back."""
        highest = max((link.term for link in self.workers), default=0)
        if highest <= election.term:
            return
        try:
            raised = await election.raise_above(highest)
        except DstkError as error:
            log.info("a worker has seen term %d, above ours, %d: %s", highest, election.term, error)
            return
        if raised:
            self.metrics.leader.labels("reconciler").set(election.term)
            log.warning("a worker had seen term %d: the Lease was set back; going on with %d", highest, election.term)

    async def _assign(self, election: Election, leads: Callable[[], bool]) -> None:
        assigner = Assigner(self.cluster, self.workers, self.spans, self.metrics, self._settings)
        sizes = SizeReporter(self.cluster, self.workers, self._settings)
        await self.cluster.synced()
        await self.workers.introduced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(assigner.run())
            tasks.create_task(sizes.run())

    def _unhealthy(self) -> str:
        if not self._started:
            return ""  # a candidate is healthy
        for cache in self.cluster.caches:
            if cache.silent_seconds > SILENT_SECONDS:
                plural = cache.objects.kind.plural
                return f"the API server has said nothing about {plural} for {cache.silent_seconds:.0f} s"
        return ""


async def _until(stop: asyncio.Event, work: list[Awaitable[None]], ending: Callable[[], None]) -> None:
    """Until ``stop``, or the first failure, which is raised when all the rest has ended."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending()
        for task in (stopping, *tasks):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseExceptionGroup):
            raise result.exceptions[0]
        if isinstance(result, Exception):
            raise result


async def _until_lost(election: Election, work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    holding = asyncio.create_task(election.hold(), name=f"lease {election.name}")
    try:
        await asyncio.wait([task, holding], return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            reason = holding.result()
            log.error("%s; this process stops", reason)
            raise Unavailable(f"{reason}; this operator stops, another one may be leading")
        task.result()
    finally:
        for each in (task, holding):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(task, holding, return_exceptions=True)

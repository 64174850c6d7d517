"""What the operator measures, in Prometheus' format, and the small server that shows it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dstk.api import Assignment

__all__ = ["Metrics", "MetricsServer"]

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
PAUSES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


class Metrics:
    """One set of instruments an operator, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.finished = Counter(
            "dstk_assignments_finished", "Assignments that ended", ["type", "phase"], registry=self.registry
        )
        self.running = Gauge("dstk_assignments_driven", "Assignments being driven now", registry=self.registry)
        self.seconds = Histogram(
            "dstk_assignment_seconds", "From start to end", ["type", "phase"], buckets=SECONDS, registry=self.registry
        )
        self.pause = Histogram(
            "dstk_write_pause_seconds", "Writers' wait at a flip", ["type"], buckets=PAUSES, registry=self.registry
        )
        self.writes = Counter(
            "dstk_api_writes", "Writes sent to the Kubernetes API", ["verb", "resource"], registry=self.registry
        )
        self.pushes = Counter("dstk_route_pushes", "Routing updates sent to workers", ["kind"], registry=self.registry)
        self.workers = Gauge("dstk_workers_reachable", "Workers that answer", registry=self.registry)
        self.partitions = Gauge("dstk_partitions", "Partition objects", registry=self.registry)
        self.unavailable = Gauge(
            "dstk_partitions_unavailable", "Partitions whose worker is silent or gone", registry=self.registry
        )
        self.full = Gauge(
            "dstk_workers_stuck", "Workers that leave and whose partitions fit nowhere", registry=self.registry
        )
        self.leader = Gauge("dstk_leader_term", "Term held; 0: not leading", ["component"], registry=self.registry)
        self.plans = Counter(
            "dstk_plans", "Assignments the Assigner created", ["type", "keyspace"], registry=self.registry
        )

    def on_write(self, verb: str, resource: str) -> None:
        """A write was sent to the Kubernetes API."""
        self.writes.labels(verb, resource).inc()

    def on_status(self, before: Assignment, after: Assignment) -> None:
        """An Assignment's status was written."""
        status = after.status
        if status.phase is None or not status.phase.final or status.phase == before.status.phase:
            return
        labels = (after.spec.type.value, status.phase.value)
        self.finished.labels(*labels).inc()
        if status.started_at is not None and status.finished_at is not None:
            spent = (status.finished_at - status.started_at).total_seconds()
            self.seconds.labels(*labels).observe(max(0.0, spent))  # a clock that was set back in between
        if status.progress is not None and status.progress.write_pause_ms is not None:
            self.pause.labels(after.spec.type.value).observe(status.progress.write_pause_ms / 1e3)


class MetricsServer:
    """/metrics and /healthz. ``unhealthy()`` says what is wrong, or nothing."""

    def __init__(self, metrics: Metrics, unhealthy: Callable[[], str]) -> None:
        self._metrics = metrics
        self._unhealthy = unhealthy
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> str:
        """Listen on host:port; the bound address."""
        host, _, port = address.rpartition(":")
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host or "0.0.0.0", int(port))
        await site.start()
        return f"{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _show(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        wrong = self._unhealthy()
        return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

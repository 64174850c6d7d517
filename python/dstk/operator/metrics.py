"""What the operator measures, in Prometheus' format, and the small server that shows it."""

from __future__ import annotations

from collections import Counter as TallyOf
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dstk import __version__
from dstk.api import Assignment, ConditionStatus, Partition, PartitionPhase
from dstk.errors import ConfigError

__all__ = ["Metrics", "MetricsServer", "PartitionCollector"]

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
PAUSES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


CONDITIONS = (Partition.DATA_LOST, Partition.REPAIRED, Partition.INVALID)
"""Conditions of Partitions that are counted: those that tell of something wrong."""


class Metrics:
    """One set of instruments an operator, so that several can live in one process."""

    def __init__(self) -> None:
        # Else each counter has a second series, which says since when it counts: the process says that.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.finished = Counter(
            "dstk_operator_assignments_finished",
            "Assignments that ended, by how they ended.",
            ["keyspace", "type", "phase"],
            registry=registry,
        )
        self.running = Gauge(
            "dstk_operator_assignments_driven",
            "Assignments that are looked after now: all that have not ended.",
            registry=registry,
        )
        self.seconds = Histogram(
            "dstk_operator_assignment_duration_seconds",
            "From the start of an Assignment to its end; a move ends when the old owner stops passing requests on.",
            ["type", "phase"],
            buckets=SECONDS,
            registry=registry,
        )
        self.pause = Histogram(
            "dstk_operator_write_pause_seconds",
            "How long an Assignment kept writers of its partitions waiting.",
            ["type"],
            buckets=PAUSES,
            registry=registry,
        )
        self.planned = Counter(
            "dstk_operator_assignments_planned",
            "Assignments that the Assigner created.",
            ["keyspace", "type"],
            registry=registry,
        )
        self.losses = Counter(
            "dstk_operator_data_losses",
            "Partitions whose rows were found to be lost, by the reason that condition DataLost gives.",
            ["keyspace", "reason"],
            registry=registry,
        )
        self.repairs = Counter(
            "dstk_operator_repairs",
            "Partitions that had been edited by hand and were set right, by the reason that condition Repaired gives.",
            ["keyspace", "reason"],
            registry=registry,
        )
        self.writes = Counter(
            "dstk_operator_api_writes",
            "Writes that were sent to the Kubernetes API.",
            ["verb", "resource"],
            registry=registry,
        )
        self.pushes = Counter(
            "dstk_operator_route_pushes",
            "Routing tables that were sent to workers: whole ones, or what had changed.",
            ["kind"],
            registry=registry,
        )
        self.workers = Gauge("dstk_operator_workers_reachable", "Workers that answer.", registry=registry)
        self.unavailable = Gauge(
            "dstk_operator_partitions_unavailable",
            "Partitions whose worker is silent or gone, before their phase says so.",
            registry=registry,
        )
        self.full = Gauge(
            "dstk_operator_workers_stuck",
            "Workers that leave and whose partitions fit nowhere.",
            registry=registry,
        )
        self.leader = Gauge(
            "dstk_operator_leader_term",
            "Term in which this operator leads; a component that does not lead has none.",
            ["component"],
            registry=registry,
        )
        build = Gauge("dstk_build_info", "1, with the version of dstk as a label.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        ProcessCollector(registry=registry)

    def on_write(self, verb: str, resource: str) -> None:
        """A write was sent to the Kubernetes API."""
        self.writes.labels(verb, resource).inc()

    def on_status(self, before: Assignment, after: Assignment, keyspace: str) -> None:
        """An Assignment's status was written."""
        status = after.status
        if status.phase is None or not status.phase.final or status.phase == before.status.phase:
            return
        labels = (after.spec.type.value, status.phase.value)
        self.finished.labels(keyspace, *labels).inc()
        if status.started_at is not None and status.finished_at is not None:
            spent = (status.finished_at - status.started_at).total_seconds()
            self.seconds.labels(*labels).observe(max(0.0, spent))  # a clock that was set back in between
        if status.progress is not None and status.progress.write_pause_ms is not None:
            self.pause.labels(after.spec.type.value).observe(status.progress.write_pause_ms / 1e3)

    def on_condition(self, keyspace: str, condition: str, reason: str) -> None:
        """A condition of a Partition became True."""
        if condition == Partition.DATA_LOST:
            self.losses.labels(keyspace, reason).inc()
        elif condition == Partition.REPAIRED:
            self.repairs.labels(keyspace, reason).inc()


class PartitionCollector(Collector):
    """How many Partitions there are, counted when somebody asks."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        self._partitions = partitions

    def collect(self) -> Iterable[Metric]:
        """All metrics, with their values now."""
        phases: TallyOf[tuple[str, str]] = TallyOf()
        conditions: TallyOf[tuple[str, str]] = TallyOf()
        for partition in self._partitions:
            keyspace, status = partition.spec.keyspace, partition.status
            phases[keyspace, status.phase or PartitionPhase.UNASSIGNED] += 1
            for condition in status.conditions:
                if condition.type in CONDITIONS and condition.status is ConditionStatus.TRUE:
                    conditions[keyspace, condition.type] += 1
        yield _gauge("dstk_operator_partitions", "Partition objects, by their phase.", "phase", phases)
        text = "Partition objects that have a condition which tells of something wrong."
        yield _gauge("dstk_operator_partition_conditions", text, "condition", conditions)


def _gauge(name: str, help: str, label: str, values: Mapping[tuple[str, str], int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, help, labels=["keyspace", label])
    for labels, value in values.items():
        gauge.add_metric(labels, value)
    return gauge


class MetricsServer:
    """/metrics and /healthz. ``unhealthy()`` says what is wrong, or nothing."""

    def __init__(self, metrics: Metrics, unhealthy: Callable[[], str]) -> None:
        self._metrics = metrics
        self._unhealthy = unhealthy
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> str:
        """Listen on host:port; the bound address. Raises ConfigError when it cannot be had."""
        host, _, port = address.rpartition(":")
        app = web.Application()
        app.router.add_get("/metrics", self._show)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host or "0.0.0.0", int(port))
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(f"cannot listen on {address} for metrics: {error.strerror or error}") from error
        return f"{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _show(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        wrong = self._unhealthy()
        return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

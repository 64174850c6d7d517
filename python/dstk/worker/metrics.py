"""The worker's metrics in Prometheus' format, read from the node when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from dstk import errors
from dstk._core import Node


class NodeCollector(Collector):
    """Counters and gauges of the node. A name that ends in ``_total`` is a counter."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        """All metrics, with their values now."""
        for name, value in sorted(self._node.counters().items()):
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            metric = family(f"dstk_worker_{name.removesuffix('_total')}", name.replace("_", " "))
            metric.add_metric([], value)
            yield metric


class MetricsServer:
    """Serves /metrics from a thread of its own."""

    def __init__(self, node: Node, address: str) -> None:
        host, _, port = address.rpartition(":")
        registry = CollectorRegistry()
        registry.register(NodeCollector(node))
        try:
            self._server, self._thread = start_http_server(int(port), addr=host, registry=registry)
        except OSError as error:
            raise errors.ConfigError(f"cannot listen on {address} for metrics: {error}") from error
        self.address = f"{host}:{self._server.server_port}"

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

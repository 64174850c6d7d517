"""The worker's metrics in Prometheus' format, read from the node when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from dstk import __version__, errors
from dstk._core import Node

__all__ = ["FAMILIES", "PARTITION_FAMILIES", "Family", "MetricsServer", "NodeCollector"]

KEYSPACE: Final = "keyspace"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `samples` has a counter of the node for each value of `label`, or the only one under "".

    A name that ends in ``_total`` is a counter. What has label ``keyspace`` is counted by keyspace.
    """

    name: str
    help: str
    samples: Mapping[str, str]
    label: str = ""
    by_keyspace: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its labels."""
        return (*((KEYSPACE,) if self.by_keyspace else ()), *((self.label,) if self.label else ()))


def _of_keyspaces(name: str, help: str, counter: str) -> Family:
    return Family(name, help, {"": counter}, by_keyspace=True)


def _of_process(name: str, help: str, counter: str = "") -> Family:
    return Family(name, help, {"": counter or name})


FAMILIES: Final = (
    Family(
        "partitions",
        "Partitions that are held here, by what this worker is to them.",
        {role: f"partitions_{role}" for role in ("primary", "loading", "following", "proxy")},
        "role",
        by_keyspace=True,
    ),
    _of_keyspaces("rows", "Rows that are held here, copies that follow another worker included.", "rows"),
    _of_keyspaces("row_bytes", "Bytes of keys and values of these rows.", "row_bytes"),
    Family(
        "operations_total",
        "Operations that partitions here carried out.",
        {verb: f"{verb}s_total" for verb in ("get", "put", "delete", "scan")},
        "verb",
        by_keyspace=True,
    ),
    _of_keyspaces(
        "version_mismatches_total",
        "Conditional writes that were refused because the row had another version.",
        "version_mismatches_total",
    ),
    _of_keyspaces("read_bytes_total", "Bytes of keys and values that were read.", "read_bytes_total"),
    _of_keyspaces("written_bytes_total", "Bytes of keys and values that were written.", "written_bytes_total"),
    _of_keyspaces(
        "operations_proxied_total",
        "Operations for partitions that had moved away from here, passed on to their owner.",
        "forwards_total",
    ),
    _of_keyspaces("operations_held_total", "Operations that had to wait behind a fence.", "held_total"),
    Family(
        "operations_refused_total",
        "Operations that a partition refused: no room to wait behind its fence, waited there for too long, "
        "no room on the disk.",
        {"fence_full": "held_refused_total", "fence_expired": "held_expired_total", "disk": "disk_refused_total"},
        "reason",
        by_keyspace=True,
    ),
    _of_keyspaces(
        "log_entries_applied_total", "Writes of other workers that copies here have applied.", "log_applied_total"
    ),
    _of_keyspaces("log_memory_bytes", "Bytes of memory that are kept for those who follow.", "log_memory_bytes"),
    _of_keyspaces("log_spilled_bytes", "Bytes on disk that are kept for those who follow.", "log_spilled_bytes"),
    _of_keyspaces(
        "log_unacknowledged_entries", "Writes that those who follow have not acknowledged yet.", "log_unacknowledged"
    ),
    _of_process("operations_waiting", "Operations that wait behind a fence now.", "held"),
    Family(
        "requests_total",
        "Requests that came in, by what became of them at first; one that was held counts once more when it goes on.",
        {outcome: f"operations_{outcome}_total" for outcome in ("answered", "forwarded", "held", "unowned")},
        "outcome",
    ),
    _of_process("log_readers", "Streams by which other workers follow partitions of this one."),
    _of_process("splits_total", "Splits that were carried out here."),
    _of_process("merges_total", "Merges that were carried out here."),
    _of_process("routes_version", "Version of the routing table, as the operator counts it."),
    _of_process("memory_full", "1 while puts are refused because as many rows are held as may be; else 0."),
    _of_process("memory_limit_bytes", "Bytes that the rows may take; 0: no bound."),
    _of_process("memory_used_bytes", "Bytes that the rows take, copies on their way included."),
    _of_process("memory_promised_bytes", "Bytes that copies on their way are still to take."),
    _of_process("lease_lapses_total", "How often partitions were fenced because no operator was heard for too long."),
    _of_process("wal_syncs_total", "Fsyncs of the write-ahead log; without a data directory there is none."),
    _of_process("wal_written_bytes_total", "Bytes that were written to the write-ahead log."),
    _of_process("wal_file_bytes", "Bytes of the files that the write-ahead log keeps."),
    _of_process("checkpoints_total", "Checkpoints that were made."),
    _of_process("checkpoint_failures_total", "Checkpoints that failed; the log keeps what they would have let go."),
    _of_process("peer_connections", "Connections to other workers, over which requests are passed on."),
    _of_process("replication_streams_served_total", "Streams that other workers opened to follow partitions here."),
    _of_process("replication_chunks_sent_total", "Chunks of snapshots that were sent to other workers."),
    _of_process("replication_chunk_bytes_sent_total", "Bytes of these chunks."),
    _of_process("replication_entries_sent_total", "Writes that were sent to those who follow."),
    _of_process("replication_streams_opened_total", "Streams that were opened to follow partitions of other workers."),
    _of_process("replication_streams_broken_total", "Of these, streams that broke and were opened again."),
    _of_process("replication_chunks_installed_total", "Chunks of snapshots that came from other workers."),
    _of_process("replication_chunk_bytes_installed_total", "Bytes of these chunks."),
    _of_process("replication_entries_applied_total", "Writes that came from other workers and were applied."),
)
"""What every worker tells. No partition has a series of its own: there can be thousands."""

PARTITION_FAMILIES: Final = (
    ("partition_rows", "Rows of the partition."),
    ("partition_bytes", "Bytes of keys and values of the partition."),
    ("partition_operations_per_second", "Operations a second, exponentially weighted."),
)
"""What a worker tells of each partition when it is asked to, gauges all of them."""


class NodeCollector(Collector):
    """:data:`FAMILIES`, and with `by_partition` :data:`PARTITION_FAMILIES`, with their values now."""

    def __init__(self, node: Node, *, by_partition: bool = False) -> None:
        self._node = node
        self._by_partition = by_partition

    def collect(self) -> Iterable[Metric]:
        """All metrics, with their values now."""
        build = GaugeMetricFamily("dstk_build_info", "1, with the version of dstk as a label.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        of_process, of_keyspaces = self._node.counters(), self._node.keyspace_counters()
        for family in FAMILIES:
            metric = _metric(family.name, family.help, family.labels)
            for value, counter in family.samples.items():
                labels = [value] if family.label else []
                if family.by_keyspace:
                    for keyspace, counters in of_keyspaces.items():
                        metric.add_metric([keyspace, *labels], counters[counter])
                elif counter in of_process:
                    metric.add_metric(labels, of_process[counter])
            yield metric
        if self._by_partition:
            yield from self._partitions()

    def _partitions(self) -> Iterable[Metric]:
        metrics = [_metric(name, help, ("keyspace", "partition", "role")) for name, help in PARTITION_FAMILIES]
        for keyspace, partition, _, rows, bytes_, operations, _, _, role, *_ in self._node.loads():
            for metric, value in zip(metrics, (rows, bytes_, operations), strict=True):
                metric.add_metric([keyspace, partition, role], value)
        yield from metrics


def _metric(name: str, help: str, labels: Iterable[str]) -> CounterMetricFamily | GaugeMetricFamily:
    full = f"dstk_worker_{name}"
    if name.endswith("_total"):
        return CounterMetricFamily(full, help, labels=list(labels))
    return GaugeMetricFamily(full, help, labels=list(labels))


class MetricsServer:
    """Serves /metrics from a thread of its own."""

    def __init__(self, node: Node, address: str, *, by_partition: bool = False) -> None:
        host, _, port = address.rpartition(":")
        registry = CollectorRegistry()
        registry.register(NodeCollector(node, by_partition=by_partition))
        ProcessCollector(registry=registry)
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

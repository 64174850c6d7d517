"""Publishes the routing table to every worker: all of it once, then what changes.

Workers lay what they are given over each other by epoch, so one entry a Partition is enough and no table is kept here.
A Partition that was merged away, with a proxy and no primary, says nothing: the merged one owns its keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from dstk.api import Keyspace, Partition
from dstk.api.span import span_of
from dstk.errors import DstkError, InvalidRequest, Unavailable
from dstk.kube import Backoff, Term
from dstk.operator.cluster import KEYSPACE, Cluster
from dstk.operator.losses import Losses
from dstk.operator.metrics import Metrics
from dstk.operator.ports import Pusher
from dstk.operator.route_table import RouteTable, route_of
from dstk.operator.settings import OperatorSettings
from dstk.operator.spans import Spans
from dstk.operator.workers import WorkerLink, WorkerLinks
from dstk.wire import KeyspaceRoutes, Route, RoutesUpdate

__all__ = ["RoutePublisher"]

log = logging.getLogger(__name__)

RENEWALS = 5
"""How often a lease is renewed before it would run out."""


@dataclass(slots=True)
class _Stream:
    """What one worker still has to be told."""

    link: WorkerLink
    task: asyncio.Task[None] | None = None
    full: bool = True
    partitions: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Changed Partitions: keyspace and epoch last known, by name."""
    losses: set[str] = field(default_factory=set)
    """Keyspaces of which other rows are lost than before."""
    workers: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    urgent: asyncio.Event = field(default_factory=asyncio.Event)


class RoutePublisher:
    """Follows the caches and the workers. ``publish_now(partition)`` is for what writers are waiting for.

    ``leads`` says whether this operator still may act: else nothing is pushed.
    """

    def __init__(
        self,
        cluster: Cluster,
        workers: WorkerLinks,
        spans: Spans,
        metrics: Metrics,
        settings: OperatorSettings,
        term: Term,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._spans = spans
        self._metrics = metrics
        self._delay = settings.route_delay
        self._timeout = settings.control_timeout
        self._term = term
        self._leads = leads
        self._streams: dict[str, _Stream] = {}
        self._losses = Losses()
        self._table = RouteTable(cluster, self._losses)
        self._addresses: dict[str, str] = {}
        self._ended: dict[asyncio.Task[None], None] = {}
        cluster.keyspaces.on_change(self._on_keyspace)
        cluster.partitions.on_change(self._on_partition)
        workers.on_change(self._on_worker)
        cluster.partitions.on_history(self._on_history)

    def publish_now(self, partition: Partition) -> None:
        """Push to the workers that the Partition names without waiting for more changes."""
        for name in (partition.spec.primary, partition.spec.proxy):
            stream = self._streams.get(name or "")
            if stream is not None:
                stream.urgent.set()

    async def stop(self) -> None:
        """End all streams."""
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        self._streams.clear()
        for task in (*tasks, *self._ended):
            task.cancel()
        await asyncio.gather(*tasks, *self._ended, return_exceptions=True)

    def _on_keyspace(self, old: Keyspace | None, new: Keyspace | None) -> None:
        anew = new is not None and (old is None or old.metadata.uid != new.metadata.uid)
        if anew or new is None:
            self._table.forget()
        if anew and new is not None:
            for partition in self._cluster.partitions.by(KEYSPACE, new.metadata.name).values():
                self._note_loss(None, partition)
                self._mark(partition)

    def _note_loss(self, old: Partition | None, new: Partition | None) -> None:
        partition = new or old
        assert partition is not None
        name = partition.spec.keyspace
        if not self._losses.learn(old, new, self._cluster.keyspaces.get(name)):
            return
        self._table.forget()
        for stream in self._streams.values():
            if not stream.full:
                stream.losses.add(name)
                stream.changed.set()

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        self._note_loss(old, new)
        if old is not None and new is not None and old.metadata.uid == new.metadata.uid and old.spec == new.spec:
            return
        partition = new or old
        assert partition is not None
        if new is None and self._is_served(partition):
            return
        self._mark(partition)
        if new is None:
            self._reveal(partition)

    def _on_history(self) -> None:
        """What was pushed is of no use: everything is said anew."""
        self._table.forget()
        for stream in self._streams.values():
            stream.full = True
            stream.changed.set()

    def _is_served(self, gone: Partition) -> bool:
        """Whether it was deleted by hand: its worker serves on, gets the object back, and is to be found meanwhile."""
        name = gone.metadata.name
        return self._workers.holder(name, gone.spec.keyspace) is not None and not any(self._cluster.unfinished(name))

    def _reveal(self, gone: Partition) -> None:
        """What the partition covered shows again only if it is said again."""
        keyspace = self._cluster.keyspaces.get(gone.spec.keyspace)
        if keyspace is None:
            return
        with contextlib.suppress(InvalidRequest):
            span = span_of(gone.spec.range, keyspace.spec.key_length)
            for name in self._spans.overlapping(gone.spec.keyspace, span.start, span.end):
                below = self._cluster.partitions.get(name)
                if below is not None:
                    self._mark(below)

    def _mark(self, partition: Partition) -> None:
        self._table.mark(partition)
        for stream in self._streams.values():
            if not stream.full:
                stream.partitions[partition.metadata.name] = (partition.spec.keyspace, partition.spec.epoch)
                stream.changed.set()

    def _on_worker(self, name: str) -> None:
        link = self._workers.get(name)
        address = link.data_address if link is not None else ""
        if self._addresses.get(name, "") != address:
            if address:
                self._addresses[name] = address
            else:
                del self._addresses[name]
            for other in self._streams.values():
                other.workers.add(name)
                other.changed.set()
        stream = self._streams.get(name)
        if stream is not None and stream.link is not link:
            del self._streams[name]
            if stream.task is not None:
                stream.task.cancel()
                self._ended[stream.task] = None
                stream.task.add_done_callback(lambda done: self._ended.pop(done, None))
            stream = None
        if stream is not None:
            stream.changed.set()
        elif link is not None:
            stream = self._streams[name] = _Stream(link)
            stream.task = asyncio.create_task(self._feed(stream), name=f"routes to {name}")

    async def _feed(self, stream: _Stream) -> None:
        backoff = Backoff(longest=1.0)
        await self._cluster.synced()
        while True:
            try:
                with contextlib.closing(stream.link.client.routes(self._term())) as pusher:
                    life, stream.full, heard = stream.link.incarnation, True, 0.0
                    # Another life of the worker has lost what the earlier one was told.
                    while stream.link.incarnation == life:
                        await self._push(stream, pusher)
                        lease = self._lease()
                        if lease and stream.link.heard - heard > 2 * lease / RENEWALS:
                            # A push renews from the acknowledgement before it on this stream, which is old or none.
                            await self._push(stream, pusher)
                        heard = stream.link.heard
                        backoff.reset()
                        await self._wait(stream)
            except DstkError as error:
                log.debug("routes to %s: %s", stream.link.name, error)
                await asyncio.sleep(backoff.next())

    def _lease(self) -> float:
        """The shortest lease of all Keyspaces, in seconds; 0: there is none."""
        leases = (keyspace.spec.worker_lease for keyspace in self._cluster.keyspaces)
        return min((lease for lease in leases if lease), default=0.0)

    async def _wait(self, stream: _Stream) -> None:
        """Until something has changed, or it is time to say that this operator is there."""
        lease = self._lease()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lease / RENEWALS if lease else None):
                await stream.changed.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                await stream.urgent.wait()

    async def _push(self, stream: _Stream, pusher: Pusher) -> None:
        stream.changed.clear()
        stream.urgent.clear()
        full, stream.full = stream.full, False
        partitions, stream.partitions = stream.partitions, {}
        losses, stream.losses = stream.losses, set()
        workers, stream.workers = stream.workers, set()
        if full:
            table, since = await self._table.everything()
            update = RoutesUpdate(True, (), dict(self._addresses), table)
            if since:
                stream.partitions = since | stream.partitions
                stream.changed.set()
        else:
            update = self._changes(partitions, workers, losses)
            if not update.keyspaces and not update.workers and not self._lease():
                return
        if not self._leads():
            # It would renew leases, and the next operator counts them from when it began to lead.
            raise Unavailable("the lease was not renewed in time; another operator may be leading")
        self._metrics.pushes.labels("full" if full else "delta").inc()
        await pusher.push(update, timeout_seconds=self._timeout)
        stream.link.heard = self._cluster.clock.monotonic()

    def _changes(self, changed: dict[str, tuple[str, int]], workers: set[str], losses: set[str]) -> RoutesUpdate:
        routes: defaultdict[str, list[Route]] = defaultdict(list)
        withdrawn: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, (keyspace_name, epoch) in changed.items():
            partition = self._cluster.partitions.get(name)
            keyspace = self._cluster.keyspaces.get(keyspace_name)
            if partition is None or partition.spec.keyspace != keyspace_name:
                withdrawn[keyspace_name].append((name, epoch))
            elif keyspace is not None and (route := route_of(partition, keyspace)) is not None:
                routes[keyspace_name].append(route)
        keyspaces = [
            KeyspaceRoutes(
                name,
                keyspace.spec.key_length,
                routes[name],
                withdrawn[name],
                self._losses.of(name) if name in losses else None,
            )
            for name in sorted({*routes, *withdrawn, *losses})
            if (keyspace := self._cluster.keyspaces.get(name)) is not None
        ]
        return RoutesUpdate(False, keyspaces, {name: self._addresses.get(name, "") for name in sorted(workers)})

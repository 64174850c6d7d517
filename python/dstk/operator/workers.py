"""Links to workers: who is there, in which life, what it holds and how loaded it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace

from dstk.api import CORDONED_ANNOTATION
from dstk.clock import SYSTEM, Clock
from dstk.control.commands import Request
from dstk.control.views import DiskFloor, DiskView, PartitionView, Status, WorkerView
from dstk.errors import DstkError, Misdirected, Unavailable
from dstk.kube import Backoff, Cache, Pod
from dstk.lifecycle.availability import WORKER_GONE, WORKER_SILENT, Presence
from dstk.lifecycle.disks import life_of
from dstk.lifecycle.operation import lapse_seconds
from dstk.operator.disks import DiskFloors
from dstk.operator.link import WorkerLink
from dstk.operator.ports import Dial
from dstk.operator.pulse import pulse
from dstk.operator.settings import OperatorSettings
from dstk.wire import ControlClient, Meant

__all__ = ["WorkerLink", "WorkerLinks"]

log = logging.getLogger(__name__)

SILENT_TIMEOUT = 2.0
"""Seconds for the answer of a worker that did not answer last."""

SOON_SECONDS = 0.05
"""What is not known yet, or about to be over, is looked at again after so long."""

CONTROL_PORT = "control"
DATA_PORT = "data"


class WorkerLinks:
    """Keeps one link a worker pod.

    ``on_change(name)`` handlers are called when a worker comes, goes, becomes reachable or silent, changes its life, or
    starts to drain.
    """

    def __init__(
        self,
        pods: Cache[Pod],
        settings: OperatorSettings,
        disks: DiskFloors | None = None,
        dial: Dial = ControlClient,
        clock: Clock = SYSTEM,
        lease_before: Callable[[str, str], float | None] = lambda name, uid: 0.0,
    ) -> None:
        """``lease_before``: see ``Cluster.lease_before``."""
        self.cluster = ""
        """The identity of this operator's cluster, which every call carries; known before `run`."""
        self._pods = pods
        self._dial, self._clock, self._lease_before, self._disks = dial, clock, lease_before, disks
        self._settings = settings
        self._links: dict[str, WorkerLink] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._handlers: list[Callable[[str], None]] = []
        self._on_term: list[Callable[[], None]] = []
        self._misdirected_handlers: list[Callable[[WorkerLink], None]] = []
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._introduced = asyncio.Event()
        self._leads_since = self._clock.monotonic()
        self._heard_before: dict[str, float] = {}  # of pods whose links are gone: when they last did, by name
        self._away: dict[str, float] = {}
        """Since when pods that are asked about have had no link."""
        pods.on_change(self._on_pod)

    async def introduced(self) -> None:
        """Wait until every worker that there is has said once what it holds; not long for one that does not answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENT_TIMEOUT):
                while not all(self._is_introduced(name) for name in self._labels):
                    self._introduced.clear()
                    await self._introduced.wait()

    def _is_introduced(self, name: str) -> bool:
        pod, link = self._pods.get(name), self._links.get(name)
        return link.introduced if link is not None else pod is None or pod.address(CONTROL_PORT) is None

    def _introduce(self, link: WorkerLink) -> None:
        link.introduced = True
        self._introduced.set()

    def on_change(self, handler: Callable[[str], None]) -> None:
        self._handlers.append(handler)

    def on_term(self, handler: Callable[[], None]) -> None:
        """``handler()`` is called when a worker says that it has seen a higher term than it had before."""
        self._on_term.append(handler)

    def on_misdirected(self, handler: Callable[[WorkerLink], None]) -> None:
        """Have it called when a worker says that it is another, or another cluster's."""
        self._misdirected_handlers.append(handler)

    def get(self, name: str) -> WorkerLink | None:
        return self._links.get(name)

    def __iter__(self) -> Iterator[WorkerLink]:
        return iter(self._links.values())

    @property
    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Labels of the worker pods that Kubernetes knows, by name."""
        return self._labels

    def exists(self, name: str) -> bool:
        """Is there a pod of that name that can still be a worker?"""
        return name in self._labels

    def unheard_seconds(self, name: str) -> float:
        """For how long the worker has certainly not taken note of any operator: since it last did of this one, or since
        this one leads. It may have heard the one before until then.
        """
        link = self._links.get(name)
        heard = max(self._heard_before.get(name, 0.0), link.heard if link is not None else 0.0)
        return self._clock.monotonic() - max(self._leads_since, heard)

    def presence(self, name: str) -> Presence:
        """Whether the worker can be reached; that it cannot is said once it has been so for `silence_seconds`."""
        link, now = self._links.get(name), self._clock.monotonic()
        if link is not None:
            self._away.pop(name, None)
            since = now if link.reachable else link.spoke
        else:
            since = self._away.setdefault(name, now)
        if now - since < self._settings.limits.silence_seconds:
            return Presence(incarnation=link.incarnation if link is not None and link.reachable else "")
        return Presence(WORKER_SILENT if self.exists(name) else WORKER_GONE)

    def lead(self) -> None:
        """This operator has the reconciler's lease from now on."""
        self._leads_since = self._clock.monotonic()

    def holder(self, partition: str, keyspace: str) -> str | None:
        """The worker that reports to be its primary, whatever its object says."""
        for link in self._links.values():
            load = link.loads.get(partition)
            if load is not None and load.role == "primary" and load.keyspace == keyspace:
                return link.name
        return None

    def is_leaving(self, name: str) -> bool:
        """Is the pod being deleted?"""
        pod = self._pods.get(name)
        return pod is not None and bool(pod.metadata.deletion_timestamp)

    async def look(self, name: str, partitions: list[str] | None) -> WorkerView:
        """What the worker answers just now about these partitions (None: all).

        When it does not answer: what was known of it last, and nothing of what it holds.
        """
        view = await self._look(name, partitions)
        if view.gone and await self._is_there(name):
            return replace(view, gone=False)
        return view

    async def _is_there(self, name: str) -> bool:
        """Whether the API server itself has the pod, or does not say.

        The watch may be far behind: the pod that it saw go may be back for long, and serve what the Partitions, which
        others have been watching, say. Whoever commits by the version of a Partition that was read before this cannot
        take anything from such a pod: it serves nothing that was not committed to it.
        """
        try:
            page = await self._pods.objects.list_page(limit=1, field_selector=f"metadata.name={name}")
        except DstkError as error:
            log.info("whether there is a pod %s is not known: %s", name, error)
            return True
        return any(is_worker(pod) for pod in page.items)

    async def _look(self, name: str, partitions: list[str] | None) -> WorkerView:
        link = self._links.get(name)
        if link is None:
            unheard = self.unheard_seconds(name)
            return WorkerView(name=name, reachable=False, gone=not self.exists(name), unheard_seconds=unheard)
        try:
            # One that is silent is not waited for as long as one that may only be slow.
            async with self._call(link, None if link.reachable else SILENT_TIMEOUT), link.tells:
                status = await link.client.status(partitions)
        except DstkError as error:
            log.debug("worker %s does not answer: %s", name, error)
            return self._view(link, {}, reachable=False)
        self._heard(link, status)
        floor: DiskFloor | None = None
        if status.disk is not None and self._disks is not None:
            try:
                floor = await self._disks.confirmed(name, status.disk)
            except DstkError as error:
                # What its disk has may be old: it is not looked at before that is known.
                log.info("what the disk of worker %s has to have is not known: %s", name, error)
                return self._view(link, {}, reachable=False)
        return self._view(link, status.partitions, reachable=True, disk=status.disk, floor=floor)

    async def tell(self, name: str, request: Request) -> dict[str, PartitionView]:
        """One action on a worker; the states of the partitions it names. Raises what the worker or the wire says."""
        link = self._links.get(name)
        if link is None:
            raise Unavailable(f"there is no worker pod {name!r}")
        async with self._call(link), link.tells:
            return await link.client.act(request)

    @contextlib.asynccontextmanager
    async def _call(self, link: WorkerLink, seconds: float | None = None) -> AsyncIterator[None]:
        """A call that ends as Unavailable after so long, and as soon as the worker turns silent."""
        try:
            async with asyncio.timeout(seconds) as limit:
                link.calls[limit] = None
                try:
                    yield
                finally:
                    link.calls.pop(limit, None)
        except TimeoutError as error:
            raise Unavailable(f"worker {link.name} is silent") from error

    async def run(self) -> None:
        """Follow the pods, for ever."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                changed, self._changed = self._changed, set()
                for name in sorted(changed):
                    await self._follow_pod(name)
        finally:
            for name in list(self._links):
                await self._disconnect(name)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        if new is not None and is_worker(new):
            self._labels[pod.metadata.name] = new.metadata.labels
        else:
            self._labels.pop(pod.metadata.name, None)
        self._follow_soon(pod.metadata.name)

    async def _follow_pod(self, name: str) -> None:
        pod = self._pods.get(name)
        control = pod.address(CONTROL_PORT) if pod else None
        data = pod.address(DATA_PORT) if pod else None
        link = self._links.get(name)
        if link is not None and (
            pod is None or (pod.metadata.uid, control, data) != (link.uid, link.control_address, link.data_address)
        ):
            await self._disconnect(name)
            link = None
        if pod is None or control is None or data is None:
            self._tell(name)
            return
        cordoned = pod.metadata.annotations.get(CORDONED_ANNOTATION) == "true"
        if link is None and (seconds := self._before_earlier_ended(name, pod)):
            log.debug("worker %s is spoken to in %.2f s: its pod before may still serve", name, seconds)
            asyncio.get_running_loop().call_later(max(seconds, SOON_SECONDS), self._follow_soon, name)
            self._tell(name)
            return
        if link is None:
            meant = Meant(self.cluster, name, pod.metadata.uid)
            client = self._dial(control, meant, timeout_seconds=self._settings.control_timeout)
            link = WorkerLink(
                name, pod.metadata.uid, control, data, client, pod.metadata.labels, cordoned,
                tells=asyncio.Semaphore(self._settings.max_tells), spoke=self._clock.monotonic(),
            )  # fmt: skip
            self._links[name] = link
            self._tasks[name] = asyncio.create_task(self._keep(link), name=f"worker {name}")
        link.labels, link.cordoned = pod.metadata.labels, cordoned
        self._tell(name)

    def _before_earlier_ended(self, name: str, pod: Pod) -> float:
        """For how many seconds an earlier pod of that name may still serve, whose process nobody has seen end.

        It was deleted by force, or its Node is gone: that says nothing of its process. Its lease does.
        """
        lease = self._lease_before(name, pod.metadata.uid)
        if lease is None:
            return SOON_SECONDS
        return max(0.0, lapse_seconds(lease) - self.unheard_seconds(name)) if lease else 0.0

    def _follow_soon(self, name: str) -> None:
        self._changed.add(name)
        self._wake.set()

    async def _disconnect(self, name: str) -> None:
        link = self._links.pop(name)
        self._heard_before[name] = max(self._heard_before.get(name, 0.0), link.heard)
        link.lose()
        task = self._tasks.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await link.client.close()

    async def _keep(self, link: WorkerLink) -> None:
        backoff = Backoff(longest=self._settings.reconnect_longest)
        while True:
            try:
                status = await link.client.status(())
                self._heard(link, status)
                link.reachable, link.misdirected = True, ""
                log.info("worker %s is connected (%s)", link.name, link.incarnation)
                self._tell(link.name)
                backoff.reset()
                await self._read_loads(link)
                log.info("worker %s ended its load reports", link.name)
            except Misdirected as error:
                self._note_misdirected(link, str(error))
            except DstkError as error:
                log.log(logging.INFO if link.reachable else logging.DEBUG, "worker %s: %s", link.name, error)
            except Exception:  # Nobody waits for this task: without it the worker would count as silent for ever.
                log.exception("link to worker %s failed", link.name)
            if link.reachable:
                link.lose()
                self._tell(link.name)
            self._introduce(link)
            await asyncio.sleep(backoff.next())

    async def _read_loads(self, link: WorkerLink) -> None:
        first = True
        silence = self._settings.limits.silence_seconds
        async for report in pulse(link.client, self._settings.load_interval, silence):
            link.spoke, link.room = self._clock.monotonic(), report.room
            if report.incarnation != link.incarnation:
                raise Unavailable(f"it was restarted ({report.incarnation})")
            if first:
                link.loads.clear()
            for load in report.loads:
                link.loads[load.partition] = load
            if first:
                first = False
                self._introduce(link)
            if self._disks is not None and report.position:
                self._disks.reached(link.name, life_of(report.incarnation), report.position, report.last)
            for partition in report.gone:
                link.loads.pop(partition, None)
            if report.draining != link.draining:
                link.draining = report.draining
                self._tell(link.name)

    def _note_misdirected(self, link: WorkerLink, why: str) -> None:
        if link.misdirected == why:
            return
        link.misdirected = why
        log.warning("worker %s: %s", link.name, why)
        for handler in self._misdirected_handlers:
            handler(link)

    def _heard(self, link: WorkerLink, status: Status) -> None:
        link.spoke = self._clock.monotonic()
        if status.term > link.term:
            link.term = status.term
            for handler in self._on_term:
                handler()
        link.draining = status.draining
        if status.incarnation != link.incarnation:
            link.incarnation = status.incarnation
            link.loads.clear()
            self._tell(link.name)

    def _view(
        self,
        link: WorkerLink,
        parts: Mapping[str, PartitionView],
        *,
        reachable: bool,
        disk: DiskView | None = None,
        floor: DiskFloor | None = None,
    ) -> WorkerView:
        return WorkerView(
            name=link.name,
            incarnation=link.incarnation,
            address=link.data_address,
            reachable=reachable,
            gone=not reachable and not self.exists(link.name),
            draining=link.draining,
            term=link.term,
            unheard_seconds=self.unheard_seconds(link.name),
            parts=parts,
            disk=disk,
            floor=floor,
        )

    def _tell(self, name: str) -> None:
        for handler in self._handlers:
            handler(name)


def is_worker(pod: Pod) -> bool:
    """Has the pod the ports of a worker, and can it still run?"""
    names = {port.name for container in pod.spec.containers for port in container.ports}
    return {CONTROL_PORT, DATA_PORT} <= names and pod.status.phase not in ("Succeeded", "Failed")

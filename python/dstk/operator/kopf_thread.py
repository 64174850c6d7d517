"""kopf, which says which Assignments are to run and keeps a running one from vanishing by a finalizer.

It lives on a thread and an event loop of its own: when it stops it cancels every task of its loop, whoever made it, and
on the main thread it would take over the process's signals. It runs one daemon an unfinished Assignment, and the daemon
only waits for the Reconciler. Pods and Partitions are not kopf's: they are looked up from many places, and its index
grows worse than linearly.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

import kopf

from dstk.api import APPROVED_ANNOTATION, GROUP, PROPOSED_LABEL, VERSION
from dstk.errors import Unavailable
from dstk.kube import Connection
from dstk.operator.reconciler import FINALIZER, Reconciler
from dstk.operator.settings import OperatorSettings

__all__ = ["KopfThread", "is_to_run"]

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""Pause before kopf begins again."""

DRAIN_SECONDS = 1.0
"""For so long, at most, kopf works off what it has begun with before it stops."""


class KopfThread:
    """Runs kopf beside the event loop that made it, and hands its daemons over to the Reconciler there."""

    def __init__(
        self, reconciler: Reconciler, connection: Connection, namespace: str, settings: OperatorSettings
    ) -> None:
        self._reconciler = reconciler
        self._connection = connection
        self._namespace = namespace
        self._settings = settings
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._ended: asyncio.Future[None] = self._home.create_future()

    async def run(self) -> None:
        """Until cancelled. Raises Unavailable when kopf ends by itself."""
        thread = threading.Thread(target=self._main, name="kopf", daemon=True)
        thread.start()
        try:
            await asyncio.shield(self._ended)
            raise Unavailable("kopf ended by itself; see its log above")
        finally:
            await self._reconciler.stop()
            self._stopping.set()
            if not self._ended.done():
                await asyncio.to_thread(self._started.wait)
                if self._loop is not None and self._stop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._stop.set)
                await asyncio.wait([self._ended])

    def _main(self) -> None:
        while True:
            error: BaseException | None = None
            try:
                asyncio.run(self._operate())
            except BaseException as caught:
                error = caught
            if not _is_missing(error) or self._stopping.wait(AGAIN_SECONDS):
                break
            log.info("kopf found no definition of our kinds; it begins again")
        self._started.set()
        self._home.call_soon_threadsafe(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if isinstance(error, Exception):
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _operate(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        if self._stopping.is_set():
            return
        await kopf.operator(
            registry=self._registry(),
            settings=_kopf_settings(self._settings),
            standalone=True,
            namespaces=[self._namespace],
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            future = asyncio.run_coroutine_threadsafe(_credentials(self._connection), self._home)
            return await asyncio.wrap_future(future)

        @kopf.daemon(GROUP, VERSION, "assignments", id="drive", registry=registry, when=is_to_run, backoff=1.0)
        async def drive(name: str, uid: str, **_: Any) -> None:
            future = asyncio.run_coroutine_threadsafe(self._reconciler.start(name, uid), self._home)
            try:
                await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                if not future.cancelled():
                    future.cancel()
                    raise
                if self._stop is not None:
                    # The Reconciler stops. Once this daemon has ended kopf takes the finalizer away from an object that
                    # is deleted, also from one of which it hears that only now, though the operation has not come to
                    # its end: the daemon outstays whoever would do that.
                    await self._stop.wait()
                    await asyncio.sleep(DRAIN_SECONDS + 0.2)

        return registry


def _is_missing(error: BaseException | None) -> bool:
    """Whether kopf has ended as a definition had been deleted, and its watch heard of that before kopf itself did."""
    return getattr(error, "status", None) == 404


def is_to_run(body: Mapping[str, Any], **_: Any) -> bool:
    """Cheap, as it is asked at every event of every Assignment; the same as is_finished and is_approved."""
    if (body.get("status") or {}).get("phase") in ("Completed", "Aborted"):
        return False
    metadata = body.get("metadata") or {}
    if (metadata.get("labels") or {}).get(PROPOSED_LABEL) != "true":
        return True
    return (metadata.get("annotations") or {}).get(APPROVED_ANNOTATION) == "true"


async def _credentials(connection: Connection) -> kopf.ConnectionInfo:
    configuration = connection.configuration
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=configuration.ssl_ca_cert,
        ca_data=configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        token=await connection.token(),
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        default_namespace=connection.namespace,
    )


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: nothing here handles changes, and it would cost a write an object."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        return None


def _kopf_settings(settings: OperatorSettings) -> kopf.OperatorSettings:
    quiet = logging.getLogger("kopf")
    quiet.setLevel(logging.WARNING)
    # It warns that it takes no signals beside the main thread, which is what is wanted.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    built = kopf.OperatorSettings()
    built.posting.enabled = False
    built.posting.loggers = False
    built.peering.standalone = True
    built.scanning.disabled = True
    built.persistence.finalizer = FINALIZER
    built.persistence.diffbase_storage = _NoDiffBase()
    # Used for one thing only: a touch when a deleted Assignment is still being brought to its end.
    built.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP, v1=False)
    built.queueing.worker_limit = None
    built.queueing.exit_timeout = DRAIN_SECONDS
    # A driver's end crosses two threads; long enough for it saves the write of a touch.
    built.background.instant_exit_timeout = 0.5
    built.background.cancellation_polling = 5.0
    built.watching.inactivity_timeout = settings.kopf_inactivity
    built.watching.reconnect_backoff = 0.1
    built.networking.error_backoffs = (0.2, 0.5, 1, 2, 5)
    return built

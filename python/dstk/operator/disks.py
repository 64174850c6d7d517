"""Remembers, outside of the workers' disks, what each disk has to have at least: one Lease a worker.

A Lease of the name ``dstk-disk-WORKER``: its holder is the life last seen of the worker's data directory, its renewTime
when that life last told how far its log is. The rest is in annotations. It is written when another life appears, before
anything is served by it, at a worker's clean stop, and else once in an interval where the log has grown.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec

from dstk.api import GROUP
from dstk.clock import SYSTEM, Clock
from dstk.control.views import DiskFloor, DiskView
from dstk.errors import ApiError, DstkError
from dstk.kube import LEASES, Api, Lease, LeaseSpec, Meta, Objects, is_not_found
from dstk.lifecycle.disks import confirm, with_position

__all__ = ["DiskFloors", "lease_name"]

log = logging.getLogger(__name__)

FLOOR_ANNOTATION = f"{GROUP}/disk"
"""On the Lease: the DiskFloor, as JSON."""

FORBIDDEN = 403


def lease_name(worker: str) -> str:
    """Of the Lease of a worker's disk."""
    return f"dstk-disk-{worker}"


class DiskFloors:
    """What the disks have to have at least; read when a worker is first seen, and written as said above."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        interval: float,
        clock: Clock = SYSTEM,
    ) -> None:
        self._leases = Objects(api, LEASES, namespace)
        self._interval = interval
        self._now = clock.now
        self._floors: dict[str, DiskFloor] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._grown: set[str] = set()
        self._ended: set[str] = set()
        self._wake = asyncio.Event()

    async def confirmed(self, worker: str, disk: DiskView) -> DiskFloor:
        """What the worker's disk has to have, once it is written down that this life of it was seen.

        Raises DstkError when that cannot be: nothing the disk has may be served before.
        """
        known = self._floors.get(worker)
        if known is not None and known.life == disk.life:
            return known
        async with self._locks.setdefault(worker, asyncio.Lock()):
            known = self._floors.get(worker) or await self._read(worker)
            floor = confirm(known, disk, self._now().timestamp())
            if known is None or floor.life != known.life or floor.lost != known.lost:
                await self._write(worker, floor)
            self._floors[worker] = floor
            return floor

    def reached(self, worker: str, life: str, position: int, last: bool) -> None:
        """The log of the worker's data directory is on disk up to there; `last`: and nothing comes after that."""
        floor = self._floors.get(worker)
        if floor is None or floor.life != life:
            return
        higher = with_position(floor, position, self._now().timestamp())
        if higher is not floor:
            self._floors[worker] = higher
            self._grown.add(worker)
        if last and worker in self._grown:
            self._ended.add(worker)
            self._wake.set()

    async def run(self) -> None:
        """Write down how far the logs are, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                due = loop.time() + self._interval
                await self._write_all(self._grown | self._ended)
            else:
                self._wake.clear()
                await self._write_all(set(self._ended))

    async def _write_all(self, workers: set[str]) -> None:
        for worker in sorted(workers):
            async with self._locks.setdefault(worker, asyncio.Lock()):
                self._grown.discard(worker)
                self._ended.discard(worker)
                try:
                    await self._write(worker, self._floors[worker])
                except DstkError as error:
                    self._grown.add(worker)
                    log.info("how far the disk of worker %s is was not written: %s", worker, error)

    async def _read(self, worker: str) -> DiskFloor | None:
        try:
            lease = await self._leases.find(lease_name(worker))
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            log.warning(
                "older disks are not noticed, as Leases may not be read: give the operator its Role (%s)", error
            )
            return None
        text = lease.metadata.annotations.get(FLOOR_ANNOTATION, "") if lease is not None else ""
        try:
            return msgspec.json.decode(text, type=DiskFloor) if text else None
        except msgspec.ValidationError as error:
            log.warning("Lease %s: annotation %s is not understood: %s", lease_name(worker), FLOOR_ANNOTATION, error)
            return None

    async def _write(self, worker: str, floor: DiskFloor) -> None:
        name = lease_name(worker)
        text = msgspec.json.encode(asdict(floor)).decode()
        spec = LeaseSpec(
            holder_identity=floor.life,
            renew_time=datetime.fromtimestamp(floor.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            lease_transitions=floor.starts,
        )
        metadata = {"name": name, "annotations": {FLOOR_ANNOTATION: text}}
        body = {"metadata": metadata, "spec": msgspec.to_builtins(spec)}
        try:
            await self._leases.patch(name, body)
        except ApiError as error:
            if error.status == FORBIDDEN:
                log.warning("older disks are not noticed, as Leases may not be written: give the operator its Role")
                return
            if not is_not_found(error):
                raise
            await self._leases.create(Lease(Meta(name=name, annotations={FLOOR_ANNOTATION: text}), spec))

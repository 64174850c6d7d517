"""Leader election over a coordination.k8s.io Lease.

Written here because the election in ``kubernetes.aio`` (37.0) neither counts ``leaseTransitions``, which are our
fencing term, nor measures time by a monotonic clock. The algorithm is client-go's: a candidate takes the lease when
its holder has not renewed it for leaseDuration *by the candidate's own clock*, so clocks need not agree; the
resourceVersion of each write decides between two candidates.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dstk.clock import SYSTEM, Clock
from dstk.errors import ApiError, ConfigError, Conflict, DstkError
from dstk.kube.api import Api
from dstk.kube.objects import Objects, is_conflict
from dstk.kube.resources import LEASES, Lease, LeaseSpec, Meta, ObjectReference

__all__ = ["Election", "ElectionSettings", "Term", "first_term"]

log = logging.getLogger(__name__)

TAKE_OVER_TRIES = 10

Term = Callable[[], int]
"""The term of whoever leads, now: it may be raised."""


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """Seconds. ``duration > renew_deadline > 2 × retry``."""

    duration: float = 15.0
    """Others may take the lease when it was not renewed for so long."""
    renew_deadline: float = 10.0
    """A holder that could not renew for so long gives up: before anyone else may start."""
    retry: float = 2.0

    @classmethod
    def of(cls, duration: float) -> ElectionSettings:
        """The customary proportions for a lease of that duration."""
        return cls(duration, duration * 2 / 3, duration * 2 / 15)

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > 2 * self.retry > 0:
            raise ConfigError(
                f"lease: duration {self.duration} s must be above renew_deadline {self.renew_deadline} s, "
                f"and that above twice retry {self.retry} s"
            )


class Election:
    """One candidate. ``identity`` must be another one in each process, restarts included.

    ``term`` is the lease's count of transitions while it is held: it grows with every change of the holder, never
    comes back, and is what workers fence old operators by.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        namespace: str,
        identity: str,
        settings: ElectionSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.name = name
        self.identity = identity
        self.term = 0
        self._leases = Objects(api, LEASES, namespace)
        self._settings = settings or ElectionSettings()
        self._clock = clock
        self._lease: Lease | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed = 0.0
        """When the last write that took or kept the lease was begun."""

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have the lease yet, by this process' monotonic clock, however long it was paused."""
        return self.term > 0 and self._clock.monotonic() - self._renewed < self._settings.renew_deadline

    @property
    def reference(self) -> ObjectReference:
        """The Lease, for an Event about what has no object of its own. Once it is held."""
        assert self._lease is not None
        metadata = self._lease.metadata
        return ObjectReference(LEASES.api_version, LEASES.kind, metadata.name, metadata.namespace, metadata.uid)

    async def acquire(self) -> int:
        """Wait until the lease is ours; the term."""
        told = False
        while True:
            try:
                if await self._try(force=False):
                    return self.term
                if not told:
                    told = True
                    log.info("waiting for lease %s, held by %s", self.name, self._holder())
            except DstkError as error:
                log.warning("lease %s: %s", self.name, error)
            await asyncio.sleep(self._settings.retry)

    async def take_over(self) -> int:
        """Take the lease at once, whoever holds it, for a term above all earlier ones.

        For an operator that is known to be the only one. Raises DstkError when the API server cannot be used.
        """
        for _ in range(TAKE_OVER_TRIES):
            if await self._try(force=True):
                return self.term
        raise Conflict(
            f"lease {self.name} changed {TAKE_OVER_TRIES} times while it was being taken; is another operator on?"
        )

    async def hold(self) -> str:
        """Renew until the lease is lost; why it was."""
        while True:
            await asyncio.sleep(self._settings.retry)
            try:
                if await self._renew():
                    continue
                return f"lease {self.name} was taken by {self._holder()}"
            except (DstkError, TimeoutError) as error:
                log.warning("lease %s was not renewed: %r", self.name, error)
            if not self.is_held:
                return f"lease {self.name} could not be renewed for {self._settings.renew_deadline:.0f} s"

    async def raise_above(self, term: int) -> bool:
        """Have a term above `term`, which somebody was told of, though the Lease says less: it was set back.

        Only who holds the Lease by the API server's own word can: whoever was deposed finds another holder there, whose
        term was written before anybody was told of it. False: the Lease is not ours, or has just changed.
        """
        if self.term > term:
            return True
        self._lease = lease = await self._leases.find(self.name)
        if lease is None or lease.spec.holder_identity != self.identity:
            return False
        return await self._write(acquired=lease.spec.acquire_time or self._now(), transitions=term + 1)

    async def release(self) -> None:
        """Give the lease up, so that another candidate need not wait for it to run out."""
        if self._lease is None or self._lease.spec.holder_identity != self.identity:
            return
        spec = LeaseSpec(
            holder_identity="",
            lease_duration_seconds=1,
            renew_time=self._now(),
            acquire_time=self._lease.spec.acquire_time,
            lease_transitions=self._lease.spec.lease_transitions,
        )
        try:
            self._lease = await self._leases.replace(self.name, Lease(self._metadata(), spec))
        except DstkError as error:
            log.info("lease %s was not released: %s", self.name, error)

    async def _renew(self) -> bool:
        async with asyncio.timeout(self._settings.renew_deadline):
            lease = await self._leases.find(self.name)
            self._lease = lease
            if lease is None or lease.spec.holder_identity != self.identity:
                return False
            return await self._write(acquired=lease.spec.acquire_time or self._now(), transitions=self.term)

    async def _try(self, *, force: bool) -> bool:
        self._lease = lease = await self._leases.find(self.name)
        if lease is None:
            return await self._create()
        state = lease.metadata.resource_version
        if state != self._seen[0]:
            self._seen = (state, self._clock.monotonic())
        lasts = min(lease.spec.lease_duration_seconds or 0, self._settings.duration * 4)
        held = bool(lease.spec.holder_identity) and self._clock.monotonic() < self._seen[1] + lasts
        if held and not force:
            return False
        return await self._write(acquired=self._now(), transitions=(lease.spec.lease_transitions or 0) + 1)

    async def _create(self) -> bool:
        begun, term = self._clock.monotonic(), first_term(self._clock.now())
        spec = self._spec(self._now(), self._now(), term)
        try:
            self._lease = await self._leases.create(Lease(Meta(name=self.name), spec))
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return False
            raise
        self.term, self._renewed = term, begun
        return True

    async def _write(self, *, acquired: str, transitions: int) -> bool:
        begun = self._clock.monotonic()
        spec = self._spec(acquired, self._now(), transitions)
        try:
            self._lease = await self._leases.replace(self.name, Lease(self._metadata(), spec))
        except ApiError as error:
            if is_conflict(error):
                self._lease = await self._leases.find(self.name)
                return False
            raise
        self.term, self._renewed = transitions, begun
        return True

    def _metadata(self) -> Meta:
        assert self._lease is not None
        metadata = self._lease.metadata
        return Meta(name=metadata.name, namespace=metadata.namespace, resource_version=metadata.resource_version)

    def _spec(self, acquired: str, renewed: str, transitions: int) -> LeaseSpec:
        return LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=max(1, round(self._settings.duration)),
            acquire_time=acquired,
            renew_time=renewed,
            lease_transitions=transitions,
        )

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _holder(self) -> str:
        return (self._lease.spec.holder_identity if self._lease else None) or "nobody"


def first_term(now: datetime) -> int:
    """Where the count of a Lease begins that is made at ``now``: seconds since 2025.

    Above whatever a Lease of the same name that was deleted had come to, as long as its holder did not change every
    second; workers refuse terms below those they have seen. The field has room until 2093.
    """
    return max(1, int((now - datetime(2025, 1, 1, tzinfo=UTC)).total_seconds()))

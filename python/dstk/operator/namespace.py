"""The operator's namespace: whose UID is the cluster's identity, and which may go away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from dstk.api import Assignment
from dstk.errors import ApiError, ConfigError, DstkError, OutcomeUnknown, Unavailable
from dstk.kube import Api, Backoff, is_conflict, is_not_found
from dstk.operator.cluster import Cluster
from dstk.operator.reconciler import FINALIZER

__all__ = ["NamespaceEnd", "cluster_identity"]

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LEAVE_SECONDS = 5.0
DENIALS = 5


async def cluster_identity(api: Api, namespace: str) -> str:
    """The UID of the namespace: another one in every cluster and namespace, the same for as long as the namespace is
    there, also when it comes back from a backup of etcd. Waits for the API server.

    Raises ConfigError when the namespace may not be read, or is not there.
    """
    backoff, denied = Backoff(longest=5.0), 0
    while True:
        try:
            return str((await _read(api, namespace))["metadata"]["uid"])
        except ApiError as error:
            denied += error.status == 403
            # For a moment after its start an API server knows of no Role.
            if denied > DENIALS:
                raise ConfigError(
                    f"namespace {namespace} may not be read, and its UID is the cluster's identity: add the verb get "
                    f"on namespaces to the operator's Role, as the Helm chart has it ({error})"
                ) from error
            if is_not_found(error):
                raise ConfigError(f"there is no namespace {namespace}: give --namespace one that there is") from error
            log.warning("namespace %s is not known yet: %s", namespace, error)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("namespace %s is not known yet: %s", namespace, error)
        await asyncio.sleep(backoff.next())


async def _read(api: Api, namespace: str) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(await api.request("GET", f"/api/v1/namespaces/{namespace}"))
    return answer


class NamespaceEnd:
    """Lets the Assignments go when their namespace is deleted: soon there is no operator to take their finalizers away.

    A finalizer keeps an Assignment until its operation is safely at an end. In a namespace that goes nothing is to
    be kept safe, workers and operator go too, and what still had one would hold the namespace up for ever."""

    def __init__(self, cluster: Cluster, api: Api, namespace: str) -> None:
        self._assignments = cluster.assignments
        self._api = api
        self._namespace = namespace

    async def run(self) -> None:
        """For ever: whatever is deleted while the namespace goes need not come to its end."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._let_go(_is_deleted)

    async def leave(self) -> None:
        """The last that an operator does, when nothing is driven any more."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._let_go(lambda assignment: True)
        except TimeoutError:
            log.warning("nobody says within %g s whether the namespace goes", LEAVE_SECONDS)

    async def _let_go(self, which: Callable[[Assignment], bool]) -> None:
        kept = [each for each in self._assignments if _is_kept(each) and which(each)]
        if not kept or not await self._goes():
            return
        for assignment in kept:
            try:
                await self._release(assignment)
            except DstkError as error:  # It keeps none of the others from going.
                log.warning("assignment %s was not let go: %s", assignment.metadata.name, error)

    async def _goes(self) -> bool:
        try:
            namespace = await _read(self._api, self._namespace)
        except DstkError as error:
            log.info("whether namespace %s goes is not known: %s", self._namespace, error)
            return False
        return namespace["metadata"].get("deletionTimestamp") is not None

    async def _release(self, assignment: Assignment) -> None:
        current: Assignment | None = assignment
        while current is not None and _is_kept(current):
            metadata = current.metadata
            patch = {"metadata": {"finalizers": [each for each in metadata.finalizers if each != FINALIZER]}}
            objects = self._assignments.objects
            try:
                current = await objects.patch(metadata.name, patch, resource_version=metadata.resource_version)
            except ApiError as error:
                if is_not_found(error):
                    return
                if not is_conflict(error):
                    raise
                current = await objects.find(metadata.name)
        log.warning("assignment %s is let go in the middle of it: the namespace goes", assignment.metadata.name)


def _is_kept(assignment: Assignment) -> bool:
    return FINALIZER in assignment.metadata.finalizers


def _is_deleted(assignment: Assignment) -> bool:
    return assignment.metadata.deletion_timestamp is not None

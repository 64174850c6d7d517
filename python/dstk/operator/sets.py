"""The workers' StatefulSets, as planning needs them."""

from __future__ import annotations

from dstk.api import RESTARTS_ANNOTATION, SPARE_WORKERS_ANNOTATION
from dstk.kube import OwnerReference, Pod, StatefulSet
from dstk.plan import RestartedBy, WorkerSet

__all__ = ["REVISION_LABEL", "owner_of", "worker_set"]

REVISION_LABEL = "controller-revision-hash"
"""On a pod of a StatefulSet: the revision that it was made from."""


def worker_set(found: StatefulSet) -> WorkerSet:
    """What planning needs of a StatefulSet. A spare-workers annotation that is no number counts as 0."""
    spec, annotations = found.spec, found.metadata.annotations
    spare = annotations.get(SPARE_WORKERS_ANNOTATION, "")
    if spec.update_strategy.type != "OnDelete":
        restarted_by = RestartedBy.CONTROLLER
    elif annotations.get(RESTARTS_ANNOTATION) == RestartedBy.OPERATOR.value:
        restarted_by = RestartedBy.OPERATOR
    else:
        restarted_by = RestartedBy.NOBODY
    rolling = spec.update_strategy.rolling_update
    return WorkerSet(
        name=found.metadata.name,
        replicas=spec.replicas,
        start=spec.ordinals.start if spec.ordinals is not None else 0,
        revision=found.status.update_revision,
        partition=rolling.partition if rolling is not None else 0,
        restarted_by=restarted_by,
        spare=int(spare) if spare.isdecimal() else 0,
    )


def owner_of(pod: Pod) -> tuple[OwnerReference, int] | None:
    """The StatefulSet that a pod belongs to, and its ordinal there."""
    for owner in pod.metadata.owner_references:
        ordinal = pod.metadata.name.removeprefix(f"{owner.name}-")
        if owner.kind == "StatefulSet" and owner.controller and ordinal.isdecimal():
            return owner, int(ordinal)
    return None

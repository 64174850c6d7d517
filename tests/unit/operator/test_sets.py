"""What planning reads out of a StatefulSet and its pods."""

from __future__ import annotations

from typing import Any

import pytest

from dstk.api import decode
from dstk.kube import Pod, StatefulSet
from dstk.operator.sets import owner_of, worker_set
from dstk.plan import RestartedBy, WorkerSet

ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


def stateful_set(annotations: dict[str, str] | None = None, **spec: Any) -> WorkerSet:
    metadata = {"name": "w", "annotations": annotations or {}}
    return worker_set(decode(StatefulSet, {"metadata": metadata, "spec": spec, "status": {"updateRevision": "r2"}}))


@pytest.mark.parametrize(
    ("annotations", "spec", "expected"),
    [
        ({}, {"replicas": 3}, WorkerSet("w", 3, revision="r2")),
        ({}, {}, WorkerSet("w", 1, revision="r2")),
        ({}, {"replicas": 0}, WorkerSet("w", 0, revision="r2")),
        ({}, {"ordinals": {"start": 5}}, WorkerSet("w", 1, start=5, revision="r2")),
        (
            {},
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            WorkerSet("w", 1, revision="r2", partition=2),
        ),
        ({}, ON_DELETE, WorkerSet("w", 1, revision="r2", restarted_by=RestartedBy.NOBODY)),
        ({"dstk.io/restarts": "Me"}, ON_DELETE, WorkerSet("w", 1, revision="r2", restarted_by=RestartedBy.NOBODY)),
        (
            {"dstk.io/restarts": "Operator"},
            ON_DELETE,
            WorkerSet("w", 1, revision="r2", restarted_by=RestartedBy.OPERATOR),
        ),
        # The controller restarts them already.
        ({"dstk.io/restarts": "Operator"}, {}, WorkerSet("w", 1, revision="r2")),
        ({"dstk.io/spare-workers": "2"}, {}, WorkerSet("w", 1, revision="r2", spare=2)),
        ({"dstk.io/spare-workers": "-1"}, {}, WorkerSet("w", 1, revision="r2")),
        ({"dstk.io/spare-workers": "two"}, {}, WorkerSet("w", 1, revision="r2")),
    ],
)
def test_worker_set(annotations: dict[str, str], spec: dict[str, Any], expected: WorkerSet) -> None:
    assert stateful_set(annotations, **spec) == expected


@pytest.mark.parametrize(
    ("pod", "owner", "ordinal"),
    [
        ("w-3", {"kind": "StatefulSet", "name": "w", "controller": True}, 3),
        ("a-w-10", {"kind": "StatefulSet", "name": "a-w", "controller": True}, 10),
        ("w-3", {"kind": "ReplicaSet", "name": "w", "controller": True}, None),
        ("w-3", {"kind": "StatefulSet", "name": "w"}, None),
        ("other-3", {"kind": "StatefulSet", "name": "w", "controller": True}, None),
    ],
)
def test_owner_of(pod: str, owner: dict[str, Any], ordinal: int | None) -> None:
    found = owner_of(decode(Pod, {"metadata": {"name": pod, "ownerReferences": [owner]}}))
    assert (found[1] if found else None) == ordinal

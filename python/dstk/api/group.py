"""The API group and what marks its objects: one place for every string that other programs match on."""

from __future__ import annotations

from typing import Final

GROUP: Final = "dstk.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

APPROVED_ANNOTATION: Final = f"{GROUP}/approved"
"""On an Assignment, ``"true"`` lets a proposal of an Assigner in mode Propose run."""

ASSIGNER_LABEL: Final = ("app.kubernetes.io/managed-by", "dstk-assigner")
"""On an Assignment: the Assigner made it. All others somebody made by hand."""

CUT_ANNOTATION: Final = f"{GROUP}/cut-by-hand"
"""On a Partition: the Assignment by which somebody cut the keys at its start. The Assigner does not merge it with what
is before it."""

PLACED_ANNOTATION: Final = f"{GROUP}/placed-by-hand"
"""On a Partition: the Assignment by which somebody moved it to its worker. It is not moved to even workers out."""

ACCEPT_LOSS_ANNOTATION: Final = f"{GROUP}/accept-loss"
"""On a Partition: somebody has accepted the loss that its condition DataLost tells of since this time."""
HELD_SINCE_ANNOTATION: Final = f"{GROUP}/held-since"
"""On a Partition: the epoch, and the life of its primary, since which that has held it without a break."""
CORDONED_ANNOTATION: Final = f"{GROUP}/cordoned"
"""On a worker's Pod, ``"true"`` keeps new partitions away and moves the present ones off."""

KEYSPACE_LABEL: Final = f"{GROUP}/keyspace"
"""On objects that the operator creates: the Keyspace they belong to."""

RESTARTS_ANNOTATION: Final = f"{GROUP}/restarts"
"""On a StatefulSet of workers with updateStrategy OnDelete, ``"Operator"`` lets the operator restart them: it empties
one after the other, the emptiest first, and evicts its pod."""

SPARE_WORKERS_ANNOTATION: Final = f"{GROUP}/spare-workers"
"""On a StatefulSet of workers: how many of them are kept empty, so that restarts move nothing twice."""

PROPOSED_LABEL: Final = f"{GROUP}/proposed"
"""On an Assignment, ``"true"``: made by an Assigner in mode Propose, waits for the annotation above."""

"""What a Partition's object says when its worker is silent, gone, or back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace as with_
from scenes import partition

from dstk.api import Partition, PartitionPhase, standing
from dstk.lifecycle.availability import WORKER_GONE, WORKER_SILENT, Availability, Presence, availability, is_away

READY, UNAVAILABLE, LOADING = PartitionPhase.READY, PartitionPhase.UNAVAILABLE, PartitionPhase.LOADING
HERE = Presence(incarnation="pod1/1")
SILENT, GONE = Presence(WORKER_SILENT), Presence(WORKER_GONE)
SERVED = partition("p", "a", "o", "pod1", 7)


def away(reason: str, said: Partition = SERVED) -> Partition:
    """As it is written when the worker is away for that reason."""
    conditions = standing.of_partition((), UNAVAILABLE, datetime(2026, 1, 1, tzinfo=UTC), reason, "…")
    return with_(said, status=with_(said.status, phase=UNAVAILABLE, conditions=conditions))


def lost() -> Partition:
    """Unavailable for another reason."""
    return with_(SERVED, status=with_(SERVED.status, phase=UNAVAILABLE))


CASES = {
    "its worker answers": (SERVED, HERE, 7, None),
    "its worker is silent": (SERVED, SILENT, None, WORKER_SILENT),
    "its pod is gone": (SERVED, GONE, None, WORKER_GONE),
    "it is said already": (away(WORKER_SILENT), SILENT, None, None),
    "the pod of a silent worker is gone": (away(WORKER_SILENT), GONE, None, WORKER_GONE),
    "it is back": (away(WORKER_SILENT), HERE, 7, READY),
    "it is back, and has not said yet that it serves it": (away(WORKER_SILENT), HERE, None, None),
    "it is back, and serves it in another epoch": (away(WORKER_SILENT), HERE, 6, None),
    "it is back in another life": (away(WORKER_GONE), Presence(incarnation="pod1/2"), 7, None),
    "what nobody has confirmed yet": (
        partition("p", "a", "o", "pod1", 7, phase=LOADING), SILENT, None, None,
    ),
    "what has no phase yet": (partition("p", "a", "o", "pod1", 7, phase=None), SILENT, None, None),
    "its rows are missing": (lost(), SILENT, None, None),
    "its rows are missing, and its worker is there": (lost(), HERE, 7, None),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "worker", "served_in", "said"), CASES.values(), ids=CASES)
def test_what_the_object_says(
    seen: Partition, worker: Presence, served_in: int | None, said: PartitionPhase | str | None
) -> None:
    found = availability(seen, worker, served_in)
    if said is None:
        assert found is None
    elif said is READY:
        assert found == Availability(READY)
    else:
        assert found is not None
        assert (found.phase, found.reason) == (UNAVAILABLE, said)
        assert "pod1" in found.message


def test_only_silence_is_silence() -> None:
    assert [is_away(each) for each in (SERVED, lost(), away(WORKER_SILENT), away(WORKER_GONE))] == [
        False,
        False,
        True,
        True,
    ]

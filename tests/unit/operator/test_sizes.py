"""Which sizes are worth a write."""

from __future__ import annotations

import pytest

from dstk.api import PartitionStatus
from dstk.operator.sizes import TOLERANCE, off_by
from dstk.wire import Load


def held(rows: int, size: int) -> Load:
    return Load("default", "p", 1, rows, size, 0.0, 0.0, None, "primary")


@pytest.mark.parametrize(
    ("said", "rows", "size", "worth"),
    [
        ((0, 0), 0, 0, False),
        ((0, 0), 1, 16, True),
        ((1, 16), 0, 0, True),
        ((100, 1600), 105, 1680, False),
        ((100, 1600), 120, 1920, True),
        ((100, 1600), 100, 16000, True),
        ((1000, 16000), 100, 1600, True),
    ],
)
def test_what_is_off_by_more_than_a_tenth_is_written(said: tuple[int, int], rows: int, size: int, worth: bool) -> None:
    status = PartitionStatus(rows=said[0], bytes=said[1])
    assert (off_by(status, held(rows, size)) > TOLERANCE) is worth

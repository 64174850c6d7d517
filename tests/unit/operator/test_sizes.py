"""Which sizes are worth a write."""

from __future__ import annotations

import pytest

from dstk.api import PartitionStatus
from dstk.control.views import Load
from dstk.operator.sizes import off_by


def held(rows: int, size: int, operations: float = 0.0, carried: float = 0.0) -> Load:
    return Load("default", "p", 1, rows, size, operations, carried, None, "primary")


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
    assert (off_by(status, held(rows, size)) > 1) is worth


@pytest.mark.parametrize(
    ("said", "operations", "carried", "worth"),
    [
        ((0, 0), 1.0, 100.0, False),
        ((0, 0), 40.0, 100.0, True),
        ((100, 10_000), 120.0, 12_000.0, False),
        ((100, 10_000), 200.0, 10_000.0, True),
        ((100, 10_000), 100.0, 20_000.0, True),
        ((100, 10_000), 0.0, 0.0, True),
        ((1, 100), 0.0, 0.0, False),
    ],
)
def test_a_rate_that_is_off_by_a_third_is_written_unless_it_is_next_to_nothing(
    said: tuple[int, int], operations: float, carried: float, worth: bool
) -> None:
    status = PartitionStatus(operations_per_second=said[0], bytes_per_second=said[1])
    assert (off_by(status, held(0, 0, operations, carried)) > 1) is worth

"""Times that objects name, on a clock that never jumps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clocks import HandClock
from dstk.operator.moments import Moments

HOUR = 3600.0


class Clocks(HandClock):
    """With moments on it."""

    def __init__(self) -> None:
        super().__init__(50.0, 1_800_000_000.0)
        self.moments = Moments(self)

    def age(self, key: str, said: datetime | None) -> float:
        return self.moments.now() - self.moments.of(key, said)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_the_time_of_day_is_set_and_what_was_seen_is_as_old_as_it_was(set_by: float) -> None:
    clocks = Clocks()
    said = at(clocks.wall - 10)
    assert clocks.age("a", said) == 10
    clocks.wall += set_by
    clocks.pass_(5)
    assert clocks.age("a", said) == 15


def test_what_is_said_to_be_in_the_future_counts_as_now() -> None:
    clocks = Clocks()
    said = at(clocks.wall + HOUR)
    assert clocks.age("a", said) == 0
    clocks.pass_(7)
    assert clocks.age("a", said) == 7


def test_what_is_not_kept_is_taken_anew() -> None:
    clocks = Clocks()
    said = at(clocks.wall - 10)
    clocks.age("a", said), clocks.age("b", said)
    clocks.wall += HOUR
    clocks.moments.keep({"a"})
    assert clocks.age("a", said) == 10
    assert clocks.age("b", said) == HOUR + 10

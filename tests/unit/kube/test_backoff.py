"""Back-off and retry, with the randomness and the waiting in the test's hands."""

import pytest

from dstk.errors import InvalidRequest, Unavailable
from dstk.kube import Backoff, retry


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1, longest=10, random=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_jitter_takes_at_most_half() -> None:
    assert Backoff(first=1, random=lambda: 0.0).next() == 0.5


def test_a_success_starts_again_from_the_first() -> None:
    backoff = Backoff(first=1, random=lambda: 1.0)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == 1


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(first=1, longest=10, random=lambda: 1.0)
    assert [backoff.next() for _ in range(1000)][-1] == 10


async def test_retry_ends_with_the_first_success() -> None:
    answers = iter([Unavailable("not yet"), Unavailable("not yet"), 7])

    async def call() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await retry(call, backoff=Backoff(first=0)) == 7


async def test_retry_gives_up_after_its_attempts() -> None:
    calls = []

    async def call() -> None:
        calls.append(1)
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        await retry(call, attempts=3, backoff=Backoff(first=0))
    assert len(calls) == 3


async def test_what_trying_again_cannot_help_is_raised_at_once() -> None:
    calls = []

    async def call() -> None:
        calls.append(1)
        raise InvalidRequest("wrong")

    with pytest.raises(InvalidRequest):
        await retry(call)
    assert calls == [1]

"""What `dstk operator --limit` takes."""

from __future__ import annotations

import pytest

from dstk.cli.parser import build_parser
from dstk.errors import ConfigError
from dstk.lifecycle.observed import Limits
from dstk.operator import limits_of


def test_what_is_not_given_stays() -> None:
    assert limits_of({}) == Limits()
    given = limits_of({"deadline_seconds": 60, "wait_seconds": 0.5, "fence_tries": 2, "fence_lag_writes": 0})
    assert given == Limits(deadline_seconds=60, wait_seconds=0.5, fence_tries=2, fence_lag_writes=0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("patience", 1, "no limit 'patience'; there are chunk, deadline_seconds"),
        ("fence_tries", 0, "fence_tries takes a whole number from 1, not 0"),
        ("fence_tries", 2.5, "fence_tries takes a whole number from 1, not 2.5"),
        ("fence_lag_writes", -1, "fence_lag_writes takes a whole number from 0, not -1"),
        ("chunk", "many", "chunk takes a whole number from 1, not 'many'"),
        ("stall_seconds", 0, "stall_seconds takes seconds from 0.001"),
        ("stall_seconds", -3.0, "stall_seconds takes seconds from 0.001"),
        ("stall_seconds", float("nan"), "stall_seconds takes seconds from 0.001"),
        ("stall_seconds", float("inf"), "stall_seconds takes seconds from 0.001"),
        ("stall_seconds", "soon", "stall_seconds takes seconds from 0.001 to 31536000, not 'soon'"),
    ],
)
def test_what_is_no_limit_is_refused(name: str, value: float | str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        limits_of({name: value})


@pytest.mark.parametrize(
    ("text", "said"),
    [("stall_seconds", "write NAME=VALUE"), ("stall=3", "no limit 'stall'"), ("fence_tries=no", "not 'no'")],
)
def test_the_command_says_what_is_wrong_before_it_connects(text: str, said: str) -> None:
    arguments = build_parser().parse_args(["operator", "--kubeconfig", "/nowhere", "--limit", text])
    with pytest.raises(ConfigError, match=said):
        arguments.run(arguments)


def test_the_command_takes_several() -> None:
    given = ["--limit", "stall_seconds=3", "--limit", "chunk=9"]
    assert build_parser().parse_args(["operator", *given]).limit == ["stall_seconds=3", "chunk=9"]

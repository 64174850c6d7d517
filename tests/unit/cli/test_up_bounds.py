"""`dstk up --bounds`: what it asks of the keyspace, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from dstk import errors
from dstk.cli.parser import build_parser
from dstk.cli.up import asked_keyspace


def asked(*words: str) -> object:
    keyspace = asked_keyspace(build_parser().parse_args(["up", *words]))
    assert keyspace is not None
    return keyspace["spec"]


def test_bounds_are_asked_for_as_they_are_written(tmp_path: Path) -> None:
    printed = tmp_path / "bounds.yaml"
    printed.write_text('- "0x40"\n- "0x80ff"\n')
    assert asked("--bounds", f"@{printed}") == {"partitions": {"bounds": ["0x40", "0x80ff"]}}
    assert asked("--bounds", "user/3,user/6") == {"partitions": {"bounds": ["user/3", "user/6"]}}
    longer = "customer/123456789"
    assert asked("--bounds", longer, "--key-length", "24") == {"keyLength": 24, "partitions": {"bounds": [longer]}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bounds", "a,b", "--partitions", "3"], "leave one out"),
        (["--bounds", "a,b", "--no-keyspace"], "--bounds is about the keyspace that --no-keyspace does without"),
        (["--bounds", "b,a"], "bound a is below b before it"),
        (["--bounds", "customer/123456789"], "18 bytes; at most 16 fit"),
    ],
)
def test_what_cannot_be_asked_for(words: list[str], message: str) -> None:
    with pytest.raises(errors.DstkError, match=message):
        asked(*words)

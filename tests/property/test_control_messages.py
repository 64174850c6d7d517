"""Every command says the same after it has been on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstk.control.commands import COMMANDS, Command, MergePart, Request, name_of
from dstk.wire.messages import decode_request, encode_request
from dstk.wire.v1 import control_pb2 as pb

MILLISECONDS = st.integers(0, 2**32 - 1).map(lambda ms: ms / 1e3)
COUNTS = st.integers(0, 2**64 - 1)


def values(kind: type[Command]) -> st.SearchStrategy[Any]:
    """Any command of that kind. Seconds are whole milliseconds, and what the wire has 32 bits for has no more."""
    by_type = {bytes: st.binary(max_size=20), str: st.text(max_size=9), bool: st.booleans(), int: COUNTS}
    return st.builds(
        kind,
        **{
            name: strategy
            for name in getattr(kind, "__dataclass_fields__", {})
            for strategy in [_of(name, kind.__dataclass_fields__[name].type, by_type)]
        },
    )


def _of(name: str, type_: Any, by_type: dict[type, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    if name.endswith("_seconds"):
        return MILLISECONDS
    if name == "key_length":
        return st.integers(0, 1024)
    if name == "parts":
        return st.lists(st.builds(MergePart, st.text(max_size=9), COUNTS), max_size=3).map(tuple)
    element = str(type_)
    if element.startswith("tuple[bytes"):
        return st.lists(by_type[bytes], max_size=3).map(tuple)
    if element.startswith("tuple[str"):
        return st.lists(by_type[str], max_size=3).map(tuple)
    return by_type[{"bytes": bytes, "str": str, "bool": bool, "int": int}[element]]


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_command_comes_as_it_was_sent(kind: type[Command], data: st.DataObject) -> None:
    command = data.draw(values(kind))
    request = Request("uid/1", 7, "default", "p", 3, command)
    sent = pb.Action.FromString(encode_request(request).SerializeToString())
    assert decode_request(sent) == request


def test_the_wire_has_every_command_and_no_other() -> None:
    named = {field.name for field in pb.Action.DESCRIPTOR.oneofs_by_name["action"].fields}
    assert named == {name_of(kind).replace("-", "_") for kind in COMMANDS}

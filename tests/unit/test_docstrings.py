"""`help()` says of everything public what it does, and of arrays their shapes, of failures the errors."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dstk

STUB = Path(dstk.__file__).parent / "_core.pyi"
PROPERTIES = (property, types.GetSetDescriptorType)


def public(name: str, thing: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Everything that a name leads to: what modules export, and the methods and properties of classes."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, types.ModuleType):
        yield name, thing
        for each in thing.__all__:
            yield from public(f"{name}.{each}", getattr(thing, each), seen)
    elif inspect.isclass(thing):
        yield name, thing
        for each, member in sorted(vars(thing).items()):  # A native class has them in another order each time.
            if not each.startswith("_") and (callable(member) or isinstance(member, PROPERTIES)):
                yield f"{name}.{each}", member
    elif callable(thing):
        yield name, thing


PUBLIC = dict(public("dstk", dstk, set()))
KEYS = {name: thing for name, thing in PUBLIC.items() if name.startswith("dstk.keys.")}


def documentation(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def test_the_list_reaches_what_users_call() -> None:
    assert {"dstk.connect", "dstk.aio.connect", "dstk.Client.scan", "dstk.aio.Client.scan", "dstk.keys.u64"} <= {
        *PUBLIC
    }
    assert {"dstk.errors.OutcomeUnknown", "dstk.keys.Layout.prefix", "dstk.RangeIndex.find_many"} <= {*PUBLIC}


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_says_what_it_does(name: str) -> None:
    said = documentation(PUBLIC[name])
    assert said.partition("\n\n")[0].rstrip().endswith((".", ":")), said
    assert said[0].isupper() or said[0] in "`(", said


@pytest.mark.parametrize("name", [name for name in PUBLIC if "RangeIndex." in name])
def test_each_parameter_of_the_range_index_is_described(name: str) -> None:
    thing = PUBLIC[name]
    if not callable(thing):
        return
    said = documentation(thing)
    for parameter in inspect.signature(thing).parameters:
        assert parameter == "self" or parameter in said, parameter
    assert "Raises" in said


def test_shapes_and_dtypes_of_the_range_index() -> None:
    said = documentation(dstk.keys.RangeIndex.find_many)
    assert all(word in said for word in ("int64", "shape `(keys,)`", "-1", "KeyLengthError", "WrongType", "threads"))
    said = documentation(dstk.keys.RangeIndex.group)
    assert all(word in said for word in ("int64", "`(owners + 2,)`", "order[offsets[o]:offsets[o + 1]]"))
    assert all(word in documentation(dstk.RangeIndex) for word in ("S{n}", "uint8", "uint64", "Arrow", "padded"))


def test_editors_show_what_help_shows() -> None:
    """Editors read the stub, help() the extension."""
    tree = ast.parse(STUB.read_text())
    (stub,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "RangeIndex"]
    assert ast.get_docstring(stub) == documentation(dstk.RangeIndex)
    for function in stub.body:
        if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
            assert ast.get_docstring(function) == documentation(getattr(dstk.RangeIndex, function.name)), function.name


VERBS = ("get", "put", "delete", "get_many", "put_many", "delete_many", "scan")


@pytest.mark.parametrize("client", [dstk.Client, dstk.aio.Client])
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_say_what_comes_back_and_what_is_raised(client: type, verb: str) -> None:
    said = documentation(getattr(client, verb))
    assert "Raises" in said
    for parameter in inspect.signature(getattr(client, verb)).parameters:
        assert parameter in ("self", "timeout") or parameter in said, parameter
    assert "seconds" in documentation(client)

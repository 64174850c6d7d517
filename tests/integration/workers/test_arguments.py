"""What is wrong with an argument is said by an error of dstk, whoever asks, and nothing is sent; what is right is stored
as it is."""

from __future__ import annotations

import array
import asyncio
import datetime as dt
import math
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workers.fleet import KEY_LENGTH, Fleet, fleet

import dstk
from dstk import aio, errors
from dstk.client import Client, ClientSettings

KEY = b"k" * KEY_LENGTH
VALUES = [b"a\0\0\0", b"\0\0\0\0", b"abcd", b"\0abc"]
KEYS = [bytes([number]) * (KEY_LENGTH - 1) + b"\0" for number in range(len(VALUES))]
HUGE = 10**400


def view(array: Any) -> memoryview:
    """The memory of an array."""
    return memoryview(array)


class Text(bytes):
    """A subclass that keeps all its bytes."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Addresses of one worker, which serves all keys."""
    folder: Path = tmp_path_factory.mktemp("arguments")
    with asyncio.Runner() as runner:
        workers = fleet(folder, 1)
        running: Fleet = runner.run(workers.__aenter__())
        runner.run(running.serve_all())
        yield running.addresses
        runner.run(workers.__aexit__(None, None, None))


@pytest.fixture(params=["blocking", "asyncio"])
async def call(served: list[str], request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """Calls a verb of a client of one face or the other; `call.counters` are the client's."""
    if request.param == "asyncio":
        async with aio.connect(served) as client:

            async def ask(verb: str, *arguments: Any, **named: Any) -> Any:
                return await getattr(client, verb)(*arguments, **named)

            ask.counters = client.counters  # type: ignore[attr-defined]
            yield ask
        return
    blocking: Client = await asyncio.to_thread(dstk.connect, served)

    async def ask_blocking(verb: str, *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(getattr(blocking, verb), *arguments, **named)

    ask_blocking.counters = blocking.counters  # type: ignore[attr-defined]
    yield ask_blocking
    await asyncio.to_thread(blocking.close)


NO_KEYS: list[Any] = ["k" * KEY_LENGTH, bytearray(KEY), memoryview(KEY), 5, None, np.array([KEY]), [KEY], "\ud800"]
WRONG_KEYS: list[Any] = [b"", KEY + b"k", KEY[1:], np.bytes_(KEY[:-1] + b"\0")]
NO_VALUES: list[Any] = [
    "v",
    bytearray(b"v"),
    memoryview(b"v"),
    5,
    None,
    np.bytes_(b"v\0"),
    np.array(b"v\0"),
    np.str_("v"),
]
TIMEOUTS: list[Any] = [
    "1", math.nan, -1, -0.5, 0, 1e9, math.inf, HUGE, True, np.True_, [1], 1j, dt.timedelta(seconds=1), b"1",
]  # fmt: skip
VERSIONS: list[Any] = [-1, 1.0, True, HUGE, 2**63, "1", b"1", [1], math.nan, np.float64(1), np.True_]
LIMITS: list[Any] = [None, 0, -1, 1.0, True, HUGE, 2**62, "1", [1], math.nan, np.True_]
MANY: list[Any] = [
    b"", KEY, bytearray(KEY), memoryview(KEY), "", KEY.decode(), 5, None, True, {KEY: KEY}, {KEY}, frozenset([KEY]),
    [KEY, None], [KEY, "k" * KEY_LENGTH], [KEY, KEY[1:]], [np.bytes_(KEY[:-1] + b"\0")], [bytearray(KEY)],
    np.array([KEY]).astype("U"), np.zeros((1, KEY_LENGTH), np.int8), np.zeros((1, 1, KEY_LENGTH), np.uint8),
    np.zeros(2, np.int64), np.zeros(2, np.float64), np.array([KEY, 5], object), np.array(KEY), np.array([[KEY]]),
    np.array([KEY[1:]]), np.zeros((2, 3), np.uint8), np.zeros(1, [("a", "S16")]), array.array("I", [1, 2]),
    view(np.zeros((1, KEY_LENGTH), np.int8)), np.array(["2020"], "M8[D]"),
]  # fmt: skip
MANY_VALUES: list[Any] = [
    b"", b"v", bytearray(b"v"), memoryview(b"v"), "", "v", 5, None, {b"v": b"v"}, {b"v"}, frozenset([b"v"]),
    [None], ["v"], [5], [bytearray(b"v")], [np.bytes_(b"v\0")], list(np.array([b"v\0"])), [memoryview(b"v")],
    np.array(["v"]), np.zeros(1, np.uint64), np.zeros(1, np.uint8), np.zeros(1, np.float64), np.array(b"v"),
    np.array([[b"v"]]), np.zeros((1, 2), np.int8), np.array([5], object), np.array([np.bytes_(b"v\0")], object),
    np.zeros(1, [("a", "S4")]), array.array("I", [1]), view(np.array([b"v\0"])), np.array(["2020"], "M8[D]"),
    [], [b"v", b"v"], iter([]), np.zeros((0, 3), np.uint8),
]  # fmt: skip

ONES: list[tuple[str, list[Any]]] = [("get", []), ("put", [b"v"]), ("delete", [])]
MANIES: list[tuple[str, list[Any]]] = [("get_many", []), ("delete_many", []), ("put_many", [[b"v"]])]
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("get", (KEY,), {}), ("put", (KEY, b"v"), {}), ("delete", (KEY,), {}), ("get_many", ([KEY],), {}),
    ("put_many", ([KEY], [b"v"]), {}), ("delete_many", ([KEY],), {}), ("scan", (), {"limit": 1}),
]  # fmt: skip
DIRECTIONS: list[Any] = ["no", 0, 1, None, []]

REFUSED: dict[str, list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = {
    "key": [(verb, (key, *more), {}) for verb, more in ONES for key in (*NO_KEYS, *WRONG_KEYS)],
    "value": [("put", (KEY, value), {}) for value in NO_VALUES],
    "if_version": [(verb, (KEY, *more), {"if_version": wrong}) for verb, more in ONES[1:] for wrong in VERSIONS],
    "keys": [(verb, (keys, *more), {}) for verb, more in MANIES for keys in MANY],
    "values": [("put_many", ([KEY], values), {}) for values in MANY_VALUES],
    "start": [("scan", (start,), {"limit": 1}) for start in (*NO_KEYS, 0, False, KEY + b"k") if start is not None],
    "end": [("scan", (None, end), {"limit": 1}) for end in (*NO_KEYS, 0, False, KEY + b"k") if end is not None],
    "range": [("scan", (b"z", b"a"), {"limit": 1}), ("scan", (b"z", b"z"), {"limit": 1})],
    "limit": [("scan", (), {"limit": limit}) for limit in LIMITS],
    "reverse": [("scan", (), {"limit": 1, "reverse": reverse}) for reverse in DIRECTIONS],
    "timeout": [
        (verb, arguments, named | {"timeout": timeout})
        for verb, arguments, named in CALLS
        for timeout in TIMEOUTS
    ],
}  # fmt: skip


@pytest.mark.parametrize("argument", REFUSED)
async def test_what_is_wrong_is_refused_and_not_sent(call: Any, argument: str) -> None:
    for verb, arguments, named in REFUSED[argument]:
        said: BaseException | None = None
        try:
            await call(verb, *arguments, **named)
        except Exception as error:
            said = error
        assert isinstance(said, errors.InvalidRequest | errors.WrongType), (verb, arguments, named, said)
    assert call.counters()["operations"] == 0


TAKEN: dict[str, Any] = {
    "bytes": VALUES,
    "a tuple": tuple(VALUES),
    "subclasses of bytes": [Text(value) for value in VALUES],
    "views of a dict": dict(enumerate(VALUES)).values(),
    "S": np.array(VALUES, "S4"),
    "S, every second": np.repeat(np.array(VALUES, "S4"), 2)[::2],
    "S, backwards": np.array(VALUES[::-1], "S4")[::-1],
    "V": np.array(VALUES, "S4").view("V4"),
    "uint8": np.frombuffer(b"".join(VALUES), np.uint8).reshape(-1, 4),
    "uint8, not side by side": np.asfortranarray(np.frombuffer(b"".join(VALUES), np.uint8).reshape(-1, 4)),
    "uint8, read-only memory": view(np.frombuffer(b"".join(VALUES), np.uint8).reshape(-1, 4)),
    "objects": np.array(VALUES, object),
}


@pytest.mark.parametrize("form", [*TAKEN, "a generator"])
async def test_many_values_and_keys_are_stored_to_the_last_zero_byte(call: Any, form: str) -> None:
    values = TAKEN[form] if form in TAKEN else (value for value in VALUES)
    await call("put_many", KEYS, values)
    assert [row.value for row in await call("get_many", KEYS)] == VALUES
    as_bytes: dict[str, Callable[[list[bytes]], Any]] = {
        "S": lambda keys: np.array(keys, f"S{KEY_LENGTH}"), "V": lambda keys: np.array(keys, f"V{KEY_LENGTH}"),
        "uint8": lambda keys: np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_LENGTH),
        "objects": lambda keys: np.array(keys, object), "a tuple": tuple, "a generator": iter,
    }  # fmt: skip
    keys = as_bytes.get(form, list)(KEYS)
    assert [row.value for row in await call("get_many", keys)] == VALUES


async def test_what_stands_for_a_number_is_taken(call: Any) -> None:
    version = await call("put", KEY, b"v", timeout=np.float64(30.0))
    assert await call("put", KEY, Text(b"w\0"), if_version=np.int64(version), timeout=np.int64(30)) > version
    page = await call("scan", KEY, limit=np.int32(1))
    assert [(row.key, row.value) for row in page] == [(KEY, b"w\0")]
    assert len(await call("scan", b"", b"", limit=1, reverse=True)) == 1
    await call("delete", KEY)


ADDRESSES: list[Any] = [
    None, 5, b"127.0.0.1:1", [], "", " , ", [""], [None], [5], ["127.0.0.1:1", None], {"127.0.0.1:1": 1}, "127.0.0.1",
    "127.0.0.1:", ":7000", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1.5", "127.0.0.1:port",
    "127.0.0.1:" + "9" * 5000, "127.0.0.1:\u0661", "http://127.0.0.1:1", "\ud800:1", "a b:1", "a\0b:1", "::1:7000",
    "user@host:1", "host/path:1", True, object(),
]  # fmt: skip
KEYSPACES: list[Any] = ["", "\ud800", "a\0b", None, 5, b"default", ["default"]]
SECONDS: list[Any] = ["x", None, math.nan, -1.0, 0.0, HUGE, True, math.inf, [1.0]]
COUNTS: list[Any] = [0, 1.5, HUGE, True, "many"]
SETTINGS: list[Any] = [
    {"timeout_seconds": 1.0}, 5, "30",
    *(ClientSettings(timeout_seconds=value) for value in SECONDS),
    *(ClientSettings(open_operations=value) for value in COUNTS),
]  # fmt: skip


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("argument", ["address", "keyspace", "settings"])
async def test_what_is_wrong_with_a_connection_is_refused_at_once(served: list[str], face: str, argument: str) -> None:
    right = {"address": served, "keyspace": "default", "settings": ClientSettings(timeout_seconds=3600.0)}
    for wrong in {"address": ADDRESSES, "keyspace": KEYSPACES, "settings": SETTINGS}[argument]:
        asked: dict[str, Any] = right | {argument: wrong}
        said: BaseException | None = None
        try:
            if face == "asyncio":
                await aio.connect(**asked)
            else:
                await asyncio.to_thread(partial(dstk.connect, **asked))
        except Exception as error:
            said = error
        assert isinstance(said, errors.InvalidRequest | errors.WrongType | errors.ConfigError), (wrong, said)

"""Layouts of composite keys: what they refuse, by the part and the value, and columns of many keys."""

from __future__ import annotations

import datetime as dt
import doctest
import uuid
from typing import Any

import numpy as np
import pytest

from dstk import errors, keys
from dstk.keys import Layout, digest, encoders, hashed, i64, layout, parts, raw, text, timestamp, u64, uint

CARTS = Layout(tenant=hashed(u64), kind=text(6), n=u64)


@pytest.mark.parametrize("module", [keys, layout, parts, encoders], ids=lambda module: module.__name__)
def test_examples_of_docstrings_hold(module: Any) -> None:
    assert doctest.testmod(module, extraglobs=vars(keys)).failed == 0


def test_a_key_is_its_parts_side_by_side() -> None:
    key = CARTS.encode(tenant=7, kind="cart", n=3)
    assert key == hashed(u64(7)) + text("cart", 6) + u64(3)
    assert len(key) == CARTS.length == 24
    assert CARTS.decode(key) == {"tenant": 7, "kind": "cart", "n": 3}
    assert CARTS.encode(n=3, kind="cart", tenant=7) == key


def test_small_neighbouring_ids_spread_over_all_partitions() -> None:
    index = keys.RangeIndex([start for start, _ in keys.even_bounds(16, 8)], key_length=8)
    ids = np.arange(10_000)
    plain, spread = Layout(8, user=uint(4)), Layout(8, user=hashed(uint(4)))
    assert np.unique(index.find_many(plain.encode_many(user=ids))).tolist() == [0]
    counts = np.bincount(index.find_many(spread.encode_many(user=ids)), minlength=16)
    assert counts.min() > 10_000 / 16 * 0.8


def test_keys_of_a_keyspace_with_longer_keys_end_with_zeros() -> None:
    users = Layout(16, user=hashed(u64))
    key = users.encode(user=42)
    assert (len(key), users.length, key[10:]) == (16, 16, bytes(6))
    assert users.decode(key) == {"user": 42}
    assert users.decode_many([key])["user"].tolist() == [42]
    with pytest.raises(errors.InvalidRequest, match="goes on after its parts"):
        users.decode(key[:-1] + b"x")
    with pytest.raises(errors.InvalidRequest, match="go on after"):
        users.decode_many([key[:-1] + b"x"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cart", "n": 3}, "tenant missing: a key of this layout has tenant, kind, n"),
        ({"tenant": 1, "kind": "c", "n": 3, "m": 4}, "m: no such part; a key of this layout has tenant, kind, n"),
        ({"tenant": -1, "kind": "cart", "n": 3}, r"tenant: -1 is not in 0\.\.2\*\*64 - 1"),
        ({"tenant": 1, "kind": "favourites", "n": 3}, "kind: text 'favourites' is 10 bytes"),
        ({"tenant": 1, "kind": "\ud800", "n": 3}, "kind: .* surrogate"),
        ({"tenant": 1, "kind": "a\0", "n": 3}, "kind: .* NUL"),
        ({"tenant": 1, "kind": b"cart", "n": 3}, "kind: b'cart' is no text"),
        ({"tenant": 1, "kind": "cart", "n": 3.5}, r"n: 3\.5 is no integer"),
        ({"tenant": True, "kind": "cart", "n": 3}, "tenant: True is no integer"),
    ],
    ids=lambda each: None if isinstance(each, dict) else "",
)
def test_what_is_refused_names_the_part_and_the_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.DstkError, match=message):
        CARTS.encode(**values)
    if len(values) == 3:
        with pytest.raises(errors.DstkError, match=message):
            CARTS.encode_many(**{name: [value, value] for name, value in values.items()})
        if "tenant" in values:
            with pytest.raises(errors.DstkError, match=message):
                CARTS.prefix(**values)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (uint(2), 65_536, r"65536 is not in 0\.\.2\*\*16 - 1, which uint\(2\) holds"),
        (i64, 2**63, "is not in -2"),
        (timestamp, 7, "7 is no datetime"),
        (timestamp, dt.datetime(2026, 1, 1), "no time zone"),  # noqa: DTZ001
        (keys.uuid, 7, "7 is no UUID"),
        (keys.uuid, "seven", "'seven' is not a UUID"),
        (raw(3), b"ab", r"b'ab' is 2 bytes; raw\(3\) takes exactly 3"),
        (raw(3), "abc", "'abc' is not bytes"),
        (digest(8), 7, "7 is neither text nor bytes"),
    ],
)
def test_what_each_part_refuses(part: Any, value: Any, message: str) -> None:
    with pytest.raises(errors.DstkError, match=f"^part: .*{message}"):
        Layout(part=part).encode(part=value)
    with pytest.raises(errors.DstkError, match=f"^part: .*{message}"):
        Layout(part=part).encode_many(part=[value])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Layout(), errors.InvalidRequest, "without parts"),
        (lambda: Layout(n=int), errors.WrongType, "n: .*int.* is no part of a key"),
        (lambda: Layout(n=8), errors.WrongType, "n: 8 is no part of a key"),  # type: ignore[arg-type]
        (lambda: Layout(4, n=u64), errors.KeyLengthError, r"8 bytes \(n 8\); keys of 4 have no room"),
        (lambda: Layout(a=text(1000), b=text(25)), errors.KeyLengthError, r"1025 bytes \(a 1000 \+ b 25\)"),
        (lambda: text(0), errors.InvalidRequest, "text of 0 bytes: choose 1 to 1024"),
        (lambda: uint(9), errors.InvalidRequest, "uint of 9 bytes: choose 1 to 8"),
        (lambda: digest(4), errors.InvalidRequest, "digest of 4 bytes: choose 8 to 64"),
        (lambda: hashed(u64, 0), errors.InvalidRequest, "prefix_bytes of 0 bytes: choose 1 to 64"),
        (lambda: hashed("user"), errors.WrongType, "'user' is no part"),  # type: ignore[call-overload]
        (lambda: text("user"), errors.WrongType, "lacks its length"),  # type: ignore[call-overload]
    ],
)
def test_what_is_no_layout(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_keys_of_others_are_not_read() -> None:
    key = CARTS.encode(tenant=7, kind="cart", n=3)
    with pytest.raises(errors.KeyLengthError, match="23 bytes; keys of this layout have 24"):
        CARTS.decode(key[:-1])
    with pytest.raises(errors.KeyLengthError, match="23 bytes"):
        CARTS.decode_many([key, key[:-1]])
    for foreign, part in ((b"\xff" + key[1:], "tenant"), (key[:12] + b"c\0rt" + key[16:], "kind")):
        with pytest.raises(errors.InvalidRequest, match=f"{part}: .*not made by"):
            CARTS.decode(foreign)
        with pytest.raises(errors.InvalidRequest, match=f"{part}: .*not made by"):
            CARTS.decode_many([key, foreign])


def test_a_prefix_is_of_the_first_parts() -> None:
    start, end = CARTS.prefix(tenant=7, kind="cart")
    assert start == hashed(u64(7)) + text("cart", 6) + u64(0)
    assert end == hashed(u64(7)) + b"cart\0\x01" + u64(0)
    assert CARTS.prefix() == (bytes(24), None)
    assert Layout(n=u64).prefix(n=2**64 - 1) == (u64(2**64 - 1), None)
    with pytest.raises(errors.InvalidRequest, match=r"a prefix with n needs kind too: .* tenant, kind, n"):
        CARTS.prefix(tenant=7, n=3)
    with pytest.raises(errors.InvalidRequest, match="m: no such part"):
        CARTS.prefix(tenant=7, m=3)


def test_columns_become_keys_and_come_back() -> None:
    moments = np.array(["2026-05-01T10:30:15.123456789", "1969-12-31"], "datetime64[ns]")
    ids = [uuid.UUID(int=1), uuid.UUID(int=2)]
    every = Layout(u=u64, s=uint(3), i=i64, t=timestamp, x=keys.uuid, name=text(5), b=raw(3), h=hashed(i64, 4))
    columns: dict[str, Any] = {
        "u": np.array([256, 2**64 - 1], np.uint64),
        "s": np.array([0, 2**24 - 1], np.int32),
        "i": np.array([-(2**63), 2**63 - 1]),
        "t": moments,
        "x": ids,
        "name": np.array(["é", "b"]),
        "b": [b"a\0\0", b"\0\0\0"],
        "h": np.array([-5, 5]),
    }
    encoded = every.encode_many(**columns)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (2, every.length)
    decoded = every.decode_many(encoded)
    for name, column in columns.items():
        assert decoded[name].tolist() == (column.tolist() if isinstance(column, np.ndarray) else column), name
    assert {name: decoded[name].dtype.str for name in "usit"} == {"u": "<u8", "s": "<u8", "i": "<i8", "t": "<M8[ns]"}
    singly = [every.encode(**{name: (dt.datetime(1969, 12, 31, tzinfo=dt.UTC) if name == "t" else column[1])
                              for name, column in columns.items()})]  # fmt: skip
    assert singly == [encoded[1].tobytes()]
    again = every.decode_many(encoded.reshape(-1).view(f"S{every.length}"))
    assert again["u"].tolist() == columns["u"].tolist()


def test_one_value_stands_for_all_rows() -> None:
    encoded = CARTS.encode_many(tenant=7, kind="cart", n=np.arange(3))
    assert [row.tobytes() for row in encoded] == [CARTS.encode(tenant=7, kind="cart", n=n) for n in range(3)]
    assert CARTS.encode_many(tenant=7, kind="cart", n=[]).shape == (0, 24)
    assert CARTS.decode_many(np.zeros((0, 24), np.uint8))["n"].shape == (0,)
    with pytest.raises(errors.InvalidRequest, match="here: tenant 2, n 3"):
        CARTS.encode_many(tenant=[1, 2], kind="cart", n=np.arange(3))
    with pytest.raises(errors.InvalidRequest, match="none has more than one value"):
        CARTS.encode_many(tenant=7, kind="cart", n=3)
    with pytest.raises(errors.WrongType, match=r"n: an array of integers .* not dtype float64"):
        CARTS.encode_many(tenant=7, kind="cart", n=np.zeros(2))
    with pytest.raises(errors.InvalidRequest, match="n: -1 is not in"):
        CARTS.encode_many(tenant=7, kind="cart", n=np.array([1, -1]))
    with pytest.raises(errors.InvalidRequest, match="n: 65536 is not in"):
        Layout(n=uint(2)).encode_many(n=np.array([1, 65_536]))


def test_zero_bytes_at_the_end_are_kept() -> None:
    ids = Layout(id=raw(4))
    array = np.array([b"a\0\0\0", b"\0\0\0\0"], "S4")
    assert [row.tobytes() for row in ids.encode_many(id=array)] == [b"a\0\0\0", bytes(4)]
    with pytest.raises(errors.KeyLengthError, match=r"id: the array is .*S3"):
        ids.encode_many(id=array.astype("S3"))


def test_a_digest_spreads_and_is_not_read_back() -> None:
    pages = Layout(url=digest(), at=u64)
    key = pages.encode(url="https://example.org/a/long/path", at=1)
    assert len(key) == 24
    assert pages.decode(key) == {"url": key[:16], "at": 1}
    assert pages.decode_many([key])["url"].tolist() == [key[:16]]
    assert pages.prefix(url="https://example.org/a/long/path")[0] == key[:16] + u64(0)


def test_layouts_are_values() -> None:
    assert repr(Layout(20, a=hashed(u64), b=text(3), c=hashed(uint(2), 1))) == (
        "Layout(20, a=hashed(u64), b=text(3), c=hashed(uint(2), 1))"
    )
    assert len({Layout(a=u64), Layout(a=u64), Layout(b=u64), Layout(a=i64)}) == 3
    assert Layout(a=u64) != "Layout(a=u64)"

"""Bodies in protobuf: what is read, and that what cannot be read is refused and never half taken."""

from __future__ import annotations

import random

import pytest

from dstk.local.apiserver.protobuf import NotReadable, decoded


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    about = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, about) + field(2, raw) + field(3, b"") + field(4, b"")


METADATA = field(1, b"s") + field(2, b"") + field(3, b"default") + field(7, 0) + field(8, b"")
LABEL = field(11, field(1, b"a") + field(2, b"b"))
SECRET = (
    field(1, METADATA + LABEL) + field(2, field(1, b"key") + field(2, b"\x00\xff")) + field(3, b"Opaque") + field(5, 0)
)


def test_zeros_that_go_leaves_out_of_json_are_left_out_and_those_behind_pointers_stay() -> None:
    assert decoded(body("v1", "Secret", SECRET)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default", "labels": {"a": "b"}},
        "data": {"key": "AP8="},
        "type": "Opaque",
        "immutable": False,
    }


def test_numbers_below_zero_times_and_ports() -> None:
    deletion = decoded(body("v1", "DeleteOptions", field(1, -1) + field(4, b"Orphan")))
    assert (deletion["gracePeriodSeconds"], deletion["propagationPolicy"]) == (-1, "Orphan")
    owner = field(13, field(1, b"Pod") + field(3, b"p") + field(6, 1))
    times = field(1, field(8, field(1, 1_700_000_000)) + owner)
    ports = field(
        2, field(1, field(3, 80) + field(4, field(1, 1) + field(3, b"web"))) + field(1, field(4, field(2, 8)))
    )
    service = decoded(body("v1", "Service", times + ports))
    assert service["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert service["metadata"]["ownerReferences"] == [{"kind": "Pod", "name": "p", "controller": True}]
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": "web"}, {"targetPort": 8}]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b'{"kind": "Secret"}', "does not begin with k8s"),
        (body("v1", "Pod", b""), "Pod of v1 is read as JSON only"),
        (body("", "", b""), "an object of no apiVersion"),
        (body("v1", "Secret", field(99, b"x")), "field 99 of wire type 2 is not known"),
        (body("v1", "Secret", field(3, 1)), "field 3 of wire type 0 is not known"),
        (body("v1", "Secret", field(3, b"\xff")), "no UTF-8"),
        (body("v1", "Secret", field(1, field(8, field(1, 1 << 60)))), "a time is none"),
    ],
)
def test_what_is_not_read_is_refused(sent: bytes, said: str) -> None:
    with pytest.raises(NotReadable, match=said):
        decoded(sent)


def test_cut_and_damaged_bodies_are_refused_or_read_never_anything_else() -> None:
    whole, rng = body("v1", "Secret", SECRET), random.Random(1)
    for end in range(len(whole)):
        _tried(whole[:end])
    for _ in range(5_000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(4, len(damaged))] = rng.randrange(256)
        _tried(bytes(damaged))


def _tried(content: bytes) -> None:
    try:
        found = decoded(content)
    except NotReadable:
        return
    assert found["kind"] in ("Secret", "DeleteOptions", "ConfigMap")

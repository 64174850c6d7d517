"""The demo's next operation, from what there is."""

from dstk.cli.demo.story import Done, Held, neighbours, next_operation

WORKERS = ("worker-0", "worker-1", "worker-2")


def held(*owners: str) -> list[Held]:
    """Sixteen-bit keys cut evenly, one partition an owner, in key order."""
    step = 65536 // len(owners)
    bounds = [b"", *((step * i).to_bytes(2, "big") for i in range(1, len(owners))), b""]
    return [Held(f"p{i}", bounds[i], bounds[i + 1], f"worker-{owner}") for i, owner in enumerate(owners)]


def test_it_begins_with_a_move_from_the_fullest_to_the_emptiest_worker() -> None:
    spec = next_operation(held("0", "1", "0", "1", "0"), WORKERS, Done(), 2)
    assert spec == {
        "type": "InterWorkerMove",
        "moveParams": {"partition": "p0", "from": "worker-0", "to": "worker-2"},
    }


def test_then_it_splits_the_widest_partition_in_the_middle() -> None:
    spec = next_operation(held("0", "1"), WORKERS, Done(moves=1), 2)
    assert spec["splitParams"] == {"partition": "p0", "splitKey": "@"}  # 0x4000, and a trailing zero byte is padding


def test_it_merges_neighbours_of_one_worker_after_three_moves() -> None:
    spec = next_operation(held("0", "0", "1"), WORKERS, Done(splits=1, moves=3), 2)
    assert spec["mergeParams"] == {"partitions": ["p0", "p1"]}


def test_it_moves_on_while_no_two_neighbours_share_a_worker() -> None:
    spec = next_operation(held("0", "1", "0", "2"), WORKERS, Done(splits=1, moves=3), 2)
    assert spec["type"] == "InterWorkerMove"


def test_neighbours_share_a_bound_and_a_worker() -> None:
    gap = [Held("a", b"", b"\x10\x00", "w"), Held("b", b"\x20\x00", b"", "w")]
    assert neighbours(gap) is None
    assert neighbours(held("0", "1", "1")) == ("p1", "p2")


def test_it_is_enough_when_every_type_was_shown() -> None:
    assert not Done(splits=1, merges=0, moves=9).enough
    assert Done(splits=1, merges=1, moves=4).enough

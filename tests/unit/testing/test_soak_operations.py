"""What the operations driver does next, and what it leaves alone."""

import random

from dstk.testing.operations import Held, next_operation

WORKERS = ["worker-0", "worker-1", "worker-2"]
CUTS = [b"b", b"m", b"x"]


def cut(*owners: int) -> list[Held]:
    """Partitions a, b, c … with the letters as bounds, by the number of their worker."""
    last = len(owners) - 1
    return [
        Held(chr(97 + n), bytes([97 + n]) if n else b"", b"" if n == last else bytes([98 + n]), WORKERS[owner])
        for n, owner in enumerate(owners)
    ]


def types(partitions: list[Held], **limits: int) -> set[str]:
    """Every type that may come next."""
    found = (next_operation(random.Random(seed), partitions, WORKERS, CUTS, **limits) for seed in range(200))
    return {str(spec["type"]) for spec in found if spec is not None}


def test_all_three_are_done() -> None:
    assert types(cut(0, 0, 1, 1, 2)) == {"InWorkerSplit", "InWorkerMerge", "InterWorkerMove"}


def test_what_is_busy_is_left_alone() -> None:
    for seed in range(100):
        spec = next_operation(random.Random(seed), cut(0, 0, 0, 1, 1, 2), WORKERS, CUTS, busy={"a", "e"})
        assert spec is not None
        params = spec.get("splitParams") or spec.get("moveParams") or spec["mergeParams"]
        assert not {"a", "e"} & {params.get("partition"), *params.get("partitions", [])}


def test_only_neighbours_on_one_worker_are_merged() -> None:
    for seed in range(200):
        spec = next_operation(random.Random(seed), cut(0, 1, 1, 0, 2), WORKERS, CUTS)
        assert spec is not None
        if spec["type"] == "InWorkerMerge":
            assert spec["mergeParams"]["partitions"] == ["b", "c"]


def test_splits_are_inside_and_moves_go_elsewhere() -> None:
    partitions = {one.name: one for one in cut(0, 1, 2)}
    for seed in range(200):
        spec = next_operation(random.Random(seed), list(partitions.values()), WORKERS, [b"x"], fewest=2)
        assert spec is not None
        if spec["type"] == "InWorkerSplit":
            assert spec["splitParams"] == {"partition": "c", "splitKey": "x"}
        if spec["type"] == "InterWorkerMove":
            params = spec["moveParams"]
            assert params["from"] == partitions[params["partition"]].primary != params["to"]


def test_their_number_stays_within_bounds() -> None:
    assert "InWorkerSplit" not in types(cut(0, 0, 1), fewest=2, most=3)
    assert "InWorkerMerge" not in types(cut(0, 0, 1), fewest=3, most=9)


def test_nothing_to_do() -> None:
    assert next_operation(random.Random(1), [], WORKERS, CUTS) is None
    assert next_operation(random.Random(1), cut(0), WORKERS, CUTS, busy={"a"}) is None

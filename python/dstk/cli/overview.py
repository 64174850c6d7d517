"""What `dstk status` shows of what there is: which partitions, in which order, and what each worker has of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dstk import api, errors

__all__ = ["ORDERS", "Choice", "WorkerSum", "choose", "per_worker"]

NOBODY = "(nobody)"

ORDERS = {
    "key": None,
    "ops": lambda item: item.status.operations_per_second,
    "bytes-per-second": lambda item: item.status.bytes_per_second,
    "rows": lambda item: item.status.rows,
    "bytes": lambda item: item.status.bytes,
}
"""By what partitions can be sorted, the greatest first; by key: as they lie."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which partitions are asked for; an empty field asks for all."""

    keyspaces: Collection[str] = ()
    workers: Collection[str] = ()
    phases: Collection[str] = ()
    sort: str = "key"

    def takes(self, partition: api.Partition) -> bool:
        """Whether it is one of them."""
        spec = partition.spec
        return (
            (not self.keyspaces or spec.keyspace in self.keyspaces)
            and (not self.workers or bool({spec.primary, spec.proxy} & set(self.workers)))
            and (not self.phases or str(partition.status.phase or "") in self.phases)
        )

    def check(self, keyspaces: Collection[str], workers: Collection[str]) -> None:
        """Raises InvalidRequest for a keyspace or worker that there is not."""
        for what, named, known in (("keyspace", self.keyspaces, keyspaces), ("worker", self.workers, workers)):
            for name in named:
                if name not in known:
                    there = f"there are {', '.join(sorted(known))}" if known else "there are none"
                    raise errors.InvalidRequest(f"there is no {what} {name!r}; {there}")


@dataclass(slots=True)
class WorkerSum:
    """What a worker serves; rates are per second."""

    partitions: int = 0
    rows: int = 0
    bytes: int = 0
    operations: int = 0
    carried: int = 0
    note: str = ""


def choose(partitions: Iterable[api.Partition], choice: Choice) -> list[api.Partition]:
    """Those that are asked for, in the order that is asked for."""
    chosen = sorted(filter(choice.takes, partitions), key=_place)
    order = ORDERS[choice.sort]
    if order is not None:
        chosen.sort(key=order, reverse=True)
    return chosen


def per_worker(partitions: Sequence[api.Partition], notes: Mapping[str, str]) -> dict[str, WorkerSum]:
    """What each worker serves of the partitions; `notes` names the workers that there are, with a word on each."""
    sums = {name: WorkerSum(note=note) for name, note in notes.items()}
    for item in partitions:
        if item.spec.merged_away:
            continue
        name = item.spec.primary or NOBODY
        has = sums.setdefault(name, WorkerSum(note="" if name == NOBODY else "no pod"))
        has.partitions += 1
        has.rows += item.status.rows
        has.bytes += item.status.bytes
        has.operations += item.status.operations_per_second
        has.carried += item.status.bytes_per_second
    return dict(sorted(sums.items()))


def _place(partition: api.Partition) -> tuple[str, bytes, str]:
    start = partition.spec.range.start
    key = bytes.fromhex(start[2:]) if start.startswith("0x") else start.encode()
    return partition.spec.keyspace, key, partition.metadata.name

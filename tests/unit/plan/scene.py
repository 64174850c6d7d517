"""A cluster in a few words, and a world in which planned Assignments come true at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from dstk.api import (
    Assignment,
    AssignmentSpec,
    AssignmentType,
    Keyspace,
    Partition,
    child_name,
    decode,
)
from dstk.api.span import span_of
from dstk.keys import format_bound, parse_bound
from dstk.plan import Cluster, Load, Worker, plan
from dstk.span import Span

NOW = 1_000_000.0
KEY_LENGTH = 4


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def keyspace(name: str = "ks", cut: bool = True, initial: int = 0, **policy: Any) -> Keyspace:
    conditions = [{"type": "Cut", "status": "True", "reason": "Done", "lastTransitionTime": moment(0)}] if cut else []
    spec = {"keyLength": KEY_LENGTH, "partitions": {"initial": initial}, "policy": policy}
    return decode(
        Keyspace,
        {"metadata": {"name": name, "namespace": "ns"}, "spec": spec, "status": {"conditions": conditions}},
    )


def partition(
    name: str,
    start: str = "",
    end: str = "",
    primary: str | None = None,
    *,
    age: float = 1e5,
    proxy: str | None = None,
    epoch: int = 1,
    keyspace: str = "ks",
) -> Partition:
    spec: dict[str, Any] = {"keyspace": keyspace, "range": {"start": start, "end": end}, "epoch": epoch}
    spec |= {key: value for key, value in (("primary", primary), ("proxy", proxy)) if value}
    return decode(
        Partition,
        {"metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": moment(NOW - age)}, "spec": spec},
    )


def row(count: int, *owners: str | None, **more: Any) -> list[Partition]:
    """``count`` neighbours p00, p01, … over two-digit keys, owned in turn by ``owners``."""
    bounds = ["", *(f"{index:02d}" for index in range(1, count)), ""]
    return [
        partition(f"p{index:02d}", start, end, owners[index % len(owners)] if owners else None, **more)
        for index, (start, end) in enumerate(pairwise(bounds))
    ]


def workers(*names: str, **more: Any) -> list[Worker]:
    return [Worker(name, **more) for name in names]


def assignment(
    type_: str, phase: str | None = None, ago: float = 0.0, step: str = "loading", **params: Any
) -> Assignment:
    status: dict[str, Any] = {}
    if phase:
        status["phase"] = phase
    if phase in ("Completed", "Aborted"):
        status["finishedAt"] = moment(NOW - ago)
    if type_ == "InterWorkerMove":
        status["move"] = {"status": step}
    return decode(
        Assignment,
        {"metadata": {"name": f"{type_}-{phase}-{ago}".lower()}, "spec": {"type": type_, **params}, "status": status},
    )


def moving(name: str, source: str, to: str, phase: str | None = "Running", **more: Any) -> Assignment:
    return assignment("InterWorkerMove", phase, moveParams={"partition": name, "from": source, "to": to}, **more)


def said(assignments: Iterable[Assignment]) -> list[str]:
    """Each Assignment in a line, without its reason."""
    return [_line(assignment.spec) for assignment in assignments]


def _line(spec: AssignmentSpec) -> str:
    names = ",".join(spec.partitions)
    if spec.new_params:
        return f"New {names} on {spec.new_params.primary}"
    if spec.split_params:
        return f"Split {names} at {','.join(spec.split_params.keys)}"
    if spec.merge_params:
        return f"Merge {names}"
    assert spec.move_params is not None
    return f"Move {names} {spec.move_params.source}>{spec.move_params.to}"


def planned(cluster: Cluster, now: float = NOW) -> list[str]:
    return said(plan(cluster, now).assignments)


@dataclass
class World:
    """Carries plans out as the reconciler would, in no time; ``steps`` counts the Assignments of each type."""

    keyspace: Keyspace
    workers: list[Worker]
    partitions: dict[str, Partition] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    now: float = NOW
    steps: dict[AssignmentType, int] = field(default_factory=dict)

    def cluster(self) -> Cluster:
        return Cluster(
            keyspaces=[self.keyspace],
            partitions=list(self.partitions.values()),
            workers=self.workers,
            loads=self.loads,
        )

    def run(self, rounds: int) -> bool:
        """Plans and carries out until nothing is planned; whether that came to be within ``rounds``."""
        for _ in range(rounds):
            result = plan(self.cluster(), self.now)
            if not result.assignments:
                return True
            touched = [name for one in result.assignments for name in one.spec.partitions]
            assert len(touched) == len(set(touched)), f"two operations on one partition: {said(result.assignments)}"
            for one in result.assignments:
                self.steps[one.spec.type] = self.steps.get(one.spec.type, 0) + 1
                self._carry_out(one.spec)
            self.now += 1e6
        return False

    def _carry_out(self, spec: AssignmentSpec) -> None:
        if spec.new_params:
            for name in spec.partitions:
                self._own(name, spec.new_params.primary)
        elif spec.move_params:
            assert self.partitions[spec.move_params.partition].spec.primary == spec.move_params.source
            self._own(spec.move_params.partition, spec.move_params.to)
        elif spec.split_params:
            self._split(spec.split_params.partition, [parse_bound(key, KEY_LENGTH) for key in spec.split_params.keys])
        elif spec.merge_params:
            self._merge(spec.merge_params.partitions)

    def _own(self, name: str, worker: str) -> None:
        old = self.partitions[name]
        start, end = old.spec.range.start, old.spec.range.end
        self.partitions[name] = partition(name, start, end, worker, epoch=old.spec.epoch + 1)

    def _split(self, name: str, keys: list[bytes]) -> None:
        old, load = self.partitions.pop(name), self.loads.pop(name)
        span = span_of(old.spec.range, KEY_LENGTH)
        cuts = [span.start, *sorted(keys), span.end]
        pieces = [Span(start, end) for start, end in pairwise(cuts)]
        for piece in pieces:
            assert piece.start < piece.end or not piece.end
            self._create([name], piece, old.spec.epoch + 1, old.spec.primary)
            child = child_name("ks", [name], piece.start, piece.end, old.spec.epoch + 1)
            sample = [(key, weight) for key, weight in load.sample if piece.holds(key)]
            self.loads[child] = replace(
                load,
                rows=load.rows // len(pieces),
                bytes=load.bytes // len(pieces),
                operations_per_second=sum(weight for _, weight in sample),
                sample=sample,
                median_key=None,
            )

    def _merge(self, names: Iterable[str]) -> None:
        parts = [self.partitions.pop(name) for name in names]
        loads = [self.loads.pop(name) for name in names]
        spans = sorted(span_of(part.spec.range, KEY_LENGTH) for part in parts)
        assert all(lower.end == upper.start for lower, upper in pairwise(spans))
        owners = {part.spec.primary for part in parts}
        assert len(owners) == 1
        epoch, whole = max(part.spec.epoch for part in parts) + 1, Span(spans[0].start, spans[-1].end)
        self._create(names, whole, epoch, owners.pop())
        self.loads[child_name("ks", list(names), whole.start, whole.end, epoch)] = Load(
            rows=sum(load.rows for load in loads),
            bytes=sum(load.bytes for load in loads),
            operations_per_second=sum(load.operations_per_second for load in loads),
        )

    def _create(self, parents: Iterable[str], span: Span, epoch: int, primary: str | None) -> None:
        name = child_name("ks", list(parents), span.start, span.end, epoch)
        self.partitions[name] = partition(name, format_bound(span.start), format_bound(span.end), primary, epoch=epoch)

    def counts(self) -> Mapping[str, int]:
        """Partitions of each worker."""
        found = {worker.name: 0 for worker in self.workers}
        for one in self.partitions.values():
            assert one.spec.primary is not None
            found[one.spec.primary] += 1
        return found

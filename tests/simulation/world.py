"""A whole dstk in one process: what there is, what goes wrong with it, and whether it ends as it should."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace as with_

from dstk.api import (
    Assignment,
    AssignmentSpec,
    Condition,
    ConditionStatus,
    Durability,
    KeyRange,
    Keyspace,
    KeyspaceSpec,
    KeyspaceStatus,
    ObjectMeta,
    Partition,
    PartitionPhase,
    PartitionSpec,
    Policy,
)
from dstk.api.keyspace import PartitionCounts
from dstk.api.partition import PartitionStatus
from dstk.lifecycle import actions

from .api_server import ApiServer
from .checker import KEY_LENGTH, KEYS, Broken, Checker, span_of_partition
from .client import Client
from .clock import BEGINNING, Clock, Process, Reply, Steps
from .driver import is_final
from .network import Network
from .operator import Operator
from .pod import Answer, Disk, Operation, Pod
from .weather import CALM, Weather, kinds_of_incident
from .worker import Part

__all__ = ["PodObject", "World"]

CLIENTS = 3
END_SECONDS = 400.0
"""After the storm; what has not ended by then never will."""
MARGIN = 1.0
"""So long everything has to stay as it is at the end."""


class PodObject(Struct, frozen=True):
    """A worker's pod as the API server knows it."""

    metadata: ObjectMeta


class World:
    """`seed` decides everything; `weather` what goes wrong until the storm is over."""

    def __init__(self, seed: int, weather: Weather, workers: int = 3, keep_trace: bool = False) -> None:
        self.seed = seed
        self.clock = Clock(seed)
        self.storm = weather
        self.weather = weather
        self.lives = 0
        self.term = 0
        self.trace: list[str] | None = [] if keep_trace else None
        self.events: list[actions.Record] = []
        self.names = [f"pod{number}" for number in range(1, workers + 1)]
        self.plans = False
        self.to_come = 0
        """Parts of the story that are still to be told."""
        self.leaving: set[str] = set()
        self.hot: dict[bytes, float] = {}
        durability = Durability.DISK if weather.disk else Durability.MEMORY
        spec = KeyspaceSpec(key_length=KEY_LENGTH, proxy_seconds=2, durability=durability)
        self.keyspace = Keyspace(metadata=ObjectMeta(name="default", uid="ks"), spec=spec)
        self.api = ApiServer(self.clock, lambda: self.weather)
        self.network = Network(self)
        self.pods: dict[str, Pod] = {}
        self.disks: dict[str, Disk | None] = {}
        self.checker = Checker(self.pods, self.api.partitions)
        self.api.on_partition.append(lambda old, new: self.checker.suspect_all())
        self.operators: list[Operator] = []
        self._numbers = count(1)
        for name in self.names:
            self.disks[name] = Disk() if weather.disk else None
            self.create_pod(name)
            self.start_worker(name)

    # What stories say

    def add_partition(self, name: str, start: str, end: str, primary: str | None = None) -> None:
        """A Partition, which its primary serves already."""
        spec = PartitionSpec(range=KeyRange(start=start, end=end), primary=primary, epoch=1 if primary else 0)
        partition = Partition(metadata=ObjectMeta(name=name), spec=spec)
        if primary is not None:
            worker = self.pods[primary].worker
            status = PartitionStatus(phase=PartitionPhase.READY, incarnation=worker.incarnation)
            partition = with_(partition, status=status)
            span = span_of_partition(partition)
            worker.parts[name] = Part(name, span.start, span.end, "primary", 1)
            worker.changed.add(name)
            self.pods[primary].write_now()
        self.api.create("partitions", partition)

    def add_assignment(self, name: str, spec: AssignmentSpec) -> None:
        created = datetime.fromtimestamp(int(self.clock.now), UTC)
        assignment = Assignment(metadata=ObjectMeta(name=name, creation_timestamp=created), spec=spec)
        self.api.create("assignments", assignment)

    def later(self, seconds: float, name: str, spec: AssignmentSpec) -> None:
        self.to_come += 1
        self.clock.after(seconds, self._add_now, name, spec)

    def _add_now(self, name: str, spec: AssignmentSpec) -> None:
        self.to_come -= 1
        self.add_assignment(name, spec)

    def plan(self, policy: Policy) -> None:
        """Let the Assigner plan by this policy."""
        self.plans = True
        moment = datetime.fromtimestamp(self.clock.now, UTC)
        cut = Condition(
            type=Keyspace.CUT, status=ConditionStatus.TRUE, last_transition_time=moment, reason="Created", message=""
        )
        spec = with_(self.keyspace.spec, policy=policy, partitions=PartitionCounts(initial=2))
        self.keyspace = with_(self.keyspace, spec=spec, status=KeyspaceStatus(conditions=(cut,)))

    def heat(self, start: bytes, end: bytes) -> float:
        """Operations per second on a range."""
        return sum(rate for key, rate in self.hot.items() if start <= key and (not end or key < end))

    def middle(self, start: bytes, end: bytes) -> bytes | None:
        inside = [key for key in KEYS if start <= key and (not end or key < end)]
        return inside[len(inside) // 2] if len(inside) > 1 else None

    # Workers

    def create_pod(self, name: str) -> None:
        self.api.create("pods", PodObject(ObjectMeta(name=name)))

    def start_worker(self, name: str) -> None:
        if name not in self.pods and name in self.api.objects["pods"]:
            self.pods[name] = Pod(self, name, self.disks[name])
            self.checker.suspect_all()

    def kill_worker(self, name: str) -> None:
        pod = self.pods.pop(name)
        self.disks[name] = pod.die()
        if pod.disk is None:
            self.checker.lost(pod, vanishing=self.storm.vanished > 0)
        self.checker.suspect_all()

    # Messages of clients and workers

    def to_pod(self, name: str, operation: Operation, hops: int = 3) -> None:
        """A client's request on its way to a worker."""
        self.clock.after(0.001 + 0.01 * self.clock.random.random(), self._arrive, name, operation, hops)

    def _arrive(self, name: str, operation: Operation, hops: int) -> None:
        pod = self.pods.get(name)
        if pod is None or not pod.receive(pod.serve, operation, hops):
            operation.answer(Answer("no"))

    def to_client(self, reply: Reply, answer: Answer) -> None:
        if answer.said == "no" or self.clock.random.random() >= self.weather.client_unanswered:
            self.clock.after(0.001 + 0.01 * self.clock.random.random(), reply.succeed, answer)

    def back(self, call: Callable[[Any], None], value: Any) -> None:
        """An answer on its way back."""
        self.clock.after(0.001 + 0.01 * self.clock.random.random(), call, value)

    # Operators

    def new_operator(self) -> None:
        """The lease is somebody else's from now on. Those that had it are gone, or have not noticed yet."""
        random = self.clock.random
        for old in self.operators:
            if random.random() < self.weather.operator_lingers:
                self.clock.after(random.choice((0.1, 1.0, 5.0, 12.0)), self._end_operator, old)
            else:
                self._end_operator(old)
        self.term += 1
        successor = Operator(self, self.term)
        self.operators.append(successor)
        successor.start()

    def _end_operator(self, operator: Operator) -> None:
        if operator.alive:
            operator.end()
            self.operators.remove(operator)

    # Weather

    def _storm(self) -> Steps:
        """One incident after the other, until it is over."""
        random, storm = self.clock.random, self.storm
        rates = [(name, getattr(storm, name)) for name in kinds_of_incident()]
        rates = [(name, rate) for name, rate in rates if rate]
        total = sum(rate for _, rate in rates)
        until = self.clock.now + storm.storm_seconds
        while total:
            yield random.expovariate(total / 60)
            if self.clock.now >= until:
                break
            name = random.choices([name for name, _ in rates], [rate for _, rate in rates])[0]
            self.note("-- %s", name)
            getattr(self, f"_{name}")()
        yield max(until - self.clock.now, 0.0)
        self._clear_up()

    def _clear_up(self) -> None:
        self.note("-- the storm is over")
        self.weather = CALM
        for operator in self.operators:
            operator.paused_until = min(operator.paused_until, self.clock.now + 3.0)

    def _some_pod(self) -> Pod | None:
        return self.clock.random.choice(list(self.pods.values())) if self.pods else None

    def _operator_crash(self) -> None:
        self.new_operator()

    def _operator_pause(self) -> None:
        operator = self.clock.random.choice(self.operators)
        operator.paused_until = self.clock.now + self.clock.random.choice((0.3, 1.5, 5.0, 12.0))
        if self.clock.random.random() < 0.5:
            # Somebody else takes the lease; this one wakes up and does not know.
            self.clock.after(self.clock.random.choice((0.2, 1.0)), self.new_operator)

    def _worker_crash(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.clock.after(self.clock.random.choice((0.05, 0.5)), self.start_worker, pod.name)

    def _worker_away(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.clock.after(self.clock.random.choice((2.0, 8.0)), self.start_worker, pod.name)

    def _worker_pause(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.paused_until = self.clock.now + self.clock.random.choice((0.3, 1.0, 3.0, 8.0))

    def _worker_slow(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.slow_until = self.clock.now + self.clock.random.choice((1.0, 5.0))

    def _worker_full(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.full_until = self.clock.now + self.clock.random.choice((1.0, 5.0))

    def _pod_deleted(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.api.delete("pods", pod.name)
            self.clock.after(self.clock.random.choice((0.5, 3.0, 15.0)), self._new_pod, pod.name)

    def _new_pod(self, name: str) -> None:
        if name not in self.api.objects["pods"]:
            self.create_pod(name)
        self.start_worker(name)

    def _unreachable(self) -> None:
        name = self.clock.random.choice(self.names)
        self.network.unreachable[name] = self.clock.now + self.clock.random.choice((0.5, 2.0, 6.0))

    def _stream_broken(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            for part in pod.worker.parts.values():
                if part.stream:
                    part.error = "connection reset"

    def _labelled(self) -> None:
        if self.api.partitions:
            name = self.clock.random.choice(sorted(self.api.partitions))
            self.api.replace("partitions", name, lambda partition: partition)

    def _running(self) -> list[Assignment]:
        return [each for each in self.api.objects["assignments"].values() if not is_final(each)]

    def _cancelled(self) -> None:
        running = [each for each in self._running() if each.metadata.deletion_timestamp is None]
        if running:
            moment = datetime.fromtimestamp(self.clock.now, UTC)
            self.api.replace(
                "assignments",
                self.clock.random.choice(running).metadata.name,
                lambda it: with_(it, metadata=with_(it.metadata, deletion_timestamp=moment)),
            )

    def _vanished(self) -> None:
        running = self._running()
        if running:
            self.api.delete("assignments", self.clock.random.choice(running).metadata.name)

    # Time

    def note(self, text: str, *arguments: object) -> None:
        """A line of the trace, when it is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.clock.now - BEGINNING:9.3f} {text % arguments}")

    def run(self) -> None:
        """To the end. Raises Broken."""
        clock = self.clock
        self.new_operator()
        users = Process()
        for _ in range(CLIENTS):
            client = Client(self, self._numbers)
            clock.spawn(client, client.run())
        clock.spawn(users, self._storm())
        ends = clock.now + self.storm.storm_seconds + END_SECONDS
        calm = clock.now + self.storm.storm_seconds
        checked, good_since = clock.now, None
        while True:
            clock.run_one()
            self.checker.check()
            if clock.now - checked >= 0.5 and clock.now >= calm:
                checked = clock.now
                trouble = self.trouble()
                if trouble is None:
                    good_since = good_since or clock.now
                    if clock.now - good_since >= MARGIN:
                        return
                else:
                    good_since = None
                    if clock.now >= ends:
                        raise Broken(f"E: {trouble}")

    def trouble(self) -> str | None:
        """What is not yet as it should be at the end."""
        if self.to_come or self.plans:
            return "the story goes on"
        if self.network.late or self.api.late:
            return "calls are under way"
        if len(self.pods) < len(self.names):
            return "a worker is away"
        for each in self._running():
            status = each.status
            return f"{each.metadata.name} is {status.phase} {status.step or ''} {status.reason}: {status.message}"
        return self._out_of_line()

    def _out_of_line(self) -> str | None:
        owned = set()
        for name, partition in self.api.partitions.items():
            owner = partition.spec.primary
            if not owner:
                continue
            owned.add((owner, name))
            part = self.pods[owner].worker.parts.get(name)
            if part is None or not part.accepts or part.epoch != partition.spec.epoch:
                return f"{name} belongs to {owner} at epoch {partition.spec.epoch}, which holds {part}"
        held = {(pod.name, name) for pod in self.pods.values() for name in pod.worker.parts}
        if held != owned:
            return f"held but not owned: {sorted(held - owned)}"
        return None

"""A whole dstk in one process: what there is, what goes wrong with it, and whether it ends as it should."""

from __future__ import annotations

import asyncio
import logging
import random as randomness
import shutil
import tempfile
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace as with_

from dstk._core import ManualClock
from dstk.api import (
    ACCEPT_LOSS_ANNOTATION,
    CORDONED_ANNOTATION,
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
    to_dict,
)
from dstk.api.keyspace import Failover, Mode, PartitionCounts
from dstk.api.losses import acceptance, is_accepted, loss_of
from dstk.api.partition import PartitionStatus
from dstk.operator.cluster import is_finished

from .api_server import ApiServer, Body, Snapshot
from .checker import KEY_LENGTH, Broken, Checker, span_of_partition
from .client import Client
from .loop import BEGINNING, VirtualLoop
from .network import Network
from .operators import SETTINGS, OperatorProcess
from .pod import KEYSPACE, Answer, Operation, Pod
from .weather import CALM, Weather, kinds_of_incident

__all__ = ["World"]

CLIENTS = 3
END_SECONDS = 400.0
"""After the storm; what has not ended by then never will."""
MARGIN = 1.0
"""So long everything has to stay as it is at the end."""
LEASE_SECONDS = 3
SNAPSHOT_SECONDS = 1.5
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the disks of a world are: in memory. What a crash may lose of them the node does not even write."""


class World:
    """`seed` decides everything; `weather` what goes wrong until the storm is over."""

    def __init__(self, seed: int, weather: Weather, workers: int = 3, keep_trace: bool = False) -> None:
        self.seed = seed
        self.random = randomness.Random(seed)
        # What waits before it tries again draws from the module's generator.
        randomness.seed(seed)
        self.node_clock = ManualClock()
        self.node_clock.set(1)
        self.loop = VirtualLoop(self._checked, lambda now: self.node_clock.set(1 + int(now * 1e9)))
        self.storm = weather
        self.weather = weather
        self.lives = 0
        self.numbers = count(1)
        self.trace: list[str] | None = [] if keep_trace else None
        self.failure: BaseException | None = None
        self.names = [f"pod{number}" for number in range(1, workers + 1)]
        self.plans = False
        self.to_come = 0
        """Parts of the story that are still to be told."""
        self.hot: list[bytes] = []
        self.operator_settings = SETTINGS
        self.api = ApiServer(self.loop, self.random, lambda: self.weather)
        self.network = Network(self)
        self.pods: dict[str, Pod] = {}
        self.zombies: dict[str, Pod] = {}
        """Processes whose pods were deleted by force."""
        self.checker = Checker(self.pods, self.zombies, self.api.partitions)
        self.api.on_partition.append(self._on_partition)
        self.operators: list[OperatorProcess] = []
        self._snapshots: list[Snapshot] = []
        self._disk_copies: dict[str, Path] = {}
        self._addresses = count(1)
        self._disks = Path(tempfile.mkdtemp(prefix="dstk-world-", dir=MEMORY)) if weather.disk else None
        spec = KeyspaceSpec(
            key_length=KEY_LENGTH,
            proxy_seconds=2,
            durability=Durability.DISK if weather.disk else Durability.MEMORY,
            failover=Failover.LEASE if weather.lease else Failover.CONFIRMED,
            lease_seconds=LEASE_SECONDS,
            policy=Policy(mode=Mode.OFF),
        )
        self._make_keyspace(Keyspace(metadata=ObjectMeta(name=KEYSPACE), spec=spec))
        for name in self.names:
            self.create_pod(name)
            self.start_worker(name)

    def close(self) -> None:
        """Nothing runs any more."""
        for pod in (*self.pods.values(), *self.zombies.values()):
            pod.alive = False
            if pod.directory is not None:
                pod.node.crash(False)
        self.loop.close()
        if self._disks is not None:
            shutil.rmtree(self._disks)

    def fail(self, error: BaseException) -> None:
        """Something has ended that never may."""
        self.failure = self.failure or error

    # What stories say

    def _make_keyspace(self, keyspace: Keyspace) -> None:
        moment = BEGINNING + timedelta(seconds=self.loop.time())
        cut = Condition(
            type=Keyspace.CUT, status=ConditionStatus.TRUE, last_transition_time=moment, reason="Created", message=""
        )
        self.api.create("keyspaces", to_dict(with_(keyspace, status=KeyspaceStatus(conditions=(cut,)))), status=True)

    def add_partition(self, name: str, start: str, end: str, primary: str | None = None) -> None:
        """A Partition, which its primary serves already."""
        epoch = 1 if primary else 0
        spec = PartitionSpec(keyspace=KEYSPACE, range=KeyRange(start=start, end=end), primary=primary, epoch=epoch)
        partition = Partition(metadata=ObjectMeta(name=name), spec=spec)
        if primary is not None:
            pod, span = self.pods[primary], span_of_partition(partition)
            status = PartitionStatus(phase=PartitionPhase.READY, incarnation=pod.incarnation)
            partition = with_(partition, status=status)
            pod.node.set_lease(KEYSPACE, KEY_LENGTH, LEASE_SECONDS if self.storm.lease else 0.0)
            pod.node.serve(KEYSPACE, name, 1, KEY_LENGTH, span.start, span.end, self.storm.disk)
            pod.write_now()
        self.api.create("partitions", to_dict(partition), status=True)

    def add_assignment(self, name: str, spec: AssignmentSpec) -> None:
        assignment = Assignment(metadata=ObjectMeta(name=name), spec=spec)
        self.api.create("assignments", to_dict(assignment), status=True)

    def later(self, seconds: float, name: str, spec: AssignmentSpec) -> None:
        self.to_come += 1
        self.loop.outside(seconds, self._add_now, name, spec)

    def _add_now(self, name: str, spec: AssignmentSpec) -> None:
        self.to_come -= 1
        self.add_assignment(name, spec)

    def plan(self, policy: Policy) -> None:
        """Let the Assigner plan by this policy."""
        self.plans = True
        spec = {
            "policy": {**to_dict(policy), "mode": Mode.AUTO.value},
            "partitions": to_dict(PartitionCounts(initial=2)),
        }
        self.api.patch("keyspaces", KEYSPACE, {"spec": spec})

    def plan_no_more(self) -> None:
        self.plans = False
        self.api.patch("keyspaces", KEYSPACE, {"spec": {"policy": {"mode": Mode.OFF.value}}})

    def seen_assignments(self, name: str) -> list[Assignment]:
        """Every state that an Assignment has been in."""
        changes = ((kind, item) for _, kind, _, item in self.api.log if kind == "assignments")
        return [msgspec.convert(item, Assignment) for _, item in changes if item["metadata"]["name"] == name]

    def cordon(self, names: set[str]) -> None:
        """These workers leave, and no others."""
        for name in self.names:
            if name in self.api.objects["pods"]:
                value = "true" if name in names else None
                self.api.patch("pods", name, {"metadata": {"annotations": {CORDONED_ANNOTATION: value}}})

    # Workers

    def create_pod(self, name: str) -> None:
        number = next(self._addresses)
        ports = [{"name": "control", "containerPort": 7071}, {"name": "data", "containerPort": 7070}]
        body: Body = {
            "metadata": {"name": name, "labels": {}},
            "spec": {"containers": [{"name": "worker", "ports": ports}]},
            "status": {"phase": "Running", "podIP": f"10.0.{number // 250}.{number % 250 + 1}"},
        }
        self.api.create("pods", body)

    def start_worker(self, name: str) -> None:
        body = self.api.objects["pods"].get(name)
        if name in self.pods or body is None:
            return
        directory = self._disks / name if self._disks is not None else None
        pod = Pod(self, name, body["metadata"]["uid"], body["status"]["podIP"], directory)
        self.pods[name] = pod
        self.network.listening[pod.address_of_control] = pod
        self.checker.suspect_all()

    def kill_worker(self, name: str) -> None:
        pod = self.pods.pop(name)
        pod.die()
        self.network.listening.pop(pod.address_of_control, None)
        if pod.directory is None:
            self.checker.lost(pod, vanishing=self.storm.vanished > 0)
        self.checker.suspect_all()

    def _on_partition(self, old: Partition | None, new: Partition | None) -> None:
        if self.storm.lease and old is not None and new is not None and old.spec != new.spec:
            self.checker.given_away(old, new)
        self.checker.suspect_all()

    # Messages of clients and workers

    def to_pod(self, name: str, operation: Operation, hops: int = 3) -> None:
        """A client's request on its way to a worker."""
        self.loop.outside(0.001 + 0.01 * self.random.random(), self._arrive, name, operation, hops)

    def _arrive(self, name: str, operation: Operation, hops: int) -> None:
        pod = self.pods.get(name)
        if name in self.zombies and self.random.random() < 0.5:
            pod = self.zombies[name]
        if pod is None or not pod.receive(operation, hops):
            operation.answer(Answer("no"))

    def to_client(self, reply: asyncio.Future[Answer], answer: Answer) -> None:
        if answer.said == "no" or self.random.random() >= self.weather.client_unanswered:
            self.loop.outside(0.001 + 0.01 * self.random.random(), _settle, reply, answer)

    # Operators

    def new_operator(self) -> None:
        """Another process is to lead. Those that did are gone; or they are cut off from the API server, and go on for as
        long as they may."""
        random = self.random
        for old in list(self.operators):
            if not old.forced and random.random() < self.weather.operator_lingers:
                old.cut_off(random.choice((0.1, 1.0, 5.0, 12.0)))
            else:
                old.end()
                self.operators.remove(old)
        # Who is known to be the only one need not wait until the lease has run out.
        self._start_operator(forced=not self.operators and random.random() < 0.5)

    def _start_operator(self, *, forced: bool) -> None:
        self.operators.append(OperatorProcess(self, forced=forced, on_end=self._operator_ended))

    def _operator_ended(self, operator: OperatorProcess) -> None:
        """It has lost its lease, and begins again as any container does."""
        self.operators.remove(operator)
        if not self.operators:
            self._start_operator(forced=False)

    # Weather

    async def _storm(self) -> None:
        """One incident after the other, until it is over."""
        random, storm, loop = self.random, self.storm, self.loop
        rates = [(name, getattr(storm, name)) for name in kinds_of_incident()]
        rates = [(name, rate) for name, rate in rates if rate]
        total = sum(rate for _, rate in rates)
        until = loop.time() + storm.storm_seconds
        while total:
            await asyncio.sleep(random.expovariate(total / 60))
            if loop.time() >= until:
                break
            name = random.choices([name for name, _ in rates], [rate for _, rate in rates])[0]
            self.note("-- %s", name)
            getattr(self, f"_{name}")()
        await asyncio.sleep(max(until - loop.time(), 0.0))
        self._clear_up()

    def _clear_up(self) -> None:
        self.note("-- the storm is over")
        self.weather = CALM
        for operator in self.operators:
            operator.paused_until = min(operator.paused_until, self.loop.time() + 3.0)

    def _some_pod(self) -> Pod | None:
        return self.random.choice(list(self.pods.values())) if self.pods else None

    def _operator_crash(self) -> None:
        self.new_operator()

    def _operator_pause(self) -> None:
        if not self.operators:
            return
        operator = self.random.choice(self.operators)
        operator.paused_until = self.loop.time() + self.random.choice((0.3, 1.5, 5.0, 12.0))
        if self.random.random() < 0.5:
            # Somebody else takes the lease; this one wakes up and does not know.
            self.loop.outside(self.random.choice((0.2, 1.0)), self.new_operator)

    def _worker_crash(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.loop.outside(self.random.choice((0.05, 0.5)), self.start_worker, pod.name)

    def _worker_away(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.loop.outside(self.random.choice((2.0, 8.0)), self.start_worker, pod.name)

    def _worker_pause(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.paused_until = self.loop.time() + self.random.choice((0.3, 1.0, 3.0, 8.0))

    def _worker_slow(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.slow_until = self.loop.time() + self.random.choice((1.0, 5.0))

    def _pod_deleted(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            self.kill_worker(pod.name)
            self.api.remove("pods", pod.name)
            self.loop.outside(self.random.choice((0.5, 3.0, 15.0)), self._new_pod, pod.name)

    def _pod_forced(self) -> None:
        """Clients that are connected to the process go on, and the operator no longer knows its address."""
        pod = self._some_pod()
        if pod is not None and pod.name not in self.zombies:
            self.zombies[pod.name] = self.pods.pop(pod.name)
            self.api.remove("pods", pod.name)
            self.loop.outside(self.random.choice((0.5, 3.0)), self._new_pod, pod.name)
            self.loop.outside(self.random.choice((1.0, 10.0, 20.0)), self._end_zombie, pod.name)

    def _end_zombie(self, name: str) -> None:
        pod = self.zombies.pop(name)
        pod.die()
        self.network.listening.pop(pod.address_of_control, None)
        self.checker.lost(pod, vanishing=False)
        self.checker.suspect_all()

    def _new_pod(self, name: str) -> None:
        if name not in self.api.objects["pods"]:
            self.create_pod(name)
        self.start_worker(name)

    def _unreachable(self) -> None:
        name = self.random.choice(self.names)
        self.network.unreachable[name] = self.loop.time() + self.random.choice((0.5, 2.0, 6.0))

    def _stream_broken(self) -> None:
        pod = self._some_pod()
        if pod is not None:
            pod.break_streams()

    def _labelled(self) -> None:
        if self.api.partitions:
            self.api.touch("partitions", self.random.choice(sorted(self.api.partitions)))

    def _running(self) -> list[Assignment]:
        return [each for each in self.api.assignments.values() if not is_finished(each)]

    def _cancelled(self) -> None:
        running = [each for each in self._running() if each.metadata.deletion_timestamp is None]
        if running:
            self.api.delete("assignments", self.random.choice(running).metadata.name)

    def _vanished(self) -> None:
        running = self._running()
        if running:
            self.api.remove("assignments", self.random.choice(running).metadata.name)

    def _keyspace_remade(self) -> None:
        """Somebody deletes the Keyspace, and makes it again."""
        found = self.api.objects["keyspaces"].get(KEYSPACE)
        if found is not None:
            self.api.remove("keyspaces", KEYSPACE)
            keyspace = Keyspace(metadata=ObjectMeta(name=KEYSPACE), spec=_spec(found))
            self.to_come += 1
            self.loop.outside(self.random.choice((0.1, 1.0, 4.0)), self._remake_keyspace, keyspace)

    def _remake_keyspace(self, keyspace: Keyspace) -> None:
        self.to_come -= 1
        self._make_keyspace(keyspace)

    def _api_restored(self) -> None:
        """The API server comes back as it was a while ago; nodes tell it of their pods, as they are."""
        if self._snapshots:
            pods = dict(self.api.objects["pods"])
            self.checker.set_back()
            self.api.restore(self.random.choice(self._snapshots), pods)
            self._snapshots.clear()

    def _disk_set_back(self) -> None:
        """A volume is restored from a snapshot of it."""
        found = [pod for pod in self.pods.values() if pod.name in self._disk_copies]
        if not found or self._disks is None:
            return
        name = self.random.choice(found).name
        self.kill_worker(name)
        shutil.rmtree(self._disks / name)
        shutil.copytree(self._disk_copies[name], self._disks / name)
        self.loop.outside(self.random.choice((0.05, 2.0)), self.start_worker, name)

    async def _keep_disk_copies(self) -> None:
        """How far a disk is, is written down now and then: a copy that is no older than that cannot be told from it."""
        assert self._disks is not None
        for number in count():
            await asyncio.sleep(self.random.choice((1.0, 4.0, 8.0)))
            name = self.random.choice(self.names)
            if name in self.pods:
                copy = self._disks / f"copy{number}"
                shutil.copytree(self._disks / name, copy)
                self.loop.outside(8 * SETTINGS.floor_interval, self._disk_copies.__setitem__, name, copy)

    async def _accept_losses(self) -> None:
        """What is lost with a disk waits until somebody says yes to that."""
        while True:
            await asyncio.sleep(2.0)
            for name, partition in list(self.api.partitions.items()):
                loss = loss_of(partition)
                if loss is not None and not is_accepted(partition):
                    self.note("somebody accepts the loss of %s", name)
                    self.checker.accepted(partition)
                    annotation = {ACCEPT_LOSS_ANNOTATION: acceptance(loss)}
                    self.api.patch("partitions", name, {"metadata": {"annotations": annotation}})

    async def _keep_snapshots(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            self._snapshots.append(self.api.snapshot())

    # Time

    def note(self, text: str, *arguments: object) -> None:
        """A line of the trace, when it is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():9.3f} {text % arguments}")

    def _checked(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.checker.check()

    def spawn(self, work: Any) -> None:
        """Something that goes on beside everything else."""
        task = self.loop.spawn(work)
        task.add_done_callback(lambda done: done.cancelled() or self._end_of(done))

    def _end_of(self, done: asyncio.Task[Any]) -> None:
        error = done.exception()
        if error is not None:
            self.fail(error)

    def run(self) -> None:
        """To the end. Raises Broken."""
        quiet = logging.root.manager.disable
        if self.trace is None:
            logging.disable(logging.CRITICAL)
        try:
            self._start_operator(forced=True)
            for _ in range(CLIENTS):
                self.spawn(Client(self).run())
            if self.storm.api_restored:
                self.spawn(self._keep_snapshots())
            if self.storm.disk_set_back:
                self.spawn(self._keep_disk_copies())
            if self.storm.disk:
                self.spawn(self._accept_losses())
            self.spawn(self._storm())
            self.watch()
            self.loop.run_until_complete(self.loop.spawn(self._until_good()))
        finally:
            logging.disable(logging.CRITICAL)
            self.close()
            logging.disable(quiet)

    def watch(self) -> None:
        """For what a test adds."""

    async def _until_good(self) -> None:
        calm = self.loop.time() + self.storm.storm_seconds
        await asyncio.sleep(self.storm.storm_seconds)
        good_since: float | None = None
        while True:
            await asyncio.sleep(0.5)
            trouble = self.trouble()
            if trouble is not None:
                good_since = None
                if self.loop.time() >= calm + END_SECONDS:
                    raise Broken(f"E: {trouble}")
                continue
            good_since = good_since or self.loop.time()
            if self.loop.time() - good_since >= MARGIN:
                return

    def trouble(self) -> str | None:
        """What is not yet as it should be at the end."""
        if self.to_come or self.plans:
            return "the story goes on"
        if self.network.late or self.api.late:
            return "calls are under way"
        if len(self.pods) < len(self.names) or self.zombies:
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
            state = self.pods[owner].parts().get(name)
            accepts = state is not None and state.role == "primary" and not state.fenced
            if state is None or not accepts or state.epoch != partition.spec.epoch:
                return f"{name} belongs to {owner} at epoch {partition.spec.epoch}, which holds {state}"
            if partition.status.phase is not PartitionPhase.READY:
                return f"{name} is said to be {partition.status.phase}"
        held = {(pod.name, name) for pod in self.pods.values() for name in pod.parts()}
        if held != owned:
            return f"held but not owned: {sorted(held - owned)}"
        return None


def _settle(reply: asyncio.Future[Answer], answer: Answer) -> None:
    if not reply.done():
        reply.set_result(answer)


def _spec(body: Body) -> KeyspaceSpec:
    return msgspec.convert(body["spec"], KeyspaceSpec)

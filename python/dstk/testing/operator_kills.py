"""Splits, merges and moves whose operator is struck in the middle of them: all have to end right.

``python -m dstk.testing.operator_kills --operations 1000`` keeps two operators that elect a leader. A few operations
begin together on small partitions; when one of them, drawn beforehand, has come to a step that was drawn too, the
leader is killed by SIGKILL, or stands still or is cut off from the API server for longer than its lease. Another takes
over, or the killed one's next life does. Then each operation must have done what it was asked for, once, or have
changed nothing and say so, and a verifying load must not have noticed. An operation counts when the strike has met it
before its end. The last line of standard output is one JSON object; exit code 0 only if all of that holds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstk import aio, api, kube
from dstk.local.apiserver.files import poll
from dstk.testing.invariants import Watcher, uncovered
from dstk.testing.load import LoadSettings, VerifyingLoad
from dstk.testing.nemesis import KINDS, RECONCILER_LEASE, CutLeader, Fault, OperatorKill, OperatorPause, Target
from dstk.testing.operations import ASSIGNMENTS, PARTITIONS, held, next_operation
from dstk.testing.shared import shared_key
from dstk.testing.soak import KEY_LENGTH, SoakSettings, conclude, faulty_cluster

__all__ = ["LEADER_FAULTS", "OperatorKillSettings", "faults_of", "main", "operator_kills"]

STEPS = ("created", "loading", "following", "proxying", "completed")
"""What the status of an operation goes through; not every type shows every step."""

LEADER_FAULTS = (OperatorKill.kind, OperatorPause.kind, CutLeader.kind)

_PARTITIONS = 18
_TELL_BATCHES = 10
_LOOK_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class OperatorKillSettings:
    """What is done. Seconds unless a name says otherwise."""

    operations: int = 1000
    seed: int = 1
    durability: str = "Memory"
    workers: int = 3
    at_once: int = 6
    """Operations that begin together."""
    lease_seconds: float = 1.0
    keys: int = 3000
    rate: float = 200.0
    """Operations a second of the verifying load at most."""
    faults: tuple[str, ...] = (OperatorKill.kind,)
    """What strikes the leader."""
    end_seconds: float = 60.0
    """Within this after a strike every operation has ended."""


@dataclass(slots=True)
class Tally:
    """What came of the operations so far."""

    operations: int = 0
    """Met by a strike before their end."""
    undisturbed: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    hand_overs: list[float] = field(default_factory=list)
    """Seconds from each strike until another has the lease."""
    phases: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    """Type and step at which the strike met them."""
    wrong: list[str] = field(default_factory=list)


def faults_of(ended: api.Assignment, before: Sequence[api.Partition], after: Sequence[api.Partition]) -> list[str]:
    """What is wrong with the partitions after an operation, given those before it."""
    was = {each.metadata.name: each for each in before}
    now = {each.metadata.name: each for each in after}
    name, spec, phase = ended.metadata.name, ended.spec, ended.status.phase
    if phase is api.AssignmentPhase.ABORTED:
        return [
            f"{name} was aborted ({ended.status.reason}), but {part} has changed"
            for part in spec.partitions
            if part not in now or now[part].spec.primary != was[part].spec.primary or now[part].spec.proxy
        ]
    if phase is not api.AssignmentPhase.COMPLETED:
        return [f"{name} is {phase} {ended.status.reason}: {ended.status.message}"]
    if spec.move_params is not None:
        partition = now.get(spec.move_params.partition)
        if partition is None or partition.spec.primary != spec.move_params.to or partition.spec.proxy:
            return [f"{name} was completed, but {spec.move_params.partition} is not with {spec.move_params.to} alone"]
        return _done_once(ended, was, [partition])
    return [
        *(f"{name} was completed, but {part} is still there" for part in spec.partitions if part in now),
        *(f"{name} was completed, but there is no {part}" for part in spec.creates if part not in now),
        *_done_once(ended, was, [now[part] for part in spec.creates if part in now]),
    ]


def _done_once(ended: api.Assignment, was: Mapping[str, api.Partition], after: Iterable[api.Partition]) -> list[str]:
    """Each time that an operation is done takes one more epoch."""
    epoch = max(was[part].spec.epoch for part in ended.spec.partitions if part in was)
    return [
        f"{ended.metadata.name} was completed, but {each.metadata.name} went from epoch {epoch} to {each.spec.epoch}"
        for each in after
        if each.spec.epoch != epoch + 1
    ]


class OperatorKills:
    """One run against a cluster that is up."""

    def __init__(self, settings: OperatorKillSettings, target: Target, connection: kube.Connection) -> None:
        self.tally = Tally()
        self._settings = settings
        self._target = target
        self._assignments = kube.Objects(connection, ASSIGNMENTS, connection.namespace)
        self._partitions = kube.Objects(connection, PARTITIONS, connection.namespace)
        self._leases = kube.Objects(connection, kube.LEASES, connection.namespace)
        self._chance = random.Random(f"operator kills/{settings.seed}")
        self._cuts = [shared_key(number, KEY_LENGTH) for number in range(256)]
        self._number = 0

    async def served(self) -> bool:
        """Every key has one partition, and it is ready."""
        return not uncovered(await self._partitions.list_all(), KEY_LENGTH)

    async def batch(self) -> None:
        """Some operations at once, a strike, and what came of them."""
        before = await self._partitions.list_all()
        names = await self._create(before)
        aim, step = self._chance.choice(names), self._chance.choice(STEPS[:-1])
        await self._reached(aim, step)
        await asyncio.sleep(self._chance.random() ** 3 * 0.1)
        met = {each.metadata.name: _step(each) for each in await self._ours(names) if not each.finished}
        await self._strike()
        ended = await self._ended(names)
        self.tally.wrong += await self._settled()
        self._judge(ended, met, before, await self._partitions.list_all())
        for each in ended:
            await self._assignments.delete(each.metadata.name, uid=each.metadata.uid)

    async def _create(self, before: Sequence[api.Partition]) -> list[str]:
        busy: set[str] = set()
        names: list[str] = []
        partitions = held(before, KEY_LENGTH)
        for _ in range(self._settings.at_once):
            spec = next_operation(
                self._chance, partitions, self._target.workers(), self._cuts, busy=busy,
                fewest=_PARTITIONS // 2, most=_PARTITIONS + _PARTITIONS // 2,
            )  # fmt: skip
            if spec is None:
                break
            self._number += 1
            names.append(f"killed-{self._number:05}")
            created = await self._assignments.create({"metadata": {"name": names[-1]}, "spec": spec})
            busy |= set(created.spec.partitions)
        return names

    async def _ours(self, names: Sequence[str]) -> list[api.Assignment]:
        return [each for each in await self._assignments.list_all() if each.metadata.name in names]

    async def _reached(self, name: str, step: str) -> None:
        """Wait until the operation is at that step, or past it."""

        async def there() -> bool:
            each = await self._assignments.get(name)
            return each.finished or STEPS.index(_step(each)) >= STEPS.index(step)

        async with asyncio.timeout(self._settings.end_seconds):
            await poll(there, 0.003)

    async def _strike(self) -> None:
        """The leader is struck until another leads, and a while longer; how long it takes is noted."""
        fault_type = KINDS[self._chance.choice(self._settings.faults)]
        async with asyncio.timeout(self._settings.end_seconds):
            fault, leader = await self._aim(fault_type)
        began = time.monotonic()
        await fault.start()
        try:
            async with asyncio.timeout(self._settings.end_seconds):
                await poll(lambda: self._led_by_another(leader), 0.01)
            self.tally.struck[fault_type.kind] += 1
            self.tally.hand_overs.append(time.monotonic() - began)
            await asyncio.sleep(self._chance.random() * self._settings.lease_seconds)
        finally:
            await fault.stop()

    async def _aim(self, fault_type: type[Fault]) -> tuple[Fault, str]:
        """A fault that hits the leader, once there is one whose process runs, and the leader's identity."""

        async def aimed() -> tuple[Fault, str] | None:
            leader, fault = await self._leader(), await fault_type.aim(self._target, self._chance, ())
            processes = self._target.processes()
            hits = fault is not None and any(f"_{processes.get(name)}_" in leader for name in fault.parties)
            return (fault, leader) if fault is not None and hits else None

        return await poll(aimed, _LOOK_SECONDS)

    async def _leader(self) -> str:
        """Its identity; "": there is none."""
        return (await self._leases.get(RECONCILER_LEASE)).spec.holder_identity or ""

    async def _led_by_another(self, leader: str) -> bool:
        return await self._leader() not in (leader, "")

    async def _ended(self, names: Sequence[str]) -> list[api.Assignment]:
        """The operations once all have ended, or as they are when the time is over."""
        found: list[api.Assignment] = []

        async def ended() -> bool:
            nonlocal found
            found = await self._ours(names)
            return all(each.finished for each in found)

        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.end_seconds):
                await poll(ended, _LOOK_SECONDS)
        return found

    async def _settled(self) -> list[str]:
        """What is wrong with the partitions when the time is over; nothing as soon as nothing is."""
        wrong: list[str] = []

        async def covered() -> bool:
            nonlocal wrong
            wrong = uncovered(await self._partitions.list_all(), KEY_LENGTH)
            return not wrong

        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.end_seconds):
                await poll(covered, _LOOK_SECONDS)
        return wrong

    def _judge(
        self,
        ended: Sequence[api.Assignment],
        met: dict[str, str],
        before: Sequence[api.Partition],
        after: Sequence[api.Partition],
    ) -> None:
        for each in ended:
            name = each.metadata.name
            if name in met:
                self.tally.operations += 1
                self.tally.steps[f"{each.spec.type} {met[name]}"] += 1
            else:
                self.tally.undisturbed += 1
            self.tally.phases[" ".join(filter(None, (str(each.status.phase), each.status.reason)))] += 1
            self.tally.wrong += faults_of(each, before, after)


def _step(each: api.Assignment) -> str:
    return str(each.status.step or STEPS[0])


async def operator_kills(settings: OperatorKillSettings, folder: Path) -> dict[str, Any]:
    """Run one; logs are in `folder`. The result is what is printed last, and "passed"."""
    began = time.monotonic()
    made = SoakSettings(
        workers=settings.workers,
        durability=settings.durability,
        kinds=settings.faults,
        lease_seconds=settings.lease_seconds,
        partitions=_PARTITIONS,
        policy={"mode": "Auto", "mergeBelowRows": 0, "balanceTolerancePercent": 100, "cooldownSeconds": 3600},
    )
    async with faulty_cluster(folder, made) as target:
        connection = await kube.connect(target.cluster.directory / "run" / "kubeconfig")
        run = OperatorKills(settings, target, connection)
        try:
            async with asyncio.timeout(made.start_seconds):
                await poll(run.served, 0.05)
            watcher = Watcher(lambda: {name: each["control"] for name, each in target.network.direct.items()})
            async with aio.connect(list(target.network.fronts.values())) as client, watcher.watching() as owners:
                load = VerifyingLoad(
                    client, LoadSettings(keys=settings.keys, tasks=8, seed=settings.seed, rate=settings.rate)
                )
                await load.fill(lambda _: None)
                await _under(load, run, settings)
                await load.verify()
        finally:
            await connection.close()
    report, tally = load.finish(), run.tally
    for line in (*tally.wrong, *owners.violations, *report.examples):
        print(line, file=sys.stderr)
    return {
        "operations": tally.operations,
        "faults": dict(tally.struck),
        "hand_over_seconds": _spread(tally.hand_overs),
        "lease_seconds": settings.lease_seconds,
        "wrong": len(tally.wrong),
        "lost_writes": report.lost_writes,
        "violations": report.wrong_reads + len(owners.violations),
        "failed_requests": report.failed_requests,
        "acked_writes": report.acked_writes,
        "seconds": round(time.monotonic() - began, 1),
        "phases": dict(tally.phases),
        "steps": dict(sorted(tally.steps.items())),
        "undisturbed": tally.undisturbed,
        "seed": settings.seed,
        "durability": settings.durability,
        "passed": not (
            tally.wrong or owners.violations or report.lost_writes or report.wrong_reads or report.failed_requests
        ),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"median": round(statistics.median(seconds), 2), "longest": round(max(seconds), 2)}


async def _under(load: VerifyingLoad, run: OperatorKills, settings: OperatorKillSettings) -> None:
    """Batch after batch beside the load."""
    stop = asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    began, batches = time.monotonic(), 0
    try:
        while run.tally.operations < settings.operations and not run.tally.wrong:
            await run.batch()
            batches += 1
            if batches % _TELL_BATCHES == 0:
                print(
                    f"{time.monotonic() - began:7.1f}  {run.tally.operations} operations met by "
                    f"{run.tally.struck.total()} strikes; {dict(run.tally.phases)}",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        stop.set()
        await running


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    defaults = OperatorKillSettings()
    parser = argparse.ArgumentParser(prog="python -m dstk.testing.operator_kills", description="operators killed")
    parser.add_argument("--operations", type=int, default=defaults.operations)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--durability", choices=["Memory", "Disk"], default=defaults.durability)
    parser.add_argument("--faults", choices=LEADER_FAULTS, nargs="+", default=defaults.faults)
    parser.add_argument("--lease-seconds", type=float, default=defaults.lease_seconds)
    parser.add_argument("--dir", type=Path, help="keep logs here")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level="ERROR")
    settings = OperatorKillSettings(
        operations=parsed.operations, seed=parsed.seed, durability=parsed.durability, faults=tuple(parsed.faults),
        lease_seconds=parsed.lease_seconds,
    )  # fmt: skip
    return conclude(lambda folder: operator_kills(settings, folder), parsed.dir, "dstk-operator-kills-")


if __name__ == "__main__":
    sys.exit(main())

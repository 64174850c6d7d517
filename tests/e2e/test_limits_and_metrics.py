"""A cluster on this machine with other limits than the usual ones, and what Prometheus reads there."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from dstk import errors
from dstk.cli import main
from dstk.local.cluster import ClusterSettings, LocalCluster
from dstk.local.process import CrashBackoff
from dstk.testing.fixtures import running
from expositions import complaints, families
from waiting import WAIT_SECONDS, wait_until

KEY = bytes(16)


def test_limits_reach_the_workers_and_metrics_are_where_endpoints_say(tmp_path: Path) -> None:
    with running(tmp_path, workers=1, partitions=2, worker_limits={"value_limit_bytes": 100}) as cluster:
        with cluster.connect() as client:
            client.put(KEY, b"x" * 100, timeout=30)
            with pytest.raises(errors.InvalidRequest, match="100"):
                client.put(KEY, b"x" * 101, timeout=30)
        endpoints = cluster.local.endpoints()
        operator, worker = endpoints["operators"]["operator"]["metrics"], endpoints["workers"]["worker-0"]["metrics"]

        def page(address: str) -> dict[tuple[str, ...], float]:
            text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
            found = families(text)
            assert complaints(each for each in found if each.name.startswith("dstk_")) == []
            return {(sample.name, *sample.labels.values()): sample.value for each in found for sample in each.samples}

        assert page(worker)["dstk_worker_operations_total", "default", "put"] >= 1
        assert page(operator)["dstk_operator_leader_term", "reconciler"] >= 1
        ready = ("dstk_operator_partitions", "default", "ready")
        wait_until(lambda: page(operator).get(ready) == 2, lambda: str(page(operator).get(ready)))


async def test_limits_reach_the_operator(tmp_path: Path) -> None:
    settings = ClusterSettings(
        operator_limits={"no_such_limit": 1}, backoff=CrashBackoff(0.05, 0.05), start_seconds=WAIT_SECONDS
    )
    with pytest.raises(errors.Unavailable, match="the operator has no limit 'no_such_limit'"):
        async with LocalCluster(tmp_path, workers=1, settings=settings):
            pass


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("worker.no_such_limit=1", "a worker's are data_dir, spill_dir, value_limit_bytes, "),
        ("worker.hold_seconds=0", "hold_seconds = 0"),
        ("worker.hold_seconds=soon", "hold_seconds = soon"),
        ("operator.no_such_limit=1", "the operator has no limit 'no_such_limit'; there are chunk, deadline_seconds, "),
        ("operator.deadline_seconds=0", "deadline_seconds takes seconds"),
        ("hold_seconds=1", "write worker.NAME=VALUE or operator.NAME=VALUE"),
        ("api.hold_seconds=1", "write worker.NAME=VALUE or operator.NAME=VALUE"),
        ("worker.hold_seconds", "write NAME=VALUE"),
    ],
)
def test_limits_that_cannot_be_are_refused_before_anything_starts(
    limit: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--dir", str(tmp_path / "up"), "--limit", limit]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "up").exists()

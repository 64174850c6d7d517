"""kubectl and what is inside of pods: under `dstk up` a worker is a process with a log, and no container."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from upcluster import Up, kubectl, up

import worlds
from waiting import wait_until

pytestmark = [
    pytest.mark.skipif(worlds.REAL, reason="there kubectl asks a kubelet, which does not run"),
    pytest.mark.skipif(not kubectl(), reason="there is no kubectl: put one on PATH or name it in $KUBECTL"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("inside"), "--workers", "1", "--partitions", "2") as running:
        yield running


def pid(cluster: Up) -> int:
    command = b"\0--name\0worker-0\0"
    (found,) = [each for each in cluster.processes() if command in _command(each)]
    return found


def _command(process: int) -> bytes:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_logs_are_those_of_the_present_life_and_of_the_one_before(cluster: Up) -> None:
    first = cluster.kubectl("logs", "worker-0")
    assert first.count(" serves at ") == 1
    assert cluster.kubectl("logs", "worker-0", "--tail=1") == first.splitlines(keepends=True)[-1]
    assert cluster.kubectl("logs", "pod/worker-0", "-c", "worker", "--since=1h") == first
    assert "previous terminated container" in cluster.kubectl("logs", "worker-0", "-p", check=False)
    following = subprocess.Popen(
        [kubectl(), "--kubeconfig", str(cluster.kubeconfig), "logs", "-f", "worker-0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == first.splitlines(keepends=True)[0]
        worker = pid(cluster)
        os.kill(worker, signal.SIGTERM)
        assert " has stopped" in following.stdout.read()
        assert following.wait() == 0
    finally:
        following.kill()
        following.wait()
    phase = ["get", "pod", "worker-0", "-o", "jsonpath={.status.phase}"]
    wait_until(lambda: cluster.kubectl(*phase, check=False) == "Running")
    assert pid(cluster) != worker
    second = cluster.kubectl("logs", "worker-0")
    assert second.count(" serves at ") == 1
    assert second != first
    assert cluster.kubectl("logs", "worker-0", "-p").startswith(first)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exec", "worker-0", "--", "ls"], "is a process of this machine, not a container that could be entered"),
        (["exec", "-it", "worker-0", "--", "sh"], "not a container that could be entered"),
        (["attach", "worker-0"], "not a container that could be looked into"),
        (["cp", "worker-0:/etc/hosts", "hosts"], "not a container that could be entered"),
        (["debug", "worker-0", "--image=busybox", "--profile=general"], "not a container that could be entered"),
        (["port-forward", "worker-0", "7070"], "its ports need no forwarding: data at 127.0.0.1:"),
        (["logs", "worker-0", "-c", "nope"], "container nope is not valid for pod worker-0"),
        (["top", "pod"], "Metrics API not available"),
        (["create", "deployment", "d", "--image=x"], "dstk's embedded API has no deployments.apps"),
        (["create", "token", "default"], "dstk's embedded API has no serviceaccounts/token"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_needs_a_container_is_refused_in_one_line(cluster: Up, arguments: list[str], said: str) -> None:
    refused = cluster.kubectl(*arguments, check=False)
    assert said in refused
    assert len([line for line in refused.splitlines() if "rror" in line]) == 1


def test_a_pod_that_nobody_runs_says_so(cluster: Up) -> None:
    cluster.kubectl("run", "other", "--image=none")
    for arguments in (["logs", "other"], ["exec", "other", "--", "ls"]):
        assert "no containers run here" in cluster.kubectl(*arguments, check=False)
    cluster.kubectl("delete", "pod", "other")


def test_what_was_done_to_a_partition_is_described(cluster: Up) -> None:
    described = cluster.kubectl("describe", "partition", "default-00000")
    history = described.partition("History:")[2]
    assert "Type:        New" in history
    assert "Outcome:     Completed" in history

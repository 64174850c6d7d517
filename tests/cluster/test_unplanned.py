"""What is not planned: on disk nothing is lost, in memory it is said what is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import Cluster, Load, assignment, until
from test_planned import move_of, unnoticed

from conftest import REPLICAS, SPARE

ALL = REPLICAS + SPARE
NODE = pytest.mark.skipif(not os.environ.get("NODE"), reason="needs NODE, a command that runs another on the only node")
PIDS = os.environ.get("NODE_PIDS", "")
CUT_SECONDS = 20.0
"""Longer than the operator's lease, and than any call to a worker may take."""


@contextmanager
def survived(cluster: Cluster, note: Callable[..., None], what: str) -> Iterator[Load]:
    """Clients of the keyspace on disk lose nothing, however long they have to wait; a write may be of unknown outcome."""
    with cluster.load("disk") as load:
        began = time.monotonic()
        yield load
        load.goes_on()
        took, report = time.monotonic() - began, load.finish()
    note(
        what, seconds=round(took, 1), acked_writes=report["acked_writes"],
        failed_requests=report["failed_requests"], longest_wait_seconds=report["longest_wait_seconds"],
    )  # fmt: skip
    assert (report["lost_writes"], report["wrong_reads"], report["unread"]) == (0, 0, 0), report["examples"]
    assert not cluster.lost("disk")


def owner_of(cluster: Cluster, keyspace: str) -> str:
    return str(cluster.partitions(keyspace)[0]["spec"]["primary"])


def came_back(cluster: Cluster, name: str, uid: str) -> None:
    def done() -> bool:
        pod = cluster.pods("worker").get(name)
        return pod is not None and pod["metadata"]["uid"] != uid

    until(done, f"{name} is there anew")
    cluster.settled(ALL)


def test_a_worker_that_is_deleted_gives_everything_away_first(cluster: Cluster, note: Callable[..., None]) -> None:
    name = owner_of(cluster, "memory")
    uid = cluster.pods("worker")[name]["metadata"]["uid"]
    with unnoticed(cluster, note, "a worker deleted"):
        cluster.kubectl("delete", "pod", name, "--wait=false")
        came_back(cluster, name, uid)


def test_a_worker_that_is_deleted_by_force(cluster: Cluster, note: Callable[..., None]) -> None:
    name = owner_of(cluster, "memory")
    uid = cluster.pods("worker")[name]["metadata"]["uid"]
    had = {each["metadata"]["name"] for each in cluster.partitions("memory") if each["spec"]["primary"] == name}
    with survived(cluster, note, "a worker deleted by force"):
        cluster.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        came_back(cluster, name, uid)
        until(lambda: cluster.ready("memory") and cluster.ready("disk"), "all is served again")
    assert cluster.lost("memory") == had
    said = {event["involvedObject"]["name"] for event in cluster.get("events") if event["reason"] == "DataLost"}
    assert had <= said


FILL = """
import sys, dstk
address, start = sys.argv[1:]
with dstk.connect(address, "memory", settings=dstk.ClientSettings(timeout_seconds=5)) as client:
    first = int(start, 16)
    for number in range(2000):
        client.put((first + number).to_bytes(16, "big"), bytes(1 << 20))
"""


def test_a_worker_that_has_taken_too_much_memory(cluster: Cluster, note: Callable[..., None]) -> None:
    """It has no limit of its own here, so the kernel ends it: its container is started again in the same pod."""
    part = cluster.partitions("memory")[0]
    name, start = part["spec"]["primary"], (part["spec"]["range"].get("start") or "0x00")[2:].ljust(32, "0")
    had = {each["metadata"]["name"] for each in cluster.partitions("memory") if each["spec"]["primary"] == name}
    before = restarts(cluster, name)
    with survived(cluster, note, "a worker out of memory"):
        client = sorted(set(cluster.pods("worker")) - {name})[0]
        # The client lives elsewhere; it ends when nobody answers it any more.
        command = ["python3", "-c", FILL, f"{cluster.workers}:7070", start]
        cluster.kubectl("exec", client, "--", *command, check=False)
        until(lambda: restarts(cluster, name) > before, f"{name} was ended")
        cluster.settled(ALL)
        until(lambda: cluster.ready("memory") and cluster.ready("disk"), "all is served again")
    state = cluster.pods("worker")[name]["status"]["containerStatuses"][0]["lastState"]
    assert state["terminated"]["reason"] == "OOMKilled"
    assert had <= cluster.lost("memory")


def restarts(cluster: Cluster, name: str) -> int:
    statuses = cluster.pods("worker")[name]["status"].get("containerStatuses", [{}])
    return int(statuses[0].get("restartCount", 0))


@NODE
@pytest.mark.skipif(not PIDS, reason="needs NODE_PIDS, a folder that says the processes of kube-apiserver and etcd")
def test_the_api_server_and_etcd_are_killed(cluster: Cluster, note: Callable[..., None]) -> None:
    """Nobody who reads or writes notices, and the operator goes on by itself."""
    with unnoticed(cluster, note, "kube-apiserver and etcd killed"):
        for process in ("apiserver", "etcd"):
            move = move_of(cluster, "memory", f"no-{process}")
            cluster.apply(assignment(**move))
            pid = (Path(PIDS) / process).read_text().strip()
            on_node(cluster, "kill", "-9", pid)
            until(lambda move=move: ended(cluster, move["name"]), f"{move['name']} ends")


def ended(cluster: Cluster, name: str) -> bool:
    said = cluster.kubectl("get", "assignment", name, "-o", "jsonpath={.status.phase}", check=False)
    return said in ("Completed", "Aborted")


@NODE
@pytest.mark.parametrize("other", ["worker", "operator"])
def test_a_cut(other: str, cluster: Cluster, note: Callable[..., None]) -> None:
    """Between two workers, or between the operator that leads and a worker, in the middle of a move."""
    move = move_of(cluster, "disk", f"cut-{other}")
    source, destination = move["moveParams"]["from"], move["moveParams"]["to"]
    pods = {**cluster.pods("worker"), **cluster.pods("operator")}
    far = pods[destination if other == "worker" else until(cluster.leader, "somebody leads")]["status"]["podIP"]
    near = pods[source]["status"]["podIP"]
    rules = [["-s", a, "-d", b, "-j", "DROP"] for a, b in ((near, far), (far, near))]
    with survived(cluster, note, f"a cut between a worker and {'another' if other == 'worker' else 'the operator'}"):
        for rule in rules:
            on_node(cluster, "iptables", "-I", "FORWARD", *rule)
        try:
            cluster.apply(assignment(**move))
            time.sleep(CUT_SECONDS)
        finally:
            for rule in rules:
                on_node(cluster, "iptables", "-D", "FORWARD", *rule)
        until(lambda: ended(cluster, move["name"]), "the move ends")
        until(lambda: cluster.ready("disk"), "all is served")


def on_node(cluster: Cluster, *command: str) -> None:
    subprocess.run([*cluster.node, *command], check=True, capture_output=True)


def test_the_namespace_goes_in_the_middle_of_moves(cluster: Cluster, note: Callable[..., None]) -> None:
    """The last of all. The workers' pods are deleted as the page on Kubernetes says."""
    cluster.apply(*(assignment(**move_of(cluster, "disk", f"cut-short-{which}", which)) for which in range(4)))
    began = time.monotonic()
    cluster.kubectl("delete", "namespace", cluster.namespace, "--wait=false")
    workers = ("-l", "app.kubernetes.io/instance=test,app.kubernetes.io/component=worker")
    cluster.kubectl("delete", "pods", *workers, "--grace-period=1", "--wait=false")
    until(lambda: cluster.namespace not in cluster.kubectl("get", "namespaces", "-o", "name"), "the namespace is gone")
    note("the namespace deleted in the middle of moves", seconds=round(time.monotonic() - began, 1))

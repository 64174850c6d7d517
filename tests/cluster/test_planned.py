"""What is planned costs nobody anything: no request fails, no acknowledged write is lost, in either durability."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from clusters import ROOT, Cluster, Load, assignment, keyspace, until

from conftest import REPLICAS, SPARE

ALL = REPLICAS + SPARE
KEYSPACES = ("memory", "disk")


@contextmanager
def unnoticed(cluster: Cluster, note: Callable[..., None], what: str) -> Iterator[list[Load]]:
    """Clients of both keyspaces notice nothing of what is done meanwhile; how long it took, and what it moved."""
    lost = {name: cluster.lost(name) for name in KEYSPACES}
    with cluster.load("memory") as memory, cluster.load("disk") as disk:
        loads, before, began = [memory, disk], cluster.moves(), time.monotonic()
        yield loads
        for load in loads:
            load.goes_on()
        took = time.monotonic() - began
        moved = len(cluster.moves() - before)
        reports = [load.finish() for load in loads]
    note(
        what, seconds=round(took, 1), moves=moved, partitions=sum(len(cluster.partitions(each)) for each in KEYSPACES),
        acked_writes=sum(report["acked_writes"] for report in reports),
        longest_wait_seconds=max(report["longest_wait_seconds"] for report in reports),
    )  # fmt: skip
    for report in reports:
        found = {key: report[key] for key in ("lost_writes", "wrong_reads", "failed_requests", "unread")}
        assert found == dict.fromkeys(found, 0), report["examples"]
        assert report["acked_writes"] > 0
    assert {name: cluster.lost(name) for name in KEYSPACES} == lost


def test_the_first_example(cluster: Cluster) -> None:
    """The design's own YAML, with the names of this cluster's pods."""
    documents = list(yaml.safe_load_all((ROOT / "tests" / "data" / "seed.yaml").read_text()))
    text = json.dumps(documents).replace("pod1", f"{cluster.workers}-0").replace("pod2", f"{cluster.workers}-1")
    documents = json.loads(text)
    documents[0] = keyspace("default", "Memory", partitions=0, policy={"mode": "Off"})
    for document in documents:
        cluster.apply(document)
        if document["kind"] == "Assignment":
            name = document["metadata"]["name"]

            def phase(name: str = name) -> str:
                return cluster.kubectl("get", "assignment", name, "-o", "jsonpath={.status.phase}")

            # The merge is refused: its parts have different owners by then.
            expected = "Aborted" if name == "a4" else "Completed"
            until(lambda: phase() in ("Completed", "Aborted"), f"{name} ends")
            assert phase() == expected
    assert {each["metadata"]["name"] for each in cluster.partitions("default")} == {"subpart1", "subpart2"}
    # A worker with partitions that the Assigner may not move is not restarted.
    patch = json.dumps({"spec": {"policy": {"mode": "Auto"}}})
    cluster.kubectl("patch", "keyspace", "default", "--type=merge", "--patch", patch)


def test_split_move_and_merge_under_load(cluster: Cluster, note: Callable[..., None]) -> None:
    with unnoticed(cluster, note, "split, move and merge"):
        for durability in KEYSPACES:
            part = cluster.partitions(durability)[0]
            name, owner = part["metadata"]["name"], part["spec"]["primary"]
            start = bytes.fromhex((part["spec"]["range"].get("start") or "0x00")[2:]).ljust(16, b"\0")
            key = "0x" + (int.from_bytes(start, "big") + (1 << 123)).to_bytes(16, "big").hex()
            halves = [f"{durability}-low", f"{durability}-high"]
            split = cluster.run(
                f"split-{durability}",
                "InWorkerSplit",
                splitParams={"partition": name, "splitKey": key, "names": halves},
            )
            to = next(other for other in sorted(cluster.pods("worker")) if other != owner)
            there = {"partition": halves[1], "from": owner, "to": to}
            back = {"partition": halves[1], "from": to, "to": owner}
            ended = [
                split,
                cluster.run(f"there-{durability}", "InterWorkerMove", moveParams=there),
                cluster.run(f"back-{durability}", "InterWorkerMove", moveParams=back),
                cluster.run(f"merge-{durability}", "InWorkerMerge", mergeParams={"partitions": halves}),
            ]
            assert [each["status"]["phase"] for each in ended] == ["Completed"] * 4, [each["status"] for each in ended]


def test_a_rolling_restart_moves_everything_once(cluster: Cluster, note: Callable[..., None]) -> None:
    cluster.settled(ALL)
    uids = {name: pod["metadata"]["uid"] for name, pod in cluster.pods("worker").items()}
    before = cluster.moves()
    with unnoticed(cluster, note, "rolling restart of the workers"):
        cluster.kubectl("rollout", "restart", f"statefulset/{cluster.workers}")
        cluster.settled(ALL)
    now = {name: pod["metadata"]["uid"] for name, pod in cluster.pods("worker").items()}
    assert now.keys() == uids.keys()
    assert not set(now.values()) & set(uids.values())
    served = sum(len(cluster.partitions(each)) for each in (*KEYSPACES, "default"))
    assert len(cluster.moves() - before) <= served


def test_scale_out_and_in(cluster: Cluster, note: Callable[..., None]) -> None:
    with unnoticed(cluster, note, "scale 3 → 5 → 2"):
        for replicas in (5, 2):
            cluster.kubectl("scale", f"statefulset/{cluster.workers}", f"--replicas={replicas + SPARE}")
            cluster.settled(replicas + SPARE)
    cluster.kubectl("scale", f"statefulset/{cluster.workers}", f"--replicas={ALL}")
    cluster.settled(ALL)


def test_a_drain_empties_one_worker_at_a_time(cluster: Cluster, note: Callable[..., None]) -> None:
    """On a cluster of one node it cannot come to its end: the budget holds it back while the first pod has no place."""
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")]
    node = cluster.pods("worker")[f"{cluster.workers}-0"]["spec"]["nodeName"]
    selector = "--pod-selector=app.kubernetes.io/component=worker"
    with unnoticed(cluster, note, "drain of a node"):
        try:
            limit = "--timeout=60s" if len(nodes) == 1 else "--timeout=600s"
            cluster.kubectl("drain", node, selector, "--delete-emptydir-data", limit, check=len(nodes) > 1)
            if len(nodes) == 1:
                assert len(cluster.pods("worker")) == ALL
                running = [pod for pod in cluster.pods("worker").values() if pod["status"]["phase"] == "Running"]
                assert len(running) == ALL - 1
        finally:
            cluster.kubectl("uncordon", node)
        cluster.settled(ALL)


def test_operators_are_restarted(cluster: Cluster, note: Callable[..., None]) -> None:
    with unnoticed(cluster, note, "restart of the operators"):
        cluster.kubectl("rollout", "restart", f"deployment/{cluster.operators}")
        cluster.kubectl("rollout", "status", f"deployment/{cluster.operators}", "--timeout=5m")
        move = move_of(cluster, "memory", "after-restart")
        assert cluster.run(**move)["status"]["phase"] == "Completed"


def test_the_leader_and_its_standby_are_deleted(cluster: Cluster, note: Callable[..., None]) -> None:
    with unnoticed(cluster, note, "operators deleted in the middle of moves"):
        for number, leads in enumerate((True, False)):
            leader = until(cluster.leader, "somebody leads")
            gone = leader if leads else next(name for name in cluster.pods("operator") if name != leader)
            move = move_of(cluster, "disk", f"deleted-operator-{number}")
            cluster.apply(assignment(**move))
            cluster.kubectl("delete", "pod", gone, "--grace-period=0", "--force")
            assert cluster.run(**move)["status"]["phase"] == "Completed"


def move_of(cluster: Cluster, name: str, called: str, which: int = 0) -> dict[str, Any]:
    """A move of some partition to another worker."""
    part = cluster.partitions(name)[which]
    owner = part["spec"]["primary"]
    to = next(other for other in sorted(cluster.pods("worker")) if other != owner)
    params = {"partition": part["metadata"]["name"], "from": owner, "to": to}
    return {"name": called, "type_": "InterWorkerMove", "moveParams": params}

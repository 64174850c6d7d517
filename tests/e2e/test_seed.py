"""The seed's objects, applied by kubectl document by document, do what the seed says, step by step."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator

import pytest
from upcluster import Up, kubectl, up

from waiting import wait_until

KEYSPACE = """
apiVersion: dstk.io/v1alpha1
kind: Keyspace
metadata: {name: default}
spec:
  keyLength: 16
  partitions: {initial: 0}
  policy: {mode: "Off"}
  proxySeconds: 2
"""
PARTITION = """
apiVersion: dstk.io/v1alpha1
kind: Partition
metadata: {name: part1}
spec:
  range: {start: a, end: o}
"""
NEW = """
apiVersion: dstk.io/v1alpha1
kind: Assignment
metadata: {name: a1}
spec:
  type: New
  newParams: {partition: part1, primary: worker-0}
"""
SPLIT = """
apiVersion: dstk.io/v1alpha1
kind: Assignment
metadata: {name: a2}
spec:
  type: InWorkerSplit
  splitParams: {partition: part1, splitKey: e, names: [subpart1, subpart2]}
"""
MOVE = """
apiVersion: dstk.io/v1alpha1
kind: Assignment
metadata: {name: a3}
spec:
  type: InterWorkerMove
  moveParams: {partition: subpart1, from: worker-0, to: worker-1}
"""
BACK = """
apiVersion: dstk.io/v1alpha1
kind: Assignment
metadata: {name: a4}
spec:
  type: InterWorkerMove
  moveParams: {partition: subpart1, from: worker-1, to: worker-0}
"""
MERGE = """
apiVersion: dstk.io/v1alpha1
kind: Assignment
metadata: {name: a5}
spec:
  type: InWorkerMerge
  mergeParams: {partitions: [subpart1, subpart2], name: part1}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("seed"), "--workers", "3", "--no-keyspace") as running:
        yield running


class Watch:
    """`kubectl get -w` in the background: every state an object was seen in."""

    def __init__(self, cluster: Up, name: str, path: str, kind: str = "asg") -> None:
        self._prefix = f"{name}|"
        self._process = subprocess.Popen(
            [kubectl() or "kubectl", "--kubeconfig", str(cluster.kubeconfig), "get", kind, "-w", "-o", f"jsonpath={{.metadata.name}}|{path}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        wait_until(lambda: bool(self.lines), "kubectl get -w shows what is there")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def stop(self) -> list[str]:
        """End it; the distinct lines in their order."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        told = [line.removeprefix(self._prefix) for line in self.lines if line.startswith(self._prefix)]
        return [line for before, line in zip(["", *told], told, strict=False) if line != before]


def spec(cluster: Up, partition: str) -> dict[str, object]:
    read: dict[str, object] = json.loads(cluster.kubectl("get", "partition", partition, "-o", "json"))["spec"]
    return read


def wait(cluster: Up, assignment: str, phase: str) -> None:
    cluster.kubectl("wait", f"asg/{assignment}", f"--for=jsonpath={{.status.phase}}={phase}", "--timeout=60s")


def ready(cluster: Up, *objects: str) -> None:
    """Wait for them as one waits for objects of any kind."""
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *objects)


def steps(lines: list[str]) -> list[str]:
    return [line for line in lines if line and not line.startswith("|")]


@pytest.mark.skipif(kubectl() is None, reason="there is no kubectl on PATH")
def test_the_seed_from_new_to_merged_back(cluster: Up) -> None:
    cluster.kubectl("apply", "-f", "-", input=KEYSPACE)
    cluster.kubectl("apply", "-f", "-", input=PARTITION)

    # New: the Assignment completes, the Partition has its primary and is ready.
    cluster.kubectl("apply", "-f", "-", input=NEW)
    wait(cluster, "a1", "Completed")
    assert cluster.kubectl("get", "asg", "a1", "-o", "jsonpath={.status.new.status}") == "completed"
    assert cluster.kubectl("get", "partition", "part1", "-o", "jsonpath={.status.phase}") == "ready"
    assert spec(cluster, "part1")["primary"] == "worker-0"
    ready(cluster, "asg/a1", "partition/part1", "keyspace/default")
    for key in ("apple", "grape", "melon"):
        assert cluster.data("put", key, f"the {key}").returncode == 0

    # Split at e: loading, following, completed; the parent's object is gone, the children have the same primary.
    watch = Watch(
        cluster, "a2",
        r"{.status.split.status}|{.status.split.fromPart}|{.status.split.splits.subpart1}|{.status.split.splits.subpart2}{'\n'}",
    )  # fmt: skip
    cluster.kubectl("apply", "-f", "-", input=SPLIT)
    wait(cluster, "a2", "Completed")
    assert steps(watch.stop()) == [
        "loading|primary|loading|following",
        "following|primary|following|following",
        "completed|disconnected|primary|primary",
    ]
    assert "not found" in cluster.kubectl("get", "partition", "part1", check=False)
    low, high = spec(cluster, "subpart1"), spec(cluster, "subpart2")
    assert (low["range"], high["range"]) == ({"start": "a", "end": "e"}, {"start": "e", "end": "o"})
    assert low["primary"] == high["primary"] == "worker-0"

    # Move: loading, following, proxying, completed; while it proxies, the Partition names both pods.
    owners = Watch(cluster, "subpart1", r"{.spec.primary}|{.spec.proxy}{'\n'}", kind="partitions")
    watch = Watch(cluster, "a3", r"{.status.move.status}|{.status.move.fromPod}|{.status.move.toPod}{'\n'}")
    cluster.kubectl("apply", "-f", "-", input=MOVE)
    wait(cluster, "a3", "Completed")
    assert steps(watch.stop()) == [
        "loading|primary|loading",
        "following|primary|following",
        "proxying|proxy|primary",
        "completed|disconnected|primary",
    ]
    assert owners.stop() == ["worker-0|", "worker-1|worker-0", "worker-1|"]
    ready(cluster, "asg/a2", "asg/a3", "partition/subpart1", "partition/subpart2")

    # Back, then merge: loading, following, proxying, completed; the parts' objects are gone.
    cluster.kubectl("apply", "-f", "-", input=BACK)
    wait(cluster, "a4", "Completed")
    watch = Watch(
        cluster, "a5",
        r"{.status.merge.status}|{.status.merge.mergedPart}|{.status.merge.subParts.subpart1}|{.status.merge.subParts.subpart2}{'\n'}",
    )  # fmt: skip
    cluster.kubectl("apply", "-f", "-", input=MERGE)
    wait(cluster, "a5", "Completed")
    assert steps(watch.stop()) == [
        "loading|loading|primary|primary",
        "following|following|primary|primary",
        "proxying|primary|proxy|proxy",
        "completed|primary|disconnected|disconnected",
    ]
    merged = spec(cluster, "part1")
    assert (merged["range"], merged["primary"]) == ({"start": "a", "end": "o"}, "worker-0")
    assert cluster.kubectl("get", "partitions", "-o", "name").split() == ["partition.dstk.io/part1"]

    # The rows have been through all of it.
    for key in ("apple", "grape", "melon"):
        assert cluster.data("get", key).stdout.strip() == f"the {key}"


def refused(cluster: Up, document: str) -> str:
    """Apply what must be refused; what kubectl says."""
    said = cluster.kubectl("apply", "-f", "-", input=document, check=False)
    assert "created" not in said, said
    return said


@pytest.mark.skipif(kubectl() is None, reason="there is no kubectl on PATH")
def test_kubectl_is_told_what_is_wrong_with_an_object(cluster: Up) -> None:
    both = NEW.replace("a1}", "bad}").replace(
        "newParams:", "moveParams: {partition: part1, from: worker-0, to: worker-1}\n  newParams:"
    )
    assert "moveParams" in refused(cluster, both)
    none = "\n".join(line for line in NEW.replace("a1}", "bad}").splitlines() if "newParams" not in line)
    assert "newParams" in refused(cluster, none)
    backwards = PARTITION.replace("part1", "bad").replace("start: a, end: o", "start: o, end: a")
    assert "start must be below end" in refused(cluster, backwards)
    same = MOVE.replace("a3}", "bad}").replace("to: worker-1", "to: worker-0")
    assert "to must be another pod" in refused(cluster, same)


@pytest.mark.skipif(kubectl() is None, reason="there is no kubectl on PATH")
@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("unknown-part", "{type: InWorkerSplit, splitParams: {partition: nosuch, splitKey: e}}", "nosuch"),
        ("unknown-pod", "{type: InterWorkerMove, moveParams: {partition: whole, from: worker-0, to: nosuch}}", "nosuch"),
        ("on-a-bound", "{type: InWorkerSplit, splitParams: {partition: whole, splitKey: p}}", "p"),
        ("outside", "{type: InWorkerSplit, splitParams: {partition: whole, splitKey: z}}", "z"),
        ("too-long", "{type: InWorkerSplit, splitParams: {partition: whole, splitKey: q2345678901234567}}", "16"),
        ("not-there", "{type: InterWorkerMove, moveParams: {partition: whole, from: worker-2, to: worker-1}}", "worker-0"),
        ("two-workers", "{type: InWorkerMerge, mergeParams: {partitions: [whole, elsewhere]}}", "worker"),
        ("owned-gap", "{type: InWorkerMerge, mergeParams: {partitions: [whole, last]}}", "elsewhere"),
    ],
)  # fmt: skip
def test_what_needs_other_objects_is_aborted_with_a_message(
    cluster: Up, ranges: None, name: str, spec: str, message: str
) -> None:
    document = f"apiVersion: dstk.io/v1alpha1\nkind: Assignment\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    cluster.kubectl("apply", "-f", "-", input=document)
    wait(cluster, name, "Aborted")
    status = json.loads(cluster.kubectl("get", "asg", name, "-o", "json"))["status"]
    assert status["reason"]
    assert message in status["message"]


@pytest.fixture(scope="module")
def ranges(cluster: Up) -> None:
    """[p, r) and [s, t) on worker-0, [r, s) on worker-1."""
    cluster.kubectl("apply", "-f", "-", input=KEYSPACE)
    owners = {"whole": ("p", "r", "worker-0"), "elsewhere": ("r", "s", "worker-1"), "last": ("s", "t", "worker-0")}
    for name, (start, end, owner) in owners.items():
        document = PARTITION.replace("part1", name).replace("start: a, end: o", f"start: {start}, end: {end}")
        cluster.kubectl("apply", "-f", "-", input=document)
        new = NEW.replace("a1}", f"new-{name}}}").replace("part1", name).replace("worker-0", owner)
        cluster.kubectl("apply", "-f", "-", input=new)
        wait(cluster, f"new-{name}", "Completed")


@pytest.mark.skipif(kubectl() is None, reason="there is no kubectl on PATH")
def test_a_partition_that_overlaps_another_is_never_served(cluster: Up, ranges: None) -> None:
    overlapping = PARTITION.replace("part1", "overlapping").replace("start: a, end: o", "start: q, end: u")
    cluster.kubectl("apply", "-f", "-", input=overlapping)
    cluster.kubectl("apply", "-f", "-", input=NEW.replace("a1}", "new-overlapping}").replace("part1", "overlapping"))
    wait(cluster, "new-overlapping", "Aborted")
    message = cluster.kubectl("get", "asg", "new-overlapping", "-o", "jsonpath={.status.message}")
    assert "whole" in message or "elsewhere" in message or "last" in message
    cluster.kubectl("delete", "partition", "overlapping")


@pytest.mark.skipif(kubectl() is None, reason="there is no kubectl on PATH")
def test_kubectl_get_shows_the_columns_people_look_for(cluster: Up, ranges: None) -> None:
    header, *rows = cluster.kubectl("get", "partitions").splitlines()
    assert header.split() == ["NAME", "START", "END", "PRIMARY", "PROXY", "PHASE", "AGE"]
    whole = next(row for row in rows if row.startswith("whole "))
    assert whole.split()[:4] == ["whole", "p", "r", "worker-0"]
    assert "closed-open" in cluster.kubectl("explain", "partition.spec.range")

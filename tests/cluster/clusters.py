"""A Kubernetes cluster as a person uses it, by kubectl and helm, with dstk installed in a namespace of its own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from waiting import wait_until

ROOT = Path(__file__).parents[2]
LONG = 300.0
"""Seconds; a bound against hanging, not a measure."""
_LOOK_SECONDS = 0.3
"""Each look is a kubectl."""

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = LONG) -> T:
    """The first truth that `condition` gives."""
    found: list[T] = []

    def holds() -> bool:
        found[:] = [condition()]
        return bool(found[0])

    wait_until(holds, f"after {seconds:g} s: {what}", seconds=seconds, look=_LOOK_SECONDS)
    return found[0]


@dataclass(slots=True)
class Cluster:
    """Whatever cluster KUBECONFIG names. KUBECTL and HELM are commands, where they are not simply on the PATH; `node`
    is a command that runs another as root on the only node, where there is one: what it breaks is the cluster itself."""

    image: str
    namespace: str = field(default_factory=lambda: f"dstk-test-{secrets.token_hex(3)}")
    kubectl_command: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("KUBECTL", "kubectl")))
    helm_command: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("HELM", "helm")))
    node: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("NODE", "")))

    @property
    def workers(self) -> str:
        """The StatefulSet."""
        return "test-dstk-worker"

    @property
    def operators(self) -> str:
        """The Deployment."""
        return "test-dstk-operator"

    def kubectl(self, *arguments: str, given: str = "", check: bool = True) -> str:
        """What kubectl says. Raises AssertionError with its complaint when it fails."""
        command = [*self.kubectl_command, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=2 * LONG)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def helm(self, *arguments: str) -> str:
        command = [*self.helm_command, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * LONG)
        assert not done.returncode, f"helm {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def get(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Objects of a kind."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *arguments))["items"]
        return items

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    # What there is

    def pods(self, component: str) -> dict[str, dict[str, Any]]:
        """Pods of the chart by name."""
        found = self.get("pods", "-l", f"app.kubernetes.io/component={component}")
        return {pod["metadata"]["name"]: pod for pod in found}

    def partitions(self, keyspace: str) -> list[dict[str, Any]]:
        return [each for each in self.get("partitions") if each["spec"]["keyspace"] == keyspace]

    def ready(self, keyspace: str) -> bool:
        """Whether every partition says that it is."""
        found = self.partitions(keyspace)
        return bool(found) and all(each.get("status", {}).get("phase") == "ready" for each in found)

    def lost(self, keyspace: str) -> set[str]:
        """Partitions that say DataLost."""
        return {
            each["metadata"]["name"]
            for each in self.partitions(keyspace)
            for condition in each.get("status", {}).get("conditions", ())
            if condition["type"] == "DataLost" and condition["status"] == "True"
        }

    def moves(self) -> set[str]:
        """Moves by name and uid, finished ones included as long as they are kept."""
        return {
            each["metadata"]["uid"] for each in self.get("assignments") if each["spec"]["type"] == "InterWorkerMove"
        }

    def run(self, name: str, type_: str, **params: Any) -> dict[str, Any]:
        """An Assignment, once it has ended."""
        self.apply(assignment(name, type_, **params))

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(self.kubectl("get", "assignment", name, "-o", "json"))
            return found if found.get("status", {}).get("phase") in ("Completed", "Aborted") else None

        return until(ended, f"{name} ends")

    def leader(self) -> str:
        """The pod that holds the reconciler's lease; "": none."""
        lease = json.loads(self.kubectl("get", "lease", "dstk-reconciler", "-o", "json"))
        holder = lease["spec"].get("holderIdentity") or ""
        return next((name for name in self.pods("operator") if holder.startswith(f"{name}_")), "")

    def settled(self, count: int, *, seconds: float = 2 * LONG) -> None:
        """Wait until so many workers are there, each of the latest revision and ready, and nothing moves any more."""

        def done() -> bool:
            (found,) = self.get("statefulsets", "--field-selector", f"metadata.name={self.workers}")
            latest = found["status"].get("updateRevision")
            pods = self.pods("worker")
            unfinished = [
                each for each in self.get("assignments")
                if each.get("status", {}).get("phase") not in ("Completed", "Aborted")
            ]  # fmt: skip
            return (
                found["status"].get("observedGeneration") == found["metadata"]["generation"]
                and len(pods) == count
                and all(is_ready(pod) for pod in pods.values())
                and all(pod["metadata"]["labels"]["controller-revision-hash"] == latest for pod in pods.values())
                and not unfinished
            )

        until(done, f"{count} workers of the latest revision are ready, and nothing is under way", seconds)

    # Load

    @contextmanager
    def load(self, keyspace: str, name: str = "") -> Iterator[Load]:
        """A pod that writes, reads and checks all the time, through the workers' Service."""
        name = name or f"load-{keyspace}-{secrets.token_hex(2)}"
        run = f"python3 -m dstk.testing.load --address {self.workers}:7070 --keyspace {keyspace}"
        run += " --keys 3000 --tasks 16 --rate 300 --timeout 60"
        command = f"while [ ! -e /tmp/stop ]; do sleep 0.2; done | {run}"
        container = {"name": "load", "image": self.image, "command": ["sh", "-c", command]}
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }  # fmt: skip
        self.apply(pod)
        load = Load(self, name)
        try:
            until(lambda: '"loaded"' in self.kubectl("logs", name, check=False), f"{name} has its rows")
            yield load
        finally:
            self.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false", check=False)


@dataclass(slots=True)
class Load:
    """One that runs."""

    cluster: Cluster
    name: str

    def operations(self) -> int:
        """Answered so far."""
        return max((each.get("operations", 0) for each in self._told("--tail=5")), default=0)

    def _told(self, *arguments: str) -> list[dict[str, Any]]:
        """What it has told. Errors are in the log too, and the last line may be half written."""
        told = []
        for line in self.cluster.kubectl("logs", self.name, *arguments).splitlines():
            with suppress(json.JSONDecodeError):
                told.append(json.loads(line))
        return [each for each in told if isinstance(each, dict)]

    def goes_on(self, more: int = 200) -> None:
        """Wait until so many more operations have been answered."""
        goal = self.operations() + more
        until(lambda: self.operations() >= goal, f"{self.name} goes on")

    def finish(self) -> dict[str, Any]:
        """Its report, after it has read everything once more."""
        self.cluster.kubectl("exec", self.name, "--", "sh", "-c", "> /tmp/stop")

        def ended() -> bool:
            phase = self.cluster.kubectl("get", "pod", self.name, "-o", "jsonpath={.status.phase}")
            return phase in ("Succeeded", "Failed")

        until(ended, f"{self.name} ends")
        # A long line is several of the log's, of which a tail would be a part.
        (report,) = [each["final"] for each in self._told() if "final" in each]
        report["longest_wait_seconds"] = round(max((wait for _, wait in report.pop("slow")), default=0.0), 3)
        return report


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def keyspace(name: str, durability: str, *, partitions: int, **spec: Any) -> dict[str, Any]:
    """One whose workers are those of the chart."""
    return {
        "apiVersion": "dstk.io/v1alpha1",
        "kind": "Keyspace",
        "metadata": {"name": name},
        "spec": {
            "keyLength": 16,
            "durability": durability,
            "partitions": {"initial": partitions},
            "proxySeconds": 2,
            "workers": {"selector": {"matchLabels": {"app.kubernetes.io/component": "worker"}}},
            **spec,
        },
    }


def assignment(name: str, type_: str, **params: Any) -> dict[str, Any]:
    spec = {"type": type_, **params}
    return {"apiVersion": "dstk.io/v1alpha1", "kind": "Assignment", "metadata": {"name": name}, "spec": spec}

"""A StatefulSet controller and a kubelet, as far as workers need them, for an API server that has neither.

Pods are made from the StatefulSet's own template, so what the chart renders is what runs: its arguments, probes by
connecting, its preStop hook, then SIGTERM. Each pod has an address of its own out of 127.0.0.0/8.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstk import kube
from dstk.local.process import Child
from dstk.operator.sets import REVISION_LABEL

Object = dict[str, Any]

POLL_SECONDS = 0.05
PODS: kube.Kind[Object] = kube.Kind("v1", "Pod", "pods", dict)
SETS: kube.Kind[Object] = kube.Kind("apps/v1", "StatefulSet", "statefulsets", dict)


@dataclass
class Container:
    """The one container of a pod."""

    uid: str
    address: str
    child: Child
    ending: asyncio.Task[None] | None = None


@dataclass
class Node:
    """Keeps the pods of one StatefulSet as its spec says, while ``run()`` goes on."""

    connection: kube.Connection
    namespace: str
    folder: Path
    ended: list[tuple[str, str, int]] = field(default_factory=list)
    """(pod, its revision, the exit code of its process) of all that have gone."""

    complete: bool = False
    """Whether every pod is there and ready."""

    def __post_init__(self) -> None:
        self.pods = kube.Objects(self.connection, PODS, self.namespace)
        self.sets = kube.Objects(self.connection, SETS, self.namespace)
        self._subnet = f"127.{random.randrange(16, 250)}.{random.randrange(250)}"
        self._containers: dict[str, Container] = {}
        self._set = ""

    async def create(self, found: Object) -> None:
        """The StatefulSet that is kept."""
        self._set = found["metadata"]["name"]
        metadata = {key: value for key, value in found["metadata"].items() if key != "namespace"}
        await self.sets.create({"metadata": metadata, "spec": found["spec"]})

    def address(self, ordinal: int) -> str:
        """host:port of a worker's data plane."""
        return f"{self._subnet}.{ordinal + 10}:7070"

    async def run(self) -> None:
        """For ever; all processes end with it."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for container in self._containers.values():
                if container.ending is not None:
                    container.ending.cancel()
                container.child.kill_session()
                await container.child.wait()

    async def roll(self, revision: str) -> None:
        """Change the pods' template, as an upgrade does; what follows is the operator's or the controller's."""
        annotations = {"revision": revision}
        await self.sets.patch(self._set, {"spec": {"template": {"metadata": {"annotations": annotations}}}})

    async def scale(self, replicas: int) -> None:
        await self.sets.patch(self._set, {"spec": {"replicas": replicas}})

    async def _look(self) -> None:
        found = await self.sets.get(self._set)
        revision = hashlib.sha256(json.dumps(found["spec"]["template"], sort_keys=True).encode()).hexdigest()[:10]
        listed = (await self.pods.list_page()).items
        pods = {pod["metadata"]["name"]: pod for pod in listed}
        ready = sum(_is_ready(pod) for pod in listed)
        status = {"replicas": len(pods), "readyReplicas": ready, "updateRevision": revision}
        if found.get("status", {}) | status != found.get("status", {}):
            await self.sets.patch_status(self._set, status)
        self.complete = ready == len(pods) == found["spec"]["replicas"]
        await self._control(found, revision, pods)
        for pod in pods.values():
            await self._keep(pod)

    async def _control(self, found: Object, revision: str, pods: dict[str, Object]) -> None:
        """Pods that are missing are created, those too many deleted; with RollingUpdate one is replaced at a time."""
        wanted = [f"{self._set}-{ordinal}" for ordinal in range(found["spec"]["replicas"])]
        for name in wanted:
            if name not in pods:
                await self.pods.create(_pod(found, name, revision))
        surplus = [name for name in pods if name not in wanted]
        outdated = [name for name in wanted if name in pods and _revision(pods[name]) != revision]
        all_well = len(pods) == len(wanted) and all(map(_is_ready, pods.values()))
        if found["spec"]["updateStrategy"]["type"] == "RollingUpdate" and all_well and outdated:
            surplus.append(max(outdated, key=lambda name: int(name.rpartition("-")[2])))
        for name in surplus:
            if "deletionTimestamp" not in pods[name]["metadata"]:
                await self.pods.delete(name, uid=pods[name]["metadata"]["uid"])

    async def _keep(self, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        container = self._containers.get(name)
        if container is None:
            self._containers[name] = await self._start(pod)
        elif container.uid != uid:
            return  # the one before it is still going
        elif "deletionTimestamp" in pod["metadata"]:
            if container.ending is None:
                container.ending = asyncio.create_task(self._end(pod, container))
            elif container.ending.done():
                container.ending.result()
                await self.pods.delete(name, uid=uid, grace_seconds=0)
                del self._containers[name]
        elif not _is_ready(pod):
            if container.child.exit_code is not None:
                raise AssertionError(f"{name} ended with {container.child.exit_code}:\n{container.child.tail()}")
            if await _listens(container.address, _port(pod, "control")):
                await self.pods.patch_status(name, _running(container.address))

    async def _start(self, pod: Object) -> Container:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        address = f"{self._subnet}.{int(name.rpartition('-')[2]) + 10}"
        spill, data = self.folder / "spill" / name, self.folder / "data" / name
        spill.mkdir(parents=True, exist_ok=True)
        (spec,) = pod["spec"]["containers"]
        places = {"0.0.0.0": address, "=/spill": f"={spill}", "=/data": f"={data}"}
        arguments = [_replaced(argument, places) for argument in spec["args"]]
        identity = ["--name", name, "--pod-uid", uid, "--advertise-host", address]
        command = [sys.executable, "-m", "dstk.cli", *arguments, *identity]
        return Container(uid, address, await Child.start(command, self.folder / "logs" / f"{name}.log"))

    async def _end(self, pod: Object, container: Container) -> None:
        """preStop, then SIGTERM, then SIGKILL once the pod's time is up."""
        (spec,) = pod["spec"]["containers"]
        hook = [
            _replaced(part, {"127.0.0.1": container.address})
            for part in spec["lifecycle"]["preStop"]["exec"]["command"]
        ]
        assert hook[0] == "dstk"
        name = pod["metadata"]["name"]
        try:
            async with asyncio.timeout(pod["metadata"]["deletionGracePeriodSeconds"]):
                waiting = await Child.start(
                    [sys.executable, "-m", "dstk.cli", *hook[1:]], self.folder / "logs" / "hooks.log"
                )
                await waiting.wait()
                container.child.signal(signal.SIGTERM)
                code = await container.child.wait()
        except TimeoutError:
            container.child.kill_session()
            code = await container.child.wait()
        self.ended.append((name, _revision(pod), code))


def _replaced(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        text = text.replace(old, new)
    return text


def _pod(found: Object, name: str, revision: str) -> Object:
    template, owner = found["spec"]["template"], found["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner["name"], "uid": owner["uid"]}
    metadata = {
        **template["metadata"],
        "name": name,
        "labels": {**template["metadata"]["labels"], REVISION_LABEL: revision},
        "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
    }
    # On a node, so that its deletion waits for us. The account is not there; nothing here needs one.
    spec = {
        key: value for key, value in template["spec"].items() if key not in ("serviceAccountName", "serviceAccount")
    }
    return {"metadata": metadata, "spec": {**spec, "nodeName": "node-0"}}


def _running(address: str) -> Object:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}


def _port(pod: Object, name: str) -> int:
    (spec,) = pod["spec"]["containers"]
    return next(int(port["containerPort"]) for port in spec["ports"] if port["name"] == name)


def _revision(pod: Object) -> str:
    found: str = pod["metadata"]["labels"][REVISION_LABEL]
    return found


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


async def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False

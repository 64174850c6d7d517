"""What kubectl does inside of containers. There are none here: a pod is a process of this machine, or nothing."""

from __future__ import annotations

from dstk.local.apiserver import status
from dstk.local.apiserver.resource import Object

INSIDE = frozenset({"attach", "ephemeralcontainers", "exec", "portforward"})
"""Subresources of pods that act inside of their containers."""

LOG = "log"


def refusal(subresource: str, pod: Object) -> status.Refusal:
    """Why that is not done, and what to do instead."""
    name = pod["metadata"]["name"]
    if (pod.get("status") or {}).get("phase") != "Running":
        return status.bad_request(
            f'pod "{name}" does not run: no containers run here, only workers that were started with this API server do'
        )
    if subresource == "portforward":
        host = pod["status"].get("podIP", "127.0.0.1")
        containers = pod.get("spec", {}).get("containers") or ()
        ports = [port for container in containers for port in container.get("ports") or ()]
        told = ", ".join(f"{port.get('name', '')} at {host}:{port['containerPort']}".strip() for port in ports)
        return status.bad_request(
            f'pod "{name}" is a process of this machine, not a container: its ports need no forwarding: {told}'
        )
    does = "looked into" if subresource == "attach" else "entered"
    return status.bad_request(
        f'pod "{name}" is a process of this machine, not a container that could be {does}: see kubectl logs {name}'
    )

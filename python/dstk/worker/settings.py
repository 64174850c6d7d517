"""The worker's settings, each with its unit."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dstk._core import Node


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker process runs. Addresses are ``host:port``; port 0 takes any."""

    name: str
    """The pod's name; what ``Partition.spec.primary`` says."""
    pod_uid: str = ""
    """The pod's UID; with the boot nonce it tells one life of the worker from another."""
    data_address: str = "0.0.0.0:7070"
    control_address: str = "0.0.0.0:7071"
    metrics_address: str = "0.0.0.0:7072"
    partition_metrics: bool = False
    """Whether each partition has metrics of its own; there may be thousands."""
    advertise_host: str = ""
    """The host that others reach this worker by; the bound host when empty."""
    ready_file: Path | None = None
    """Written once all ports listen: their addresses as JSON."""
    drain_seconds: float = 0.0
    """How long SIGTERM waits for the operator to empty the worker before it stops all the same."""
    grace_seconds: float = 2.0
    """How long running requests may take to end at a stop."""
    data_dir: Path | None = None
    """Where what has to survive the process is kept; without it the worker takes no keyspace of durability Disk."""
    limits: dict[str, int | float | str] = field(default_factory=dict)
    """Limits of the node, by name: see rust/core/src/node/settings.rs."""


def check_limits(limits: Mapping[str, int | float | str]) -> None:
    """Raises ConfigError for a limit that does not exist or cannot be; it says which there are."""
    Node.check_settings(limits)


def new_incarnation(pod_uid: str) -> str:
    """The identity of this life of the worker.

    A container that is restarted in place keeps its pod's UID but has lost its memory, hence the nonce.
    """
    return f"{pod_uid or os.getpid()}/{secrets.token_hex(6)}"

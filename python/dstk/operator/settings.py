"""Every bound and interval of the operator, with its unit, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dstk.errors import ConfigError
from dstk.kube import CacheSettings, ElectionSettings
from dstk.lifecycle.observed import Limits

__all__ = ["COMPONENTS", "OperatorSettings", "limits_of"]

COMPONENTS = ("assigner", "reconciler")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What an operator process does, and within which bounds. Seconds unless a name says otherwise."""

    namespace: str | None = None
    """None: the namespace of the kubeconfig's context or of the operator's own pod."""
    kubeconfig: str | None = None
    components: frozenset[str] = frozenset(COMPONENTS)
    leader_election: bool = True
    """Without it this process takes the lease at once: for when it is known to be the only one."""
    metrics_address: str | None = None
    """host:port of /metrics and /healthz; port 0: any free one; None: no server."""
    worker_selector: str = ""
    """Label selector of worker pods. A worker's pod has container ports ``control`` and ``data`` besides."""

    lease: str = "dstk"
    """Each component has a Lease of its own, named ``<lease>-<component>``."""
    election: ElectionSettings = field(default_factory=ElectionSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    limits: Limits = field(default_factory=Limits)

    plan_interval: float = 1.0
    load_interval: float = 1.0
    """How often workers report their load."""
    route_delay: float = 0.01
    """Changes of the routing table are collected for so long before they are pushed."""
    control_timeout: float = 10.0
    """For a worker's answer to one control call."""
    reconnect_longest: float = 2.0
    """Longest pause between two tries to reach a worker."""
    relook_interval: float = 30.0
    """Every worker is looked at so often though nothing is known to have changed: a call that was given up may have
    arrived since."""
    progress_interval: float = 2.0
    """A status in which only the progress has changed is written so often at most."""
    keep_finished: int = 1000
    """Finished Assignments without ttlSecondsAfterFinished that are kept, the latest."""
    size_interval: float = 10.0
    """How often the sizes that workers report are compared with what the Partitions say."""
    floor_interval: float = 10.0
    """How often it is written down, outside of the workers' disks, how far the logs on them are."""
    max_sizes: int = 100
    """Partitions whose size is written in one such interval; those that are furthest off come first."""
    max_writes: int = 64
    """API writes in flight at one time, over all Assignments."""
    max_tells: int = 64
    """Control calls in flight at one time to one worker."""
    kopf_inactivity: float = 70.0
    """A watch of kopf's that brings nothing for so long is opened again."""

    def __post_init__(self) -> None:
        unknown = self.components - set(COMPONENTS)
        if unknown or not self.components:
            named = ", ".join(sorted(unknown)) or "none"
            raise ConfigError(f"unknown operator component: {named}; there are {' and '.join(COMPONENTS)}")

    def runs(self, component: str) -> bool:
        return component in self.components


def limits_of(given: Mapping[str, int | float | str]) -> Limits:
    """The limits of operations, with those that are given. Raises ConfigError for one that does not exist or cannot be.

    Counts are whole and at least 1, `fence_lag_writes` at least 0; seconds are from 0.001 to a year.
    """
    checked: dict[str, Any] = {}
    defaults = {each.name: each.default for each in fields(Limits)}
    for name, value in given.items():
        if name not in defaults:
            raise ConfigError(f"the operator has no limit {name!r}; there are {', '.join(sorted(defaults))}")
        if isinstance(defaults[name], int):
            lowest = 0 if name == "fence_lag_writes" else 1
            if not isinstance(value, int) or value < lowest:
                raise ConfigError(f"{name} takes a whole number from {lowest}, not {value!r}")
        elif isinstance(value, str) or not 0.001 <= value <= 31_536_000:
            raise ConfigError(f"{name} takes seconds from 0.001 to 31536000, not {value!r}")
        checked[name] = value
    return Limits(**checked)

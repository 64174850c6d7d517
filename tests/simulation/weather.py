"""What goes wrong in a world, how often, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["UNSETTLED", "WEATHERS", "Weather"]


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances are per call. Rates are times a minute while the storm lasts; then everything heals."""

    storm_seconds: float = 0.0

    call_lost: float = 0.0
    """A control call never arrives."""
    call_unanswered: float = 0.0
    """A control call is carried out, and its answer is lost."""
    call_delayed: float = 0.0
    """A control call arrives long after its sender has given up, behind calls that were sent later."""
    call_twice: float = 0.0
    """A control call arrives once more, later."""

    api_lost: float = 0.0
    """A request to the API server times out and was not applied."""
    api_unanswered: float = 0.0
    """It times out and was applied."""
    api_late: float = 0.0
    """It times out and is applied later."""
    api_error: float = 0.0
    """It is answered with an error of the 500s."""
    watch_slow: float = 0.0
    """Changes reach a cache late, so one kind's before or behind another's."""
    watch_lost: float = 0.0
    """A watch brings nothing more until the cache lists again; by a list that is old when it arrives, often."""

    operator_crash: float = 0.0
    operator_lingers: float = 0.3
    """Chance that an operator which has lost its lease goes on for a while beside its successor."""
    operator_pause: float = 0.0
    worker_crash: float = 0.0
    """It restarts under its name."""
    worker_away: float = 0.0
    """It is down for a while, then restarts under its name."""
    worker_pause: float = 0.0
    worker_slow: float = 0.0
    pod_deleted: float = 0.0
    """Its pod is gone, and comes back under its name after a while, if ever."""
    pod_forced: float = 0.0
    """Its pod is deleted by force: the object is gone, and another one may come, while the process lives for a while."""
    unreachable: float = 0.0
    """Operators cannot reach a worker for a while."""
    stream_broken: float = 0.0
    """A follower's stream ends."""
    labelled: float = 0.0
    """Somebody changes a label of a Partition."""
    cancelled: float = 0.0
    """An Assignment is deleted; its finalizer keeps it until it has ended."""
    vanished: float = 0.0
    """An Assignment is deleted together with its finalizer."""
    keyspace_remade: float = 0.0
    """The Keyspace is deleted, and made again after a while."""
    api_restored: float = 0.0
    """The API server comes back from an earlier state of it."""
    client_unanswered: float = 0.0
    """The answer to a client gets lost."""

    disk_set_back: float = 0.0
    """A worker comes back with its disk as it was a while ago."""

    lease: bool = False
    """The Keyspace's failover is Lease."""

    disk: bool = False
    """Workers keep what they hold on disk."""
    keeps_unsynced: float = 0.5
    """Chance that what a crashed worker had written but not synced is found again."""


CALM = Weather()
CALLS = Weather(
    storm_seconds=20, call_lost=0.06, call_unanswered=0.06, call_delayed=0.06, call_twice=0.05, stream_broken=4,
    labelled=20, client_unanswered=0.05,
)  # fmt: skip
API = Weather(
    storm_seconds=20, api_lost=0.06, api_unanswered=0.08, api_late=0.12, api_error=0.03, watch_slow=0.2,
    watch_lost=0.01, labelled=20, client_unanswered=0.02,
)  # fmt: skip
OPERATORS = Weather(
    storm_seconds=25, operator_crash=15, operator_pause=5, api_late=0.05, api_unanswered=0.05, call_lost=0.02,
    call_unanswered=0.02, call_delayed=0.02, watch_slow=0.05,
)  # fmt: skip
RIVALS = Weather(
    storm_seconds=25, operator_crash=25, operator_lingers=0.9, operator_pause=15, call_unanswered=0.02,
    call_delayed=0.04, api_late=0.03, cancelled=1,
)  # fmt: skip
WORKERS = Weather(
    storm_seconds=25, worker_crash=4, worker_away=3, worker_pause=6, worker_slow=4, pod_deleted=3, unreachable=5,
    client_unanswered=0.02,
)  # fmt: skip
USERS = Weather(storm_seconds=20, cancelled=6, labelled=30, api_late=0.1, api_unanswered=0.05, watch_slow=0.1)
VANISHING = Weather(
    storm_seconds=20, vanished=6, api_late=0.1, api_unanswered=0.05, call_lost=0.04, call_unanswered=0.04,
    call_delayed=0.04, watch_slow=0.1,
)  # fmt: skip
EVERYTHING = Weather(
    storm_seconds=25, call_lost=0.03, call_unanswered=0.03, call_delayed=0.04, call_twice=0.02, api_lost=0.03,
    api_unanswered=0.04, api_late=0.06, api_error=0.01, watch_slow=0.1, watch_lost=0.005, operator_crash=6,
    operator_lingers=0.5, operator_pause=4, worker_crash=2, worker_away=1, worker_pause=3, worker_slow=2,
    pod_deleted=1, unreachable=2, stream_broken=2, labelled=5, cancelled=1, client_unanswered=0.03,
)  # fmt: skip
# Pods that go and come back while nobody's watches are up to date.
LAGGING = replace(EVERYTHING, pod_deleted=6, watch_slow=0.5, watch_lost=0.05)

WEATHERS: dict[str, Weather] = {
    "calm": CALM,
    "calls": CALLS,
    "api": API,
    "operators": OPERATORS,
    "rivals": RIVALS,
    "workers": WORKERS,
    "users": USERS,
    "vanishing": VANISHING,
    "everything": EVERYTHING,
    "lagging": LAGGING,
    "disk": replace(EVERYTHING, disk=True, worker_crash=10, worker_away=4, pod_deleted=0, cancelled=0.5),
    "disk-calls": replace(CALLS, disk=True, worker_crash=8),
    "disk-operators": replace(OPERATORS, disk=True, worker_crash=6),
    "disk-set-back": replace(WORKERS, storm_seconds=40, disk=True, disk_set_back=4, pod_deleted=0, unreachable=0),
    "leases": replace(WORKERS, lease=True, unreachable=12, operator_crash=2, operator_lingers=0.7, worker_pause=10),
    "forced": replace(WORKERS, lease=True, pod_forced=8, pod_deleted=1, operator_crash=2),
    "keyspaces": replace(WORKERS, keyspace_remade=8, labelled=5, api_late=0.05, watch_slow=0.1, operator_crash=3),
}

UNSETTLED: dict[str, Weather] = {
    "restored": replace(OPERATORS, api_restored=6, watch_slow=0.1, operator_crash=4, worker_crash=1),
}
"""Weather in which worlds still break promises, by some kind that is not understood yet: it is run when it is named."""


def kinds_of_incident() -> tuple[str, ...]:
    """The fields of a Weather that are rates."""
    rates = (
        "operator_crash", "operator_pause", "worker_crash", "worker_away", "worker_pause", "worker_slow",
        "pod_deleted", "pod_forced", "unreachable", "stream_broken", "labelled", "cancelled", "vanished", "keyspace_remade",
        "api_restored", "disk_set_back",
    )  # fmt: skip
    assert set(rates) <= {field.name for field in fields(Weather)}
    return rates

"""Every exception that dstk raises.

::

    DstkError
    ├── InvalidRequest(ValueError)       the call itself is wrong; trying again will not help
    │   ├── KeyLengthError               a key or bound is longer (or shorter) than the keyspace's keys
    │   ├── ValueTooLarge                a value or batch above the limit
    │   ├── InvalidRange                 start not below end, ranges that overlap, no range where one was named
    │   └── LimitError                   a scan without a limit, or with one out of bounds
    ├── WrongType(TypeError)             an argument of a type that cannot be understood
    ├── ConfigError                      a setting, flag or file of the user's that is wrong
    ├── DataDamaged                      what a worker has on disk cannot be trusted, and is not served
    ├── UnknownKeyspace                  no such keyspace
    ├── VersionMismatch                  a condition on a row's version was not met
    ├── Unavailable                      not done, and nothing changed: try again
    │   ├── NotReady                     the worker knows of it but cannot serve it yet
    │   ├── LimitReached                 a bound of the worker (memory, held requests) is reached
    │   └── DeadlineExceeded(TimeoutError)   the caller's deadline passed before it could be done
    ├── DataLost                         the rows were lost, and the range is not served before that is accepted
    ├── PartialFailure                   some operations of a *_many call failed
    ├── OutcomeUnknown                   a write that may or may not have been applied
    ├── Conflict                         a control action that no longer fits what the worker holds
    │   ├── Misdirected                  meant for another worker, or for one of another cluster
    │   ├── StaleRequest                 older epoch, term or incarnation than the worker has seen
    │   ├── NotHere                      the worker does not hold that partition
    │   └── WrongRole                    the partition is in a role that cannot do this
    └── ApiError                         an answer of the Kubernetes API

Every class has ``retryable`` (may the same call succeed later, unchanged?) and ``exit_code`` (what the ``dstk``
command ends with: 2 for what the user did wrong, 4 for what may succeed later, 6 and 7 for a VersionMismatch and an
OutcomeUnknown, 1 otherwise).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApiError",
    "ConfigError",
    "Conflict",
    "DataDamaged",
    "DataLost",
    "DeadlineExceeded",
    "DstkError",
    "InvalidRange",
    "InvalidRequest",
    "KeyLengthError",
    "LimitError",
    "LimitReached",
    "Misdirected",
    "NotHere",
    "NotReady",
    "OutcomeUnknown",
    "PartialFailure",
    "StaleRequest",
    "Unavailable",
    "UnknownKeyspace",
    "ValueTooLarge",
    "VersionMismatch",
    "WrongRole",
    "WrongType",
]


class DstkError(Exception):
    """The root: ``except DstkError`` catches whatever dstk raises on purpose."""

    retryable: bool = False
    exit_code: int = 1


class InvalidRequest(DstkError, ValueError):
    """The call itself is wrong; trying again will not help."""

    exit_code = 2


class KeyLengthError(InvalidRequest):
    """A key or bound does not have the length that the keyspace takes."""


class ValueTooLarge(InvalidRequest):
    """A value or batch is above the limit."""


class InvalidRange(InvalidRequest):
    """A range that holds no key, overlaps another, or does not exist where it was named."""


class LimitError(InvalidRequest):
    """A scan without a limit, or with a limit out of bounds."""


class WrongType(DstkError, TypeError):
    """An argument has a type that cannot be understood."""

    exit_code = 2


class ConfigError(DstkError):
    """A setting, flag or file of the user's is wrong."""

    exit_code = 2


class DataDamaged(DstkError):
    """What a worker has on disk is damaged, not merely cut off at its end; nothing of it is served."""


class DataLost(DstkError):
    """Rows of the partition were lost; nothing was done, and nothing of it is served before somebody accepts the loss.

    Trying again does not help: ``dstk accept-loss PARTITION`` does, or the volume that has the rows. With ``onLoss:
    Recreate`` a partition whose rows went with a worker's memory is served from empty at once, and this is not raised:
    ``client.losses()`` tells of it.
    """


class UnknownKeyspace(DstkError):
    """There is no keyspace of that name."""

    exit_code = 2


class VersionMismatch(DstkError):
    """A condition on a row's version was not met; nothing was written."""

    exit_code = 6

    def __init__(self, message: str, current_version: int = 0) -> None:
        super().__init__(message)
        self.current_version = current_version
        """The row's version at that moment; 0 when there was no row."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.current_version)


class Unavailable(DstkError):
    """Nothing was done; the same call may succeed later."""

    retryable = True
    exit_code = 4


class NotReady(Unavailable):
    """The worker knows of the partition but cannot do this with it yet."""


class LimitReached(Unavailable):
    """A bound of the worker is reached: memory, held requests, spill."""


class DeadlineExceeded(Unavailable, TimeoutError):
    """The caller's deadline passed before the call could be done; nothing was applied."""


class OutcomeUnknown(DstkError):
    """The connection broke, or the deadline passed, after a write was sent: it may or may not have been applied.

    Never retried by dstk. Read the row, or write with ``if_version``, which is safe to repeat.
    """

    exit_code = 7


class PartialFailure(DstkError):
    """Some operations of a ``*_many`` call failed; the others were done."""

    def __init__(self, message: str, results: list[Any]) -> None:
        super().__init__(message)
        self.results = results
        """For each operation, in order, its result or the exception it ended with."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.results)


class Conflict(DstkError):
    """A control action no longer fits what the worker holds: look again before deciding again."""


class StaleRequest(Conflict):
    """The epoch, term or incarnation is older than what the worker has seen."""


class Misdirected(Conflict):
    """The call is meant for another worker, or for a worker of another cluster; nothing was done."""


class NotHere(Conflict):
    """The worker does not hold that partition."""


class WrongRole(Conflict):
    """The partition's role does not allow the action."""


class ApiError(DstkError):
    """The Kubernetes API answered with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status."""
        self.reason = reason
        """The machine-readable reason of the Status object, such as ``Conflict`` or ``AlreadyExists``."""
        self.message = message
        self.retryable = status == 429 or status >= 500
        if status in (400, 404, 422) or reason == "AlreadyExists":
            self.exit_code = 2
        elif self.retryable:
            self.exit_code = Unavailable.exit_code

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.reason, self.message)

"""The exception tree: what callers may rely on."""

from __future__ import annotations

import inspect
import pickle

import pytest

from dstk import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_is_drawn_exported_and_says_whose_fault_it_is(error):
    assert issubclass(error, errors.DstkError)
    assert f" {error.__name__}" in errors.__doc__.replace("\n    DstkError", "\n     DstkError")
    assert error.__name__ in errors.__all__
    assert isinstance(error.retryable, bool)
    assert error.exit_code in (1, 2, 4, 6, 7)


def test_errors_are_also_what_python_would_raise():
    assert issubclass(errors.KeyLengthError, ValueError)
    assert issubclass(errors.WrongType, TypeError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert [error for error in CLASSES if error.retryable and not issubclass(error, errors.Unavailable)] == []


@pytest.mark.parametrize(
    "error",
    [
        errors.VersionMismatch("row k is at version 4, not 3", 4),
        errors.ApiError(409, "Conflict", "the object has been modified"),
        errors.OutcomeUnknown("connection lost"),
    ],
)
def test_errors_travel_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "exit_code"),
    [
        (404, "NotFound", False, 2),
        (409, "AlreadyExists", False, 2),
        (409, "Conflict", False, 1),
        (422, "Invalid", False, 2),
        (429, "TooManyRequests", True, 4),
        (503, "ServiceUnavailable", True, 4),
    ],
)
def test_an_api_error_knows_whether_it_may_pass(status, reason, retryable, exit_code):
    error = errors.ApiError(status, reason, "why")
    assert (error.retryable, error.exit_code) == (retryable, exit_code)
    assert str(error) == f"{status} {reason}: why"

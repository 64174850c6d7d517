"""Refusals, as the `Status` objects that Kubernetes clients know.

Wording and codes follow kube-apiserver, because people and programs (kubectl, client libraries) match on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

OPTIMISTIC_LOCK = "the object has been modified; please apply your changes to the latest version and try again"

_OMITTED: Any = object()

_CAUSE_TEXT = {
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field: `reason` is a Kubernetes cause reason, `body` its text without the path."""

    field: str
    reason: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def _field_error(field: str, reason: str, detail: str, value: Any = _OMITTED) -> FieldError:
    body = _CAUSE_TEXT[reason]
    if value is not _OMITTED:
        body += f": {go_value(value)}"
    if detail:
        body += f": {detail}"
    return FieldError(field, reason, body)


def go_value(value: Any) -> str:
    """A JSON value as Kubernetes prints it inside an error."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return msgspec.json.encode(value).decode()


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    return _field_error(field, "FieldValueInvalid", detail, value)


def invalid_rule(field: str, detail: str) -> FieldError:
    """`Invalid value` without the value, as rules on objects and lists report it."""
    return _field_error(field, "FieldValueInvalid", detail)


def invalid_type(field: str, value: Any, detail: str) -> FieldError:
    return _field_error(field, "FieldValueTypeInvalid", detail, value)


def required(field: str, detail: str = "") -> FieldError:
    return _field_error(field, "FieldValueRequired", detail)


def forbidden(field: str, detail: str) -> FieldError:
    return _field_error(field, "FieldValueForbidden", detail)


def duplicate(field: str, value: Any) -> FieldError:
    return _field_error(field, "FieldValueDuplicate", "", value)


def not_supported(field: str, value: Any, supported: Iterable[Any]) -> FieldError:
    names = [v if isinstance(v, str) else go_value(v) for v in supported]
    quoted = ", ".join(go_value(n) for n in names)
    return _field_error(field, "FieldValueNotSupported", f"supported values: {quoted}", value)


def too_long(field: str, limit: int) -> FieldError:
    unit = "byte" if limit == 1 else "bytes"
    return _field_error(field, "FieldValueTooLong", f"may not be more than {limit} {unit}")


def too_many(field: str, actual: int, limit: int) -> FieldError:
    unit = "item" if limit == 1 else "items"
    return _field_error(field, "FieldValueTooMany", f"must have at most {limit} {unit}", actual)


class Refusal(Exception):
    """A request is refused: `code` is the HTTP status, `status()` the body the client gets."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = None if details is None else dict(details)

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details is not None:
            body["details"] = self.details
        return body


def success(details: Mapping[str, Any]) -> dict[str, Any]:
    """The `Status` that answers a DELETE which removed the object."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": dict(details),
    }


def _qualified(group: str, name: str) -> str:
    return f"{name}.{group}" if group else name


def _details(group: str, kind: str, name: str) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def path_not_found() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def not_served(group: str, name: str) -> Refusal:
    """No such kind or subresource. It says more than a real API server, which has many that are missing here."""
    text = f"dstk's embedded API has no {_qualified(group, name)}; kubectl api-resources lists what it has"
    return Refusal(404, "NotFound", f"the server could not find the requested resource: {text}", {})


def not_found(group: str, plural: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{_qualified(group, plural)} "{name}" not found', _details(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> Refusal:
    return Refusal(
        409,
        "AlreadyExists",
        f'{_qualified(group, plural)} "{name}" already exists',
        _details(group, plural, name),
    )


def conflict(group: str, plural: str, name: str, detail: str = OPTIMISTIC_LOCK) -> Refusal:
    return Refusal(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {_qualified(group, plural)} "{name}": {detail}',
        _details(group, plural, name),
    )


def apply_conflict(message: str, causes: list[dict[str, Any]]) -> Refusal:
    return Refusal(409, "Conflict", message, {"causes": causes})


def invalid(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> Refusal:
    unique = list(dict.fromkeys(errors))
    texts = [str(error) for error in unique]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": error.reason, "message": error.body, "field": error.field} for error in unique]
    return Refusal(422, "Invalid", f'{_qualified(group, kind)} "{name}" is invalid: {joined}', details)


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def denied(group: str, plural: str, name: str, why: str) -> Refusal:
    quoted = f' "{name}"' if name else ""
    return Refusal(
        403,
        "Forbidden",
        f"{_qualified(group, plural)}{quoted} is forbidden: {why}",
        _details(group, plural, name),
    )


def method_not_allowed(group: str, plural: str, action: str) -> Refusal:
    text = f'{action} is not supported on resources of kind "{_qualified(group, plural)}"'
    return Refusal(405, "MethodNotAllowed", text, _details(group, plural, ""))


def expired(message: str) -> Refusal:
    return Refusal(410, "Expired", message)


def unsupported_media_type(found: str, supported: Iterable[str], why: str = "") -> Refusal:
    text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
    if found:
        text += f" (got {found}{': ' if why else ''}{why})"
    return Refusal(415, "UnsupportedMediaType", text)


def not_acceptable(supported: Iterable[str]) -> Refusal:
    return Refusal(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {', '.join(supported)}",
    )


def too_large(limit: int) -> Refusal:
    return Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def internal(error: BaseException) -> Refusal:
    return Refusal(500, "InternalError", f"Internal error occurred: {error}")

"""Reviews: who asks, and what they may do. There is no authentication here, and everybody may do everything."""

from __future__ import annotations

from typing import Any, Final

from dstk.local.apiserver import status
from dstk.local.apiserver.resource import Object

VIRTUAL: Final = {
    ("authentication.k8s.io", "v1"): {"selfsubjectreviews": "SelfSubjectReview"},
    ("authorization.k8s.io", "v1"): {
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
    },
}
"""Kinds that are answered and never stored: by group and version, the kind of each plural."""

GROUPS: Final = frozenset(group for group, _ in VIRTUAL)

_OUTCOMES: Final[dict[str, Object]] = {
    "SelfSubjectReview": {"userInfo": {"username": "whoever-is-on-this-machine", "groups": ["system:masters"]}},
    "SelfSubjectAccessReview": {"allowed": True},
    "SelfSubjectRulesReview": {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [],
        "incomplete": False,
    },
}


def kind_of(group: str, version: str, plural: str) -> str:
    """The kind that is reviewed. Raises Refusal 404."""
    kind = VIRTUAL.get((group, version), {}).get(plural)
    if kind is None:
        raise status.path_not_found()
    return kind


def answer(group: str, version: str, kind: str, asked: Any) -> Object:
    """What is said to a review; ``asked`` does not matter but for what is given back."""
    given = asked if type(asked) is dict else {}
    about = {"kind": kind, "apiVersion": f"{group}/{version}", "metadata": {}}
    spec: Object = {} if kind == "SelfSubjectReview" else {"spec": {}}
    return {**about, **spec, **given, "status": _OUTCOMES[kind]}

"""What people type on their first day that needs more of an API server than our own kinds do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from conformance.apiclient import Api

Kubectl = Callable[..., Any]


async def test_create_of_built_in_kinds(api: Api, run: Kubectl) -> None:
    """kubectl sends these in protobuf."""
    assert (await run("create", "secret", "generic", "s", "--from-literal=a=b ü")).out == "secret/s created\n"
    secret = (await api.get(f"{api.core('secrets')}/s")).body
    assert secret["type"] == "Opaque"
    assert base64.b64decode(secret["data"]["a"]).decode() == "b ü"
    assert set(secret) == {"apiVersion", "kind", "metadata", "type", "data"}

    await run("create", "configmap", "c", "--from-literal=a=1", "--from-literal=empty=")
    assert (await api.get(f"{api.core('configmaps')}/c")).body["data"] == {"a": "1", "empty": ""}

    await run("create", "serviceaccount", "sa")
    account = (await api.get(f"{api.core('serviceaccounts')}/sa")).body
    assert set(account) == {"apiVersion", "kind", "metadata"}

    await run("create", "service", "clusterip", "svc", "--tcp=80:8080", "--clusterip=None")
    spec = (await api.get(f"{api.core('services')}/svc")).body["spec"]
    assert spec["ports"] == [{"name": "80-8080", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    assert (spec["selector"], spec["type"], spec["clusterIP"]) == ({"app": "svc"}, "ClusterIP", "None")


async def test_create_of_a_namespace(run: Kubectl) -> None:
    made = json.loads((await run("create", "namespace", "first-day", "--dry-run=server", "-o", "json")).out)
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "first-day"}
    assert made["status"] == {"phase": "Active"}


async def test_create_says_what_is_there_already(run: Kubectl) -> None:
    await run("create", "configmap", "c", "--from-literal=a=1")
    again = await run("create", "configmap", "c", "--from-literal=a=1", ok=False)
    assert again.code == 1
    assert 'configmaps "c" already exists' in again.err
    wrong = await run("create", "configmap", "C", "--from-literal=a=1", ok=False)
    assert 'The ConfigMap "C" is invalid: metadata.name: Invalid value: "C"' in wrong.err + wrong.out or (
        'ConfigMap "C" is invalid: metadata.name: Invalid value: "C"' in wrong.err
    )


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("conformance.dstk.io/v1", "Gizmo"), ("conformance.dstk.io/v9", "Widget"), ("nowhere.dstk.io/v1", "Widget")],
)
@pytest.mark.parametrize(
    "verb", [["apply"], ["create"], ["replace"], ["apply", "--server-side"], ["delete"]], ids=" ".join
)
async def test_a_kind_that_is_not_there_is_said_not_to_be(
    run: Kubectl, verb: list[str], api_version: str, kind: str
) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}
    refused = await run(*verb, "-f", "-", input=body, ok=False)
    assert refused.code == 1
    assert f'no matches for kind "{kind}" in version "{api_version}"' in refused.err


async def test_a_resource_that_is_not_there_is_said_not_to_be(run: Kubectl) -> None:
    for name in ("gizmos", "gizmos.conformance.dstk.io", "widgets.v9.conformance.dstk.io"):
        refused = await run("get", name, ok=False)
        assert refused.code == 1
        assert f'error: the server doesn\'t have a resource type "{name.partition(".")[0]}"' in refused.err


async def test_who_is_asking(run: Kubectl) -> None:
    told = json.loads((await run("auth", "whoami", "-o", "json")).out)
    assert told["status"]["userInfo"]["username"]
    assert "ATTRIBUTE" in (await run("auth", "whoami")).out
    assert (await run("auth", "can-i", "create", "widgets")).out == "yes\n"
    assert "*.*" in (await run("auth", "can-i", "--list")).out


async def test_logs_of_what_is_not_there(run: Kubectl) -> None:
    refused = await run("logs", "nope", ok=False)
    assert refused.code == 1
    assert 'pods "nope" not found' in refused.err
    refused = await run("exec", "nope", "--", "ls", ok=False)
    assert 'pods "nope" not found' in refused.err

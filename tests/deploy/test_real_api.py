"""The chart's objects before a real kube-apiserver, which knows every field and what a restricted pod may not have."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT, Object, rendered

import worlds

pytestmark = pytest.mark.skipif(not worlds.REAL, reason="needs a real kube-apiserver: make test-kubernetes")

VARIANTS: dict[str, dict[str, Any]] = {
    "restarted by the controller, on disk": {"workers": {"restarts": "StatefulSet", "disk": {"enabled": True}}},
    "everything given": {
        "image": {"pullSecrets": ["secret"], "tag": "1"},
        "operator": {
            "replicas": 1,
            "labels": {"app": "kv"},
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
        },
        "workers": {
            "spare": 0,
            "labels": {"app": "kv"},
            "limits": {"memory_limit_bytes": 1_500_000_000},
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
            ],
            "disk": {"enabled": True, "storageClassName": "fast"},
        },
        "networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "metrics": []},
    },
}


def kubectl(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [worlds.kubectl() or "kubectl", "--kubeconfig", str(worlds.plane().kubeconfig), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)


def applied(text: str) -> subprocess.CompletedProcess[str]:
    """What a dry run of the API server says; a field that it does not know is an error."""
    dry = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"]
    return kubectl(*dry, given=text)


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    """Namespace dstk, as deploy/dstk.yaml has it."""
    first = (ROOT / "deploy" / "dstk.yaml").read_text().partition("\n---")[0]
    done = kubectl("apply", "--server-side", "-f", "-", given=first)
    assert done.returncode == 0, done.stderr
    yield
    kubectl("delete", "namespace", "dstk", "--wait=false")


def test_the_plain_yaml_is_taken() -> None:
    done = applied((ROOT / "deploy" / "dstk.yaml").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert "statefulset.apps/dstk-worker serverside-applied" in done.stdout


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_values_make_of_it_is_taken(variant: str) -> None:
    done = applied(yaml.safe_dump_all(rendered(VARIANTS[variant]).all))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_field_that_there_is_not_would_be_refused() -> None:
    found = rendered().one("StatefulSet", "dstk-worker")
    found["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert '.containers[name="worker"].readynessProbe: field not declared' in applied(yaml.safe_dump(found)).stderr


def pod(kind: str, name: str) -> Object:
    template = rendered().one(kind, name)["spec"]["template"]
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": "dstk"},
        "spec": {**spec, "automountServiceAccountToken": False},
    }


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "dstk-operator"), ("StatefulSet", "dstk-worker")])
def test_its_pods_are_restricted_and_less_would_be_refused(kind: str, name: str) -> None:
    found = pod(kind, name)
    done = applied(yaml.safe_dump(found))
    assert (done.returncode, done.stderr) == (0, "")
    for level, field in (
        ("pod", "runAsNonRoot"),
        ("pod", "seccompProfile"),
        ("container", "allowPrivilegeEscalation"),
        ("container", "capabilities"),
    ):
        less = copy.deepcopy(found)
        owner = less["spec"] if level == "pod" else less["spec"]["containers"][0]
        del owner["securityContext"][field]
        said = applied(yaml.safe_dump(less)).stderr
        assert 'violates PodSecurity "restricted:latest"' in said, field


def test_helm_installs_upgrades_and_uninstalls(helm: str) -> None:
    """Strategies and definitions are where upgrades and uninstallations of charts go wrong."""
    where = ["--kubeconfig", str(worlds.plane().kubeconfig), "--namespace", "shop"]

    def run(verb: str, *arguments: str) -> None:
        subprocess.run([helm, verb, "shop", *arguments, *where], check=True, capture_output=True, text=True)

    def strategy() -> str:
        return kubectl("get", "-n", "shop", "sts/shop-dstk-worker", "-o", "jsonpath={.spec.updateStrategy}").stdout

    # The definitions may be there already, from `dstk crds` or another test.
    run("install", str(CHART), "--create-namespace", "--take-ownership")
    assert strategy() == '{"type":"OnDelete"}'
    run("upgrade", str(CHART), "--set", "workers.restarts=StatefulSet,workers.spare=0")
    assert json.loads(strategy())["type"] == "RollingUpdate"
    run("upgrade", str(CHART), "--set", "operator.replicas=1")
    assert strategy() == '{"type":"OnDelete"}'
    assert kubectl("get", "-n", "shop", "pdb", "-o", "name").stdout.split() == [
        "poddisruptionbudget.policy/shop-dstk-worker"
    ]
    run("rollback", "2")
    assert json.loads(strategy())["type"] == "RollingUpdate"
    run("uninstall")
    assert kubectl("get", "-n", "shop", "sts,deploy,role", "-o", "name").stdout == ""
    assert (
        "customresourcedefinition.apiextensions.k8s.io/partitions.dstk.io" in kubectl("get", "crd", "-o", "name").stdout
    )


def test_a_second_release_has_a_namespace_of_its_own_and_leaves_the_definitions_to_the_first(helm: str) -> None:
    def run(verb: str, release: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--kubeconfig", str(worlds.plane().kubeconfig), "--namespace", release]
        return subprocess.run([helm, verb, release, *arguments, *where], capture_output=True, text=True, check=False)

    first = run("install", "first", str(CHART), "--create-namespace", "--take-ownership")
    assert first.returncode == 0, first.stderr
    alike = run("install", "second", str(CHART), "--create-namespace")
    assert "cannot be imported into the current release" in alike.stderr
    second = run("install", "second", str(CHART), "--create-namespace", "--set", "crds.install=false")
    assert second.returncode == 0, second.stderr
    where = ["--kubeconfig", str(worlds.plane().kubeconfig), "--namespace", "first", "--set", "crds.install=false"]
    beside = subprocess.run([helm, "install", "third", str(CHART), *where], capture_output=True, text=True, check=False)
    assert "namespace first has the operator first-dstk-operator already" in beside.stderr
    for release in ("second", "first"):
        done = run("uninstall", release)
        assert done.returncode == 0, done.stderr
    assert "partitions.dstk.io" in kubectl("get", "crd", "-o", "name").stdout

"""What the chart makes of its values."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, ROOT, Rendered, container_of, pod_of, refusal, render_module, rendered

from dstk import api, errors
from dstk._core import Node
from dstk.cli.parser import build_parser
from dstk.kube import Pod, StatefulSet
from dstk.operator.sets import worker_set
from dstk.operator.workers import is_worker
from dstk.plan import RestartedBy

PODS = [("Deployment", "dstk-operator"), ("StatefulSet", "dstk-worker")]


def test_helm_lints_it_strictly(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_made_from_other_files_is_up_to_date() -> None:
    render = render_module()
    assert (ROOT / "deploy" / "dstk.yaml").read_text() == render.plain()
    assert {path: path.read_text() for path in (CHART / "files" / "crds").iterdir()} == render.definitions()


def test_package_crates_and_chart_have_one_version() -> None:
    versions = subprocess.run([sys.executable, ROOT / "deploy" / "versions.py"], capture_output=True, text=True)
    assert versions.returncode == 0, versions.stderr


def test_definitions_are_ours_and_outlive_the_release(chart: Rendered) -> None:
    found = {each["metadata"]["name"]: each for each in chart.all if each["kind"] == "CustomResourceDefinition"}
    for each in api.crds():
        name = each["metadata"]["name"]
        assert found[name]["spec"] == each["spec"]
        assert found.pop(name)["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not found
    assert not rendered({"crds": {"install": False}}).names("CustomResourceDefinition")


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_are_restricted(chart: Rendered, kind: str, name: str) -> None:
    found = chart.one(kind, name)
    security, container = pod_of(found)["securityContext"], container_of(found)
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_worker_is_not_the_first_to_go_when_its_node_is_short_of_memory(chart: Rendered) -> None:
    resources = container_of(chart.one("StatefulSet", "dstk-worker"))["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize(
    ("workers", "limit"),
    [
        ({}, (2 << 30) * 2 // 5),
        ({"resources": {"limits": {"memory": "1.5G"}}}, 600_000_000),
        ({"resources": {"limits": {"memory": "512Mi"}}}, (512 << 20) * 2 // 5),
        ({"resources": {"limits": {"memory": 1_000_000_000}}}, 400_000_000),
        ({"resources": {"limits": None}}, None),
        ({"limits": {"memory_limit_bytes": 7}}, 7),
        ({"limits": {"memory_limit_bytes": 0}}, 0),
    ],
)
def test_puts_are_refused_before_the_kernel_ends_the_process(workers: dict[str, Any], limit: int | None) -> None:
    arguments = container_of(rendered({"workers": workers}).one("StatefulSet", "dstk-worker"))["args"]
    given = [each.partition("memory_limit_bytes=")[2] for each in arguments if "memory_limit_bytes" in each]
    assert given == ([] if limit is None else [str(limit)])


def test_only_the_operator_has_a_token(chart: Rendered) -> None:
    assert pod_of(chart.one("StatefulSet", "dstk-worker"))["automountServiceAccountToken"] is False
    assert pod_of(chart.one("Deployment", "dstk-operator"))["automountServiceAccountToken"] is True
    for name in chart.names("ServiceAccount"):
        assert chart.one("ServiceAccount", name)["automountServiceAccountToken"] is False, "only pods that ask for it"
    (bound,) = chart.one("RoleBinding", "dstk-operator")["subjects"]
    assert bound == {"kind": "ServiceAccount", "name": "dstk-operator", "namespace": "dstk"}
    assert not chart.names("ClusterRole")


def test_evictions_are_only_granted_where_the_operator_restarts_workers(chart: Rendered) -> None:
    def granted(found: Rendered) -> set[str]:
        return {what for rule in found.one("Role", "dstk-operator")["rules"] for what in rule["resources"]}

    by_controller = rendered({"workers": {"restarts": "StatefulSet"}})
    assert granted(chart) - granted(by_controller) == {"pods/eviction"}
    files = [
        yaml.safe_load((CHART / "files" / f"operator-{name}-rules.yaml").read_text()) for name in ("role", "restart")
    ]
    assert chart.one("Role", "dstk-operator")["rules"] == files[0] + files[1]


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_the_command_line_takes_the_arguments(kind: str, name: str) -> None:
    limits = {"memory_limit_bytes": 15_000_000_000, "hold_seconds": 0.5}
    found = rendered({"workers": {"limits": limits, "disk": {"enabled": True}}}).one(kind, name)
    arguments = build_parser().parse_args([str(each) for each in container_of(found)["args"]])
    if kind == "StatefulSet":
        assert arguments.data_dir == "/data"
        assert set(arguments.limit) == {"spill_dir=/spill", "memory_limit_bytes=15000000000", "hold_seconds=0.5"}
        hook = container_of(found)["lifecycle"]["preStop"]["exec"]["command"]
        waits = build_parser().parse_args(hook[1:])
        assert (hook[0], waits.seconds) == ("dstk", arguments.drain_seconds)


def test_a_pod_is_given_longer_than_it_waits_to_be_emptied(chart: Rendered) -> None:
    pod = pod_of(chart.one("StatefulSet", "dstk-worker"))
    assert pod["terminationGracePeriodSeconds"] == 3600 + 30
    for probe in ("startupProbe", "livenessProbe"):
        assert container_of(chart.one("StatefulSet", "dstk-worker"))[probe]["terminationGracePeriodSeconds"] == 5


def test_the_operator_takes_these_pods_for_workers_and_selects_them(chart: Rendered) -> None:
    template = chart.one("StatefulSet", "dstk-worker")["spec"]["template"]
    assert is_worker(api.decode(Pod, {"metadata": {"name": "dstk-worker-0"}, "spec": template["spec"]}))
    arguments = build_parser().parse_args(container_of(chart.one("Deployment", "dstk-operator"))["args"])
    selected = dict(each.split("=") for each in arguments.worker_selector.split(","))
    assert selected.items() <= template["metadata"]["labels"].items()
    assert (
        not selected.items()
        <= chart.one("Deployment", "dstk-operator")["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_the_control_port_by_grpc(chart: Rendered, probe: str) -> None:
    container = container_of(chart.one("StatefulSet", "dstk-worker"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container[probe]["grpc"] == {"port": ports["control"]}


@pytest.mark.parametrize(
    ("values", "replicas", "strategy", "restarted_by", "spare"),
    [
        ({}, 4, "OnDelete", RestartedBy.OPERATOR, 1),
        ({"replicas": 5, "spare": 0}, 5, "OnDelete", RestartedBy.OPERATOR, 0),
        ({"restarts": "StatefulSet"}, 4, "RollingUpdate", RestartedBy.CONTROLLER, 1),
    ],
)
def test_planning_reads_out_of_the_stateful_set_what_the_values_say(
    values: dict[str, Any], replicas: int, strategy: str, restarted_by: RestartedBy, spare: int
) -> None:
    found = rendered({"workers": values}).one("StatefulSet", "dstk-worker")
    assert found["spec"]["updateStrategy"] == {"type": strategy}
    seen = worker_set(api.decode(StatefulSet, found))
    assert (seen.replicas, seen.restarted_by, seen.spare) == (replicas, restarted_by, spare)


def test_budgets_let_one_pod_go(chart: Rendered) -> None:
    for name in ("dstk-worker", "dstk-operator"):
        assert chart.one("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
    alone = rendered({"operator": {"replicas": 1}})
    assert alone.names("PodDisruptionBudget") == ["dstk-worker"], "a budget of one operator would hold up every drain"


def test_selectors_meet_their_pods_and_no_others(chart: Rendered) -> None:
    labels = {name: chart.one(kind, name)["spec"]["template"]["metadata"]["labels"] for kind, name in PODS}
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name in chart.names(kind):
            spec = chart.one(kind, name)["spec"]
            selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
            wanted = selector.get("matchLabels", selector)
            met = [owner for owner, found in labels.items() if wanted.items() <= found.items()]
            assert met == [name.removesuffix("-pods")], (kind, name)


def test_a_volume_is_taken_into_possession_only_where_that_is_asked_for(chart: Rendered) -> None:
    assert "initContainers" not in chart.one("StatefulSet", "dstk-worker")["spec"]["template"]["spec"]
    found = rendered({"workers": {"disk": {"enabled": True, "takeOwnership": True}}}).one("StatefulSet", "dstk-worker")
    (taking,) = found["spec"]["template"]["spec"]["initContainers"]
    assert taking["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert taking["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


def test_claims_are_there_with_disk_only(chart: Rendered) -> None:
    assert "volumeClaimTemplates" not in chart.one("StatefulSet", "dstk-worker")["spec"]
    disk = {"enabled": True, "size": "7Gi", "storageClassName": "fast"}
    found = rendered({"workers": {"disk": disk}}).one("StatefulSet", "dstk-worker")
    (claim,) = found["spec"]["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "7Gi"}},
    }
    assert {"name": "data", "mountPath": "/data"} in container_of(found)["volumeMounts"]


def test_who_reaches_a_worker(chart: Rendered) -> None:
    spec = chart.one("NetworkPolicy", "dstk-worker")["spec"]
    peers = {each["ports"][0]["port"]: each["from"] for each in spec["ingress"]}
    (control,) = peers["control"]
    assert control["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert [len(peers[port]) for port in ("data", "metrics")] == [2, 1]
    closed = rendered({"networkPolicy": {"clients": [], "metrics": []}}).one("NetworkPolicy", "dstk-worker")["spec"]
    assert [each["ports"][0]["port"] for each in closed["ingress"]] == ["data", "control"]
    assert len(closed["ingress"][0]["from"]) == 1, "other workers"
    assert spec["egress"][0]["ports"] == [{"port": "data"}]
    assert not rendered({"networkPolicy": {"enabled": False}}).names("NetworkPolicy")


def test_service_monitors_scrape_a_port_that_is_there() -> None:
    found = rendered({"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    services = [found.one("Service", name) for name in found.names("Service")]
    for name in found.names("ServiceMonitor"):
        monitor = found.one("ServiceMonitor", name)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (scraped,) = [each for each in services if wanted.items() <= each["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in scraped["spec"]["ports"]}
    assert len(found.names("ServiceMonitor")) == 2


def test_an_upgrade_changes_nothing_that_cannot_change_and_restarts_nobody_for_nothing(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "dstk")
    about = tmp_path / "dstk" / "Chart.yaml"
    about.write_text(re.sub(r"(?<=ersion: )0\.1\.0", "9.9.9", about.read_text()))
    given = {"image": {"tag": "1"}, "workers": {"disk": {"enabled": True}}}
    before, after = rendered(given), rendered(given, chart=tmp_path / "dstk")
    assert {each["metadata"]["labels"]["helm.sh/chart"] for each in after.all if "labels" in each["metadata"]} == {
        "dstk-9.9.9"
    }
    for kind, name in PODS:
        old, new = before.one(kind, name)["spec"], after.one(kind, name)["spec"]
        for each in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
            assert old.get(each) == new.get(each), "Kubernetes would refuse it"
        assert old["template"] == new["template"]
    assert before.one("RoleBinding", "dstk-operator")["roleRef"] == after.one("RoleBinding", "dstk-operator")["roleRef"]


@pytest.mark.parametrize("release", ["9lives", "a.b", "a" * 41])
def test_a_release_whose_objects_kubernetes_would_refuse_is_refused_by_helm(release: str) -> None:
    assert f"objects would be named {release}-dstk-…: choose a release name" in refusal({}, release)


def test_the_longest_name_leaves_room_for_a_revision() -> None:
    (name,) = rendered(release="a" * 40).names("StatefulSet")
    assert len(name + "-6dc54666b9") == 63


def test_the_image_may_be_named_by_digest(chart: Rendered) -> None:
    digest = f"sha256:{'0' * 64}"
    found = rendered({"image": {"digest": digest, "repository": "registry.example:5000/dstk"}})
    for kind, name in PODS:
        assert container_of(chart.one(kind, name))["image"] == "dstk:0.1.0"
        assert container_of(found.one(kind, name))["image"] == f"registry.example:5000/dstk@{digest}"


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_are_spread_by_the_labels_that_they_have(chart: Rendered, kind: str, name: str) -> None:
    template = chart.one(kind, name)["spec"]["template"]
    spread = template["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for each in spread:
        assert each["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    own = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    given = {part: {"topologySpreadConstraints": own} for part in ("operator", "workers")}
    assert pod_of(rendered(given).one(kind, name))["topologySpreadConstraints"] == own


def test_another_release_has_other_names_in_its_own_namespace() -> None:
    found = rendered(release="shop", namespace="prod")
    assert found.names("StatefulSet") == ["shop-dstk-worker"]
    namespaced = [each for each in found.all if each["kind"] != "CustomResourceDefinition"]
    assert {each["metadata"]["namespace"] for each in namespaced} == {"prod"}


def test_pods_take_what_they_are_given() -> None:
    given = {
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    }
    found = rendered(
        {
            "workers": {**given, "labels": {"app": "kv"}},
            "operator": {**given, "labels": {"app": "kv"}},
            "image": {"pullSecrets": ["s"]},
        }
    )
    for kind, name in PODS:
        template = found.one(kind, name)["spec"]["template"]
        assert template["metadata"]["annotations"] == given["podAnnotations"]
        assert {key: template["spec"][key] for key in list(given)[1:]} == {key: given[key] for key in list(given)[1:]}
        assert template["spec"]["imagePullSecrets"] == [{"name": "s"}]
        assert template["metadata"]["labels"]["app"] == "kv"
        assert "app" not in found.one(kind, name)["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"worker": {}}, "additional properties 'worker' not allowed"),
        ({"image": {"tag": "a:b"}}, "at '/image/tag': 'a:b' does not match pattern"),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent'"),
        ({"operator": {"replicas": 0}}, "at '/operator/replicas': minimum: got 0, want 1"),
        ({"operator": {"logLevel": "loud"}}, "at '/operator/logLevel': value must be one of 'debug', 'info'"),
        ({"operator": {"leaseSeconds": 0.1}}, "at '/operator/leaseSeconds': minimum: got 0.1, want 2"),
        ({"workers": {"replicas": 0}}, "at '/workers/replicas': minimum: got 0, want 1"),
        ({"workers": {"replicas": "three"}}, "at '/workers/replicas': got string, want integer"),
        ({"workers": {"spair": 1}}, "at '/workers': additional properties 'spair' not allowed"),
        ({"workers": {"spare": -1}}, "at '/workers/spare': minimum: got -1, want 0"),
        ({"workers": {"restarts": "Me"}}, "at '/workers/restarts': value must be one of 'Operator', 'StatefulSet'"),
        ({"workers": {"drainSeconds": 1.5}}, "at '/workers/drainSeconds': got number, want integer"),
        ({"workers": {"limits": {"hold": 1}}}, "at '/workers/limits': additional properties 'hold' not allowed"),
        ({"workers": {"limits": {"hold_seconds": "5"}}}, "at '/workers/limits/hold_seconds': got string, want number"),
        ({"workers": {"disk": {"size": "10GB"}}}, "at '/workers/disk/size': '10GB' does not match pattern"),
        ({"workers": {"resources": {"limit": {}}}}, "at '/workers/resources': additional properties 'limit' not allowed"),
        ({"workers": {"labels": {"app.kubernetes.io/name": "x"}}}, "app.kubernetes.io/name is the chart's own"),
        ({"operator": {"labels": {"app.kubernetes.io/name": "x"}}}, "operator.labels: app.kubernetes.io/name is the chart's"),
        ({"image": {"digest": "sha256:12"}}, "at '/image/digest': 'sha256:12' does not match pattern"),
        ({"workers": {"resources": {"limits": {"memory": "2GB"}}}}, "limits.memory: 2GB is not a quantity such as 2Gi"),
        ({"networkPolicy": {"clients": [{"app": "x"}]}}, "at '/networkPolicy/clients/0'"),
        ({"serviceMonitor": {"interval": "30"}}, "at '/serviceMonitor/interval': '30' does not match pattern"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    assert said in refusal(values)


def test_the_schema_knows_every_value_and_every_limit_of_a_node() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def unknown(values: Any, schema: dict[str, Any], path: str) -> list[str]:
        if not isinstance(values, dict) or "properties" not in schema:
            return []
        found = [f"{path}.{key}" for key in values if key not in schema["properties"]]
        for key in values.keys() & schema["properties"].keys():
            found += unknown(values[key], schema["properties"][key], f"{path}.{key}")
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert unknown(values, schema, "") == []
    with pytest.raises(errors.ConfigError, match="a worker's are data_dir, spill_dir, ") as caught:
        Node("w", "1/1", {"no_such_limit": 1})
    limits = schema["properties"]["workers"]["properties"]["limits"]["properties"]
    assert sorted(limits) == sorted(str(caught.value).rpartition("spill_dir, ")[2].split(", "))

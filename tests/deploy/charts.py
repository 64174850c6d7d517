"""The chart, rendered with any values, as objects."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "dstk"
Object = dict[str, Any]


@cache
def render_module() -> ModuleType:
    """deploy/render.py, which is no package."""
    spec = importlib.util.spec_from_file_location("render", ROOT / "deploy" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def template(
    values: Mapping[str, Any] | None = None, release: str = "dstk", namespace: str = "dstk", chart: Path = CHART
) -> str:
    """What `helm template` prints. Raises CalledProcessError with helm's complaint as its stderr."""
    binary = subprocess.run(
        [ROOT / "deploy" / "helm-binary"], check=True, capture_output=True, text=True
    ).stdout.strip()
    version = render_module().KUBERNETES
    command = [binary, "template", release, chart, "--namespace", namespace, "--kube-version", version, "--values", "-"]
    text = yaml.safe_dump(dict(values or {}))
    return subprocess.run(command, check=True, capture_output=True, text=True, input=text).stdout


def refusal(values: Mapping[str, Any], release: str = "dstk") -> str:
    """Why helm does not take these values, in one line."""
    try:
        template(values, release)
    except subprocess.CalledProcessError as error:
        return " ".join(error.stderr.split())
    raise AssertionError(f"{values} were taken")


class Rendered:
    """The objects of a rendered chart, by kind and name."""

    def __init__(self, text: str) -> None:
        self.all: list[Object] = [each for each in yaml.safe_load_all(text) if each]

    def one(self, kind: str, name: str) -> Object:
        (found,) = (each for each in self.all if (each["kind"], each["metadata"]["name"]) == (kind, name))
        return found

    def names(self, kind: str) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self.all if each["kind"] == kind)


def rendered(
    values: Mapping[str, Any] | None = None, release: str = "dstk", namespace: str = "dstk", chart: Path = CHART
) -> Rendered:
    """The chart with these values."""
    return Rendered(template(values, release, namespace, chart))


def pod_of(found: Object) -> Object:
    """The pod's spec of a Deployment or StatefulSet."""
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def container_of(found: Object) -> Object:
    """Its only container."""
    (container,) = pod_of(found)["containers"]
    return dict(container)

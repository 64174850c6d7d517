"""What the workflows may do, and for whom wheels are built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_a_workflow_reads_unless_a_job_says_otherwise(path: Path) -> None:
    workflow = read(path.name)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    expected = {"package": {"id-token": "write"}, "chart": {"contents": "write"}} if path.name == "release.yml" else {}
    assert more == expected


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_what_a_workflow_names_is_there_and_has_a_version(path: Path) -> None:
    for job in read(path.name)["jobs"].values():
        for used in [job.get("uses"), *(step.get("uses") for step in job.get("steps", []))]:
            if used and used.startswith("./"):
                assert (ROOT / used).is_file(), used
            elif used:
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+(\.\d+)*|release/v\d+|[0-9a-f]{40})", used), used
        for step in job.get("steps", []):
            for script in re.findall(r"(?:^|\s)((?:deploy|\.ci)/[\w./-]+)", step.get("run", "")):
                assert (ROOT / script).exists(), script


def test_wheels_are_built_and_tried_on_the_systems_that_are_promised() -> None:
    job = read("wheels.yml")["jobs"]["wheel"]
    built = {(each["system"], each["target"]) for each in job["strategy"]["matrix"]["include"]}
    assert built == {(system, target) for system in ("linux", "macos") for target in ("x86_64", "aarch64")}
    assert any("deploy/check-wheel" in step.get("run", "") for step in job["steps"])


def test_the_package_is_published_without_a_secret_and_after_the_tests() -> None:
    jobs = read("release.yml")["jobs"]
    (publish,) = [step for step in jobs["package"]["steps"] if "pypi-publish" in step["uses"]]
    assert "with" not in publish
    assert "secrets" not in str(jobs["package"])
    assert all(jobs[name]["needs"] for name in jobs if name != "version")
    assert jobs["tests"]["needs"] == "version"
    assert jobs["package"]["needs"] == jobs["image"]["needs"] == "tests"

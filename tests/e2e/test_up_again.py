"""`dstk up` on a directory that has a cluster: it goes on, changed as the flags ask; what they cannot have is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from upcluster import Up, up

import worlds

MADE = ("--workers", "2", "--partitions", "3", "--key-length", "8", "--durability", "Disk")

pytestmark = pytest.mark.skipif(worlds.REAL, reason="what a directory was made for is the embedded API's matter")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a cluster was, with a row."""
    folder = tmp_path_factory.mktemp("again") / "state"
    with up(folder, *MADE) as running:
        assert running.data("put", "user/1", "one").returncode == 0
        running.kill()
    return folder


def refused(folder: Path, *arguments: str) -> str:
    """What `dstk up` says when it refuses."""
    command = [sys.executable, "-m", "dstk.cli", "up", "--dir", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert not (folder / "endpoints.json").exists()
    return done.stderr.splitlines()[-1]


def spec(running: Up) -> dict[str, object]:
    shown: dict[str, object] = json.loads(running.data("status", "--json").stdout)["keyspaces"][0]["spec"]
    return shown


def test_without_flags_it_goes_on_with_what_there_is(made: Path) -> None:
    with up(made) as again:
        assert sorted(again.endpoints["workers"]) == ["worker-0", "worker-1"]
        assert spec(again)["durability"] == "Disk"
        assert spec(again)["keyLength"] == 8
        assert again.data("get", "user/1").stdout == "one\n"


def test_the_flags_that_it_was_made_with_are_no_change(made: Path) -> None:
    with up(made, *MADE) as again:
        assert again.data("get", "user/1").stdout == "one\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--durability", "Memory"], "durability Disk, which cannot become Memory"),
        (["--key-length", "16"], "keyLength 8, which cannot become 16"),
        (["--partitions", "16"], "is cut, by partitions.initial 3, not by partitions.initial 16"),
        (["--workers", "1"], "worker-1 has the rows of"),
        (["--namespace", "other"], "made for namespace 'default', not 'other'"),
        (["--kubeconfig", "/nonexistent"], "has a Kubernetes API of its own"),
        (["--no-keyspace", "--durability", "Disk"], "--durability is about the keyspace"),
    ],
)
def test_flags_that_it_cannot_have_are_refused(made: Path, arguments: list[str], says: str) -> None:
    assert says in refused(made, *arguments)


def test_the_demo_does_not_begin_where_a_cluster_is(made: Path) -> None:
    command = [sys.executable, "-m", "dstk.cli", "demo", "--dir", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "has a cluster already" in done.stderr


def test_rows_of_another_cluster_are_not_taken_for_its_own(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with up(folder, "--workers", "1", "--partitions", "1", "--durability", "Disk"):
        pass
    (folder / "api").rename(tmp_path / "api")
    assert "earlier namespace 'default'" in refused(folder)


def test_other_numbers_of_workers_are_had_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    for arguments, workers in [(["--workers", "1"], 1), (["--workers", "2"], 2), ([], 2), (["--workers", "1"], 1)]:
        with up(folder, "--no-keyspace", *arguments) as running:
            assert len(running.endpoints["workers"]) == workers


def test_git_ignores_a_directory_that_up_makes_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    for name in ("mine", "state"):
        with up(tmp_path / name, "--workers", "1", "--partitions", "1"):
            pass
    assert (tmp_path / "state" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / "mine" / ".gitignore").exists()

"""The dstk command against `dstk up`: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from upcluster import Up, up

from dstk import api, connect, keys, kube
from dstk.cli import codes
from dstk.cli.parser import build_parser
from waiting import wait_until

KEYSPACES = kube.Kind(api.API_VERSION, "Keyspace", "keyspaces", api.Keyspace)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("cli"), "--workers", "3", "--partitions", "6") as running:
        asyncio.run(proxy_briefly(running.kubeconfig))
        yield running


async def proxy_briefly(kubeconfig: Path) -> None:
    """Moves end soon after they have happened."""
    connection = await kube.connect(kubeconfig)
    keyspaces = kube.Objects(connection, KEYSPACES, connection.namespace)
    await keyspaces.patch("default", {"spec": {"proxySeconds": 1}})
    await connection.close()


def dstk(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dstk.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def dstk_bytes(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dstk.cli", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env={**os.environ, **environment})


def commands() -> list[str]:
    actions = build_parser()._subparsers._group_actions[0]  # type: ignore[union-attr]
    return sorted(actions.choices)  # type: ignore[arg-type]


def test_there_are_all_the_commands() -> None:
    assert commands() == sorted(
        ["up", "demo", "operator", "worker", "get", "put", "delete", "scan", "split", "merge", "move", "status", "fsck", "crds",
         "cordon", "uncordon", "wait-empty", "cuts", "accept-loss"]
    )  # fmt: skip


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = dstk(command, "--help")
    assert done.returncode == 0
    assert f"example: dstk {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "invalid choice"),
        (["get", "key"], "no worker named"),
        (["get", "key", "--address", "nonsense"], "host:port"),
        (["scan", "--address", "127.0.0.1:1"], "--limit"),
        (["status", "--kubeconfig", "/nonexistent"], "/nonexistent"),
        (["up", "--workers", "0"], "below 1"),
        (["worker", "--name", "w", "--data-address", "7070"], "host:port"),
        (["operator", "--components", "nosuch"], "nosuch"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = dstk(*arguments)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_put_get_scan_delete(cluster: Up) -> None:
    assert cluster.data("put", "user/1", "one", "--if-version", "0").returncode == 0
    assert cluster.data("put", "user/2", "two").returncode == 0
    assert cluster.data("get", "user/1").stdout == "one\n"
    row = json.loads(cluster.data("get", "user/1", "--json").stdout)
    assert row["value"] == "one"
    assert row["version"] >= 1
    again = cluster.data("put", "user/1", "other", "--if-version", "0")
    assert again.returncode == codes.OTHER_VERSION
    assert f"the row under user/1 has version {row['version']}, and --if-version says 0" in again.stderr
    new = cluster.data("put", "user/9", "nine", "--if-version", "7")
    assert new.returncode == codes.OTHER_VERSION
    assert "there is no row under user/9" in new.stderr
    rows = json.loads(cluster.data("scan", "user/", "user0", "--limit", "10", "--json").stdout)
    assert [(r["key"], r["value"]) for r in rows["rows"]] == [("user/1", "one"), ("user/2", "two")]
    assert rows["cursor"] is None
    down = json.loads(cluster.data("scan", "user/", "user0", "--limit", "1", "--reverse", "--json").stdout)
    assert [r["key"] for r in down["rows"]] == ["user/2"]
    assert down["cursor"] is not None
    assert cluster.data("delete", "user/2").returncode == 0
    missing = cluster.data("get", "user/2")
    assert (missing.returncode, missing.stdout) == (codes.NO_ROW, "")
    assert missing.stderr == "dstk: no row under user/2 in keyspace default\n"
    assert cluster.data("delete", "user/2").returncode == codes.NO_ROW


def test_keys_and_values_that_are_no_text(cluster: Up) -> None:
    key, value = b"bin/\xff\xfe", b"\x80\x81"
    where = ["--dir", str(cluster.folder)]
    assert dstk_bytes("put", key, value, *where).returncode == 0
    assert dstk_bytes("get", key, *where).stdout == value + b"\n"
    assert dstk_bytes("get", "0x62696e2ffffe", *where).stdout == value + b"\n"
    assert json.loads(cluster.data("get", "0x62696e2ffffe", "--json").stdout)["value_base64"] == "gIE="
    rows = dstk_bytes("scan", b"bin/\xff", "bin0", "--limit", "5", *where)
    assert rows.stdout == b"0x62696e2ffffe\t" + value + b"\n"
    mismatch = dstk_bytes("put", key, "x", "--if-version", "0", *where)
    assert mismatch.returncode == codes.OTHER_VERSION
    assert b"the row under 0x62696e2ffffe has version" in mismatch.stderr
    assert dstk_bytes("delete", key, *where).returncode == 0
    missing = dstk_bytes("get", key, *where)
    assert missing.returncode == codes.NO_ROW
    assert missing.stderr == b"dstk: no row under 0x62696e2ffffe in keyspace default\n"
    dry = cluster.dstk("split", "default-00000", "--at", os.fsdecode(b"\x01\xff"), "--dry-run", "--json")
    assert json.loads(dry.stdout)["spec"]["splitParams"]["splitKey"] == "0x01ff"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        {"NO_COLOR": "1", "TERM": "dumb"},
        {"COLUMNS": "1"},
    ],
)
def test_any_locale_and_terminal(cluster: Up, environment: dict[str, str]) -> None:
    where = ["--dir", str(cluster.folder)]
    assert dstk_bytes("put", "schlüssel".encode(), "wert", *where, **environment).returncode == 0
    assert dstk_bytes("get", "schlüssel".encode(), *where, **environment).stdout == b"wert\n"
    assert dstk_bytes("get", "fehlt-ü".encode(), *where, **environment).returncode == codes.NO_ROW
    shown = dstk_bytes("status", *where, **environment)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"default-00000" in shown.stdout
    assert b"\x1b" not in shown.stdout


def test_an_outage_is_no_missing_row(cluster: Up) -> None:
    address = cluster.endpoints["workers"]["worker-0"]["data"]
    pids = [pid for pid in cluster.processes() if b"--name\0worker-" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = dstk("get", "user/1", "--address", address, "--timeout", "1")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


def test_hashed_keys_are_those_of_a_layout(cluster: Up) -> None:
    users = keys.Layout(16, user=keys.hashed(keys.text(14)))
    assert cluster.data("put", "--hashed", "user/42", "hello").returncode == 0
    assert cluster.data("get", "--hashed", "user/42").stdout == "hello\n"
    assert cluster.data("get", "0x" + users.encode(user="user/42").hex()).stdout == "hello\n"
    assert cluster.data("get", "user/42").returncode != 0
    assert cluster.data("delete", "--hashed", "user/42").returncode == 0
    too_long = cluster.data("put", "--hashed", "123456789012345", "x")
    assert (too_long.returncode, "15 bytes; at most 14 fit" in too_long.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "12345678901234567"], "16"),
        (["get", "key", "--keyspace", "nosuch"], "nosuch"),
        (["scan", "b", "a", "--limit", "1"], "start"),
        (["scan", "--limit", "0"], "1 or more"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(cluster: Up, arguments: list[str], message: str) -> None:
    done = cluster.data(*arguments)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_split_move_merge_wait_for_the_end_and_status_shows_them(cluster: Up) -> None:
    def partitions() -> dict[str, dict[str, object]]:
        read = json.loads(cluster.dstk("status", "--json").stdout)
        return {item["metadata"]["name"]: item["spec"] for item in read["partitions"]}

    first = next(name for name, spec in partitions().items() if not spec["range"].get("start"))  # type: ignore[attr-defined]
    dry = cluster.dstk("split", first, "--at", "0x01", "--names", "low,high", "--dry-run", "--json")
    assert json.loads(dry.stdout)["spec"]["splitParams"] == {
        "partition": first,
        "splitKey": "0x01",
        "names": ["low", "high"],
    }
    assert "low" not in partitions()
    done = cluster.dstk("split", first, "--at", "0x01", "--names", "low,high")
    assert (done.returncode, done.stderr) == (0, "")
    there = partitions()["low"]["primary"]
    to = next(f"worker-{number}" for number in range(3) if f"worker-{number}" != there)
    moved = cluster.dstk("move", "low", "--to", to, "--json")
    assert json.loads(moved.stdout)["status"]["phase"] == "Completed"
    refused = cluster.dstk("merge", "low", "high", "--name", "whole")
    assert refused.returncode == 3
    assert "Aborted" in refused.stderr
    assert cluster.dstk("move", "low", "--to", str(there)).returncode == 0
    assert cluster.dstk("merge", "low", "high", "--name", "whole").returncode == 0
    assert "whole" in cluster.dstk("status").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["move", "nosuch", "--to", "worker-1"], "nosuch"),
        (["split", "nosuch", "--at", "k"], "nosuch"),
        (["merge", "nosuch", "nosuch2"], "nosuch"),
        (["merge", "alone"], "two partitions or more"),
        (["merge", "alone", "alone"], "two partitions or more"),
        (["status", "--dir", "/nonexistent"], "/nonexistent"),
    ],
)
def test_operations_on_what_is_not_there_are_wrong_input(cluster: Up, arguments: list[str], message: str) -> None:
    def assignments() -> list[object]:
        return list(json.loads(cluster.dstk("status", "--all", "--json").stdout)["assignments"])

    before = assignments()
    done = cluster.dstk(*arguments)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(assignments()) == len(before)


def test_status_tells_the_rows_and_takes_a_folder(cluster: Up) -> None:
    cluster.data("put", "zebra", "striped")
    partition = None

    def rows() -> bool:
        nonlocal partition
        shown = json.loads(cluster.data("status", "--json").stdout)["partitions"]
        partition = next((item for item in shown if item["status"].get("rows")), None)
        return partition is not None

    wait_until(rows, "status shows the row")
    assert partition is not None
    lines = cluster.data("status").stdout.splitlines()
    name, rows = partition["metadata"]["name"], str(partition["status"]["rows"])
    assert any(name in line and rows in line.split() for line in lines)


def test_status_tells_how_busy_partitions_and_workers_are(cluster: Up) -> None:
    with connect(cluster.endpoints["workers"]["worker-0"]["data"]) as client:
        key = keys.text("zebra", 16)

        def shown() -> bool:
            client.put_many([key] * 2000, [b"striped"] * 2000)
            read = json.loads(cluster.data("status", "--json", "--sort", "ops", "--limit", "1").stdout)
            [busiest] = read["partitions"]
            owner = read["workers"][busiest["spec"]["primary"]]
            rate, size = (busiest["status"].get(name, 0) for name in ("operationsPerSecond", "bytesPerSecond"))
            return bool(rate and size and owner["operations"] >= rate and owner["carried"] >= size)

        wait_until(shown, "status shows the load")


def test_status_chooses(cluster: Up) -> None:
    def names(*arguments: str) -> list[str]:
        read = json.loads(cluster.dstk("status", "--json", *arguments).stdout)
        return [item["metadata"]["name"] for item in read["partitions"]]

    everything = names()
    parts = [names("--worker", f"worker-{number}") for number in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(everything)
    assert names("--keyspace", "default", "--phase", "ready") == everything
    assert names("--phase", "invalid") == []
    assert names("--limit", "2") == everything[:2]
    limited = cluster.dstk("status", "--limit", "2").stdout
    assert f"… and {len(everything) - 2} partitions more" in limited
    for arguments in (["--keyspace", "nosuch"], ["--worker", "nosuch"]):
        refused = cluster.dstk("status", *arguments)
        assert refused.returncode == 2
        assert "there is no" in refused.stderr
        assert "there are" in refused.stderr


def test_status_again_and_again_until_ctrl_c(cluster: Up) -> None:
    command = [sys.executable, "-m", "dstk.cli", "status", "--dir", str(cluster.folder), "--json", "--watch", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(2):
        assert json.loads(process.stdout.readline())["keyspaces"]
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (codes.INTERRUPTED, "")


def test_a_folder_in_use_is_left_alone(cluster: Up) -> None:
    done = dstk("up", "--dir", str(cluster.folder))
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert cluster.data("status").returncode == 0
    assert cluster.data("scan", "--limit", "1").returncode == 0


def test_a_killed_up_leaves_no_process_and_starts_again_from_its_folder(tmp_path: Path) -> None:
    with up(tmp_path, "--workers", "1", "--partitions", "2") as running:
        assert running.data("put", "user/1", "one").returncode == 0
        running.kill()
    with up(tmp_path, "--workers", "1", "--partitions", "2") as again:

        def lost() -> bool:
            shown = json.loads(again.data("status", "--json").stdout)["partitions"]
            return [
                {(each["type"], each["status"]) for each in item["status"].get("conditions", ())} for item in shown
            ] == [{("Ready", "True"), ("DataLost", "True")}] * 2

        wait_until(lost, "both partitions are served again and say that their rows are lost")
        assert again.data("get", "user/1").returncode == codes.NO_ROW
        assert again.data("put", "user/1", "anew").returncode == 0


def test_crds_are_printed(tmp_path: Path) -> None:
    done = dstk("crds", "--json")
    assert {item["spec"]["names"]["kind"] for item in json.loads(done.stdout)} == {
        "Keyspace",
        "Partition",
        "Assignment",
    }

"""Whatever a command is given, it ends with one line that says what was wrong, and the exit code for that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstk.cli import main
from dstk.cli.codes import INTERRUPTED, MEANINGS, NO_READER

COMMAND = [sys.executable, "-m", "dstk.cli"]
CLOSED = "127.0.0.1:1"
NO_TEXT = b"\xff"


def one_line(done: subprocess.CompletedProcess[str], code: int, says: str) -> None:
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """An address at which somebody listens who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cases name by {}: files and folders of all kinds."""
    made = tmp_path_factory.mktemp("bad")
    (made / "file").write_text("not what is looked for")
    (made / "empty").mkdir()
    (made / "bytes").write_bytes(NO_TEXT * 100)
    endpoints = {"list": "[]", "none": '{"workers": {}}', "number": '{"workers": {"a": {"data": 5}}}', "cut": "{"}
    for name, content in endpoints.items():
        (made / name).mkdir()
        (made / name / "endpoints.json").write_text(content)
    for name, server in (("down", f"http://{CLOSED}"), ("nowhere", "http://nosuch.invalid:1"), ("noserver", "")):
        (made / name).write_text(
            f'{{"clusters": [{{"name": "a", "cluster": {{"server": "{server}"}}}}], "users": [{{"name": "a", "user": {{}}}}],'
            '"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}'
        )
    return made


CASES: list[tuple[list[str | bytes], int, str]] = [
    # no such directory, one of something else, one whose files are not what they should be
    (["get", "k", "--dir", "/nonexistent"], 2, "/nonexistent"),
    (["get", "k", "--dir", "{}/file"], 2, "{}/file"),
    (["get", "k", "--dir", "{}/empty"], 2, "is `dstk up --dir {}/empty` running?"),
    (["put", "k", "v", "--dir", "{}/list"], 2, "no file of `dstk up`"),
    (["scan", "--limit", "1", "--dir", "{}/none"], 2, "names no workers"),
    (["delete", "k", "--dir", "{}/number"], 2, "names no workers"),
    (["get", "k", "--dir", "{}/cut"], 2, "no file of `dstk up`"),
    (["status", "--dir", "{}/empty"], 2, "is `dstk up --dir {}/empty` running?"),
    (["status", "--dir", "{}/file"], 2, "{}/file"),
    (["up", "--dir", "{}/file"], 2, "{}/file"),
    (["up", "--dir", "/proc/nosuch"], 2, "/proc/nosuch"),
    (["fsck", "/nonexistent"], 2, "/nonexistent"),
    (["fsck", "{}/file"], 2, "{}/file"),
    (["fsck", "{}/empty"], 2, "{}/empty"),
    (["worker", "--name", "w", "--data-dir", "{}/file", "--data-address", "127.0.0.1:0"], 2, "{}/file"),
    (
        ["worker", "--name", "w", "--data-address", "127.0.0.1:0", "--control-address", "127.0.0.1:0",
         "--metrics-address", "127.0.0.1:0", "--ready-file", "/nonexistent/ready"],
        2, "/nonexistent/ready",
    ),
    # no Kubernetes API: none named, no kubeconfig, one that says nothing, one that nobody answers at
    (["status"], 2, "does not exist; name one with --kubeconfig or $KUBECONFIG"),
    (["operator"], 2, "does not exist; name one with --kubeconfig or $KUBECONFIG"),
    (["status", "--kubeconfig", "{}/file"], 2, "{}/file"),
    (["status", "--kubeconfig", "{}/bytes"], 2, "{}/bytes"),
    (["status", "--kubeconfig", "{}/empty"], 2, "{}/empty"),
    (["status", "--kubeconfig", "{}/noserver"], 2, "{}/noserver"),
    (["up", "--dir", "{}/new", "--kubeconfig", "{}/nosuch"], 2, "{}/nosuch"),
    (["status", "--kubeconfig", "{}/down"], 4, CLOSED),
    (["status", "--kubeconfig", "{}/nowhere"], 4, "nosuch.invalid"),
    (["cordon", "w", "--kubeconfig", "{}/down"], 4, CLOSED),
    (["move", "p", "--to", "w", "--kubeconfig", "{}/down"], 4, CLOSED),
    # no worker
    (["get", "k", "--address", CLOSED, "--timeout", "1"], 4, CLOSED),
    (["put", "k", "v", "--address", CLOSED, "--timeout", "1"], 4, CLOSED),
    (["get", "k", "--address", "{taken}", "--timeout", "1"], 4, "{taken}"),
    (["wait-empty", "--metrics-address", "{taken}", "--seconds", "0"], 4, "{taken}"),
    # ports that others have, addresses that are none
    (["worker", "--name", "w", "--data-address", "{taken}"], 2, "{taken}"),
    (["worker", "--name", "w", "--data-address", "127.0.0.1:0", "--control-address", "{taken}"], 2, "{taken}"),
    (
        ["worker", "--name", "w", "--data-address", "127.0.0.1:0", "--control-address", "127.0.0.1:0",
         "--metrics-address", "{taken}"],
        2, "{taken}",
    ),
    (["operator", "--kubeconfig", "{}/down", "--metrics-address", "{taken}"], 2, "{taken}"),
    (["operator", "--kubeconfig", "{}/down", "--metrics-address", "here"], 2, "host:port"),
    (["worker", "--name", "w", "--data-address", "127.0.0.1:99999"], 2, "127.0.0.1:99999"),
    (["get", "k", "--address", "127.0.0.1:99999"], 2, "127.0.0.1:99999"),
    (["wait-empty", "--metrics-address", "127.0.0.1:99999"], 2, "127.0.0.1:99999"),
    # wrong types
    (["get", "k", "--address", CLOSED, "--timeout", "soon"], 2, "soon"),
    (["get", "k", "--address", CLOSED, "--timeout", "nan"], 2, "nan"),
    (["get", "k", "--address", CLOSED, "--timeout", "-1"], 2, "-1"),
    (["get", "k", "--address", CLOSED, "--timeout", "inf"], 2, "inf"),
    (["scan", "--limit", "many", "--address", CLOSED], 2, "many"),
    (["put", "k", "v", "--if-version", "-1", "--address", CLOSED], 2, "-1"),
    (["put", "k", "v", "--if-version", "99999999999999999999", "--address", CLOSED, "--timeout", "1"], 2, "99999999999999999999"),
    (["operator", "--lease-seconds", "0", "--kubeconfig", "{}/down"], 2, "lease"),
    (["operator", "--limit", "nosuch=1", "--kubeconfig", "{}/down"], 2, "nosuch"),
    (["operator", "--limit", "nosuch", "--kubeconfig", "{}/down"], 2, "NAME=VALUE"),
    (["worker", "--name", "w", "--limit", "nosuch=1", "--data-address", "127.0.0.1:0"], 2, "nosuch"),
    (["worker", "--name", "w", "--limit", "hold_seconds=long", "--data-address", "127.0.0.1:0"], 2, "hold_seconds"),
    (["worker", "--name", "w", "--drain-seconds", "nan"], 2, "nan"),
    # what is no text where text is needed
    (["get", "k", "--address", CLOSED, "--keyspace", NO_TEXT], 2, "argument keyspace: b'\\xff' is no text"),
    (["get", "k", "--address", NO_TEXT], 2, "argument address: b'\\xff' is no text"),
    (["move", NO_TEXT, "--to", "w"], 2, "argument partition: b'\\xff' is no text"),
    (["merge", "a", NO_TEXT], 2, "argument partitions: b'\\xff' is no text"),
    (["status", "--namespace", NO_TEXT], 2, "argument namespace: b'\\xff' is no text"),
    (["cordon", NO_TEXT], 2, "argument worker: b'\\xff' is no text"),
    ([NO_TEXT], 2, "invalid choice"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "says"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_bad_input(
    arguments: list[str | bytes],
    code: int,
    says: str,
    folder: Path,
    taken: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In this process, as a hundred of them would take minutes to start."""

    def filled(text: str) -> str:
        return text.replace("{taken}", taken).replace("{}", str(folder))

    for name in ("KUBECONFIG", "DSTK_ADDRESS", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    given = [filled(each) if isinstance(each, str) else os.fsdecode(each) for each in arguments]
    capfd.readouterr()
    ended = main(given)
    stdout, stderr = capfd.readouterr()
    told = [line for line in stderr.splitlines() if not line.startswith("dstk: starting") and "add_port.cc" not in line]
    assert (ended, stdout, len(told)) == (code, "", 1), stderr
    assert filled(says) in told[0]


@pytest.mark.parametrize(
    "command", [["get", "k"], ["put", "k", "v"], ["scan", "--limit", "1"], ["wait-empty"], ["status"]]
)
def test_ctrl_c_while_it_waits_for_an_answer(command: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "kubeconfig").write_text(
            f'{{"clusters": [{{"name": "a", "cluster": {{"server": "http://{address}"}}}}], "users": [{{"name": "a",'
            '"user": {}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}'
        )
        where = {"status": "--dir", "wait-empty": "--metrics-address"}.get(command[0], "--address")
        named = str(tmp_path) if where == "--dir" else address
        process = subprocess.Popen(
            [*COMMAND, *command, where, named], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        server.accept()[0].recv(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (INTERRUPTED, "", "")


@pytest.mark.parametrize("command", [["crds"], ["--help"], ["get", "--help"]])
def test_nobody_reads(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode in (0, NO_READER)  # argparse keeps silent of it by itself
    assert done.stderr == ""


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams(redirection: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, "crds"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_room_for_the_output() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "crds"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    one_line(done, 1, "No space left on device")


def test_closed_standard_input_is_no_value() -> None:
    command = [*COMMAND, "put", "k", "-", "--address", CLOSED]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *command], capture_output=True, text=True, check=False)
    one_line(done, 2, "standard input is closed")


EXTRAS = {
    "local": [["up"], ["demo"]],
    "operator": [["operator"], ["status"], ["move", "p", "--to", "w"], ["cordon", "w"], ["uncordon", "w"],
                 ["split", "p", "--at", "k"], ["merge", "a", "b"], ["crds"]],
    "worker": [["worker", "--name", "w"], ["fsck", "/nonexistent"]],
}  # fmt: skip
OPTIONAL = [
    "grpc",
    "grpc_health",
    "google",
    "prometheus_client",
    "kopf",
    "kubernetes",
    "msgspec",
    "aiohttp",
    "yaml",
    "rich",
]
BARE = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); from dstk.cli import main; sys.exit(main())"


@pytest.mark.parametrize(("extra", "command"), [(extra, command) for extra in EXTRAS for command in EXTRAS[extra]])
def test_on_a_bare_install_it_says_what_brings_the_command(extra: str, command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, *command], capture_output=True, text=True, check=False)
    one_line(done, 2, f"pip install 'dstk[{extra}]'")


def test_a_bare_install_has_the_data_commands() -> None:
    command = [sys.executable, "-c", BARE, "get", "k", "--address", CLOSED, "--timeout", "1"]
    one_line(subprocess.run(command, capture_output=True, text=True, check=False), 4, CLOSED)


def test_help_says_the_exit_codes_and_so_do_the_docs() -> None:
    said = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code, meaning in MEANINGS.items():
        meaning_in_table = meaning.replace("|", "\\|")
        assert f"  {code:<4} {meaning}\n" in said
        assert f"| {code} | {meaning_in_table} |" in page


def test_version() -> None:
    assert subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True).stdout.startswith(
        "dstk "
    )

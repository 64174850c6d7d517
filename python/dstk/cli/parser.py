"""The command line, as one table of subcommands."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any, NoReturn

from dstk.cli import codes

_LONGEST_SECONDS = 31_536_000
_LARGEST = 2**63 - 1

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where help is; exit code 2."""
        self.exit(codes.WRONG_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


_KEY = "text, padded with zero bytes to the key length; or hex as 0x…, as keys that are no text are printed"

_BYTES = frozenset({"key", "value", "start", "end", "at", "dir", "directory", "kubeconfig", "operator_kubeconfig",
                    "ready_file", "data_dir", "source"})  # fmt: skip
"""Arguments that may be any bytes: keys, values, paths. All others are text."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says: `run` is to be called with it, and needs the extra named `extra`."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    for name, value in vars(parsed).items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and name not in _BYTES and not _is_text(each):
                parser.error(f"argument {name.replace('_', '-')}: {os.fsencode(each)!r} is no text in UTF-8")
    return parsed


def _is_text(argument: str) -> bool:
    """Whether the bytes that it was on the command line were text."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="dstk",
        description="Range-sharded stateful services on Kubernetes.",
        epilog=codes.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dstk {version('dstk')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    up = _add(commands, "up", "run API, operator and workers on this machine", "dstk up --workers 3 --dir state")
    up.add_argument("--workers", type=_at_least(1), metavar="N", help="default: as many as DIR had; 3 at first")
    up.add_argument("--dir", default=".dstk", help="logs, kubeconfig and endpoints.json go here (default: %(default)s)")
    up.add_argument("--partitions", type=_at_least(0), metavar="N", help="of keyspace default (16 if it is new)")
    up.add_argument(
        "--bounds", metavar="KEY,KEY|@FILE",
        help="cut keyspace default at these keys and not evenly; @FILE: one a line, as `dstk cuts` prints them",
    )  # fmt: skip
    up.add_argument("--key-length", type=_at_least(1), metavar="BYTES", help="of keyspace default (16 if it is new)")
    up.add_argument("--durability", choices=["Memory", "Disk"], help="of keyspace default (Memory if it is new)")
    up.add_argument(
        "--limit", action="append", default=[], metavar="WHO.NAME=VALUE",
        help="a limit of workers or the operator, e.g. worker.hold_seconds=5; a wrong name tells which there are",
    )  # fmt: skip
    up.add_argument("--no-keyspace", action="store_true", help="create no keyspace; apply your own")
    up.add_argument("--kubeconfig", metavar="FILE", help="use this API server and not an embedded one")
    up.add_argument("--namespace", "-n", metavar="NAME", help="default: the context's, or default")
    up.add_argument("--operator-kubeconfig", metavar="FILE", help="who the operator is there (default: the same)")
    up.add_argument("--json", action="store_true", help="print kubeconfig and addresses as one line of JSON once ready")
    up.set_defaults(run=_lazy("up", "up"), extra="local")

    demo = _add(commands, "demo", "split, merge and move under a verifying load", "dstk demo --seconds 20 --json")
    demo.add_argument("--workers", type=_at_least(2), default=3, metavar="N")
    demo.add_argument("--keys", type=_at_least(100), default=100_000, metavar="N", help="rows loaded at the start")
    demo.add_argument("--value-size", type=_at_least(16), default=100, metavar="BYTES")
    demo.add_argument("--seconds", type=_at_least(1), default=20, metavar="S", help="how long the load runs at least")
    demo.add_argument("--partitions", type=_at_least(3), default=12, metavar="N", help="partitions at the start")
    demo.add_argument("--dir", help="keep logs and endpoints.json here (default: a folder that is removed)")
    demo.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    demo.set_defaults(run=_lazy("demo.command", "demo"), extra="local")

    operator = _add(commands, "operator", "run the operator", "dstk operator --namespace default --kubeconfig FILE")
    _kubernetes(operator)
    operator.add_argument(
        "--components",
        default="assigner,reconciler",
        metavar="LIST",
        help="which parts run here (default: %(default)s)",
    )
    operator.add_argument("--metrics-address", metavar="HOST:PORT", help="serve /metrics and /healthz here")
    operator.add_argument("--worker-selector", default="", metavar="LABELS", help="label selector of worker pods")
    operator.add_argument("--lease-seconds", type=_seconds, default=15.0, metavar="S", help="leader election")
    operator.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE",
        help="a limit of operations, e.g. deadline_seconds=600; a wrong name tells which there are",
    )  # fmt: skip
    operator.add_argument("--no-leader-election", action="store_true", help="for when it is the only operator")
    operator.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    operator.set_defaults(run=_lazy("processes", "operator"), extra="operator")

    worker = _add(commands, "worker", "run a worker", "dstk worker --name worker-0 --data-address 0.0.0.0:7070")
    worker.add_argument("--name", default=os.environ.get("POD_NAME"), help="the pod's name (default: $POD_NAME)")
    worker.add_argument("--pod-uid", default=os.environ.get("POD_UID", ""), help="default: $POD_UID")
    worker.add_argument("--data-address", default="0.0.0.0:7070", metavar="HOST:PORT")
    worker.add_argument("--control-address", default="0.0.0.0:7071", metavar="HOST:PORT")
    worker.add_argument("--metrics-address", default="0.0.0.0:7072", metavar="HOST:PORT")
    worker.add_argument(
        "--partition-metrics", action="store_true", help="metrics of each partition too: there may be thousands"
    )
    worker.add_argument("--advertise-host", default=os.environ.get("POD_IP", ""), help="default: $POD_IP")
    worker.add_argument("--ready-file", metavar="PATH", help="written once all ports listen")
    worker.add_argument(
        "--drain-seconds", type=_seconds, default=0.0, metavar="S", help="SIGTERM waits so long to be emptied"
    )
    worker.add_argument(
        "--data-dir", default=os.environ.get("DSTK_DATA_DIR"), metavar="DIR",
        help="keeps what has to survive; needed for keyspaces of durability Disk (default: $DSTK_DATA_DIR)",
    )  # fmt: skip
    worker.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE", help="a limit of the node, e.g. hold_seconds=5"
    )
    worker.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    worker.set_defaults(run=_lazy("processes", "worker"), extra="worker")

    get = _add(commands, "get", "read a row", "dstk get --hashed user/42 --dir state")
    _data(get)
    get.add_argument("key", help=_KEY)
    _hashable(get)
    get.set_defaults(run=_lazy("data", "get"))

    put = _add(commands, "put", "write a row", "dstk put --hashed user/42 hello --dir state")
    _data(put)
    put.add_argument("key", help=_KEY)
    put.add_argument("value", help="text, or - for standard input")
    put.add_argument("--if-version", type=_at_least(0), metavar="V", help="only if the row has this version; 0: no row")
    _hashable(put)
    put.set_defaults(run=_lazy("data", "put"))

    delete = _add(commands, "delete", "remove a row", "dstk delete --hashed user/42 --dir state")
    _data(delete)
    delete.add_argument("key", help=_KEY)
    delete.add_argument("--if-version", type=_at_least(0), metavar="V", help="only if the row has this version")
    _hashable(delete)
    delete.set_defaults(run=_lazy("data", "delete"))

    scan = _add(commands, "scan", "read rows in key order", "dstk scan --limit 10 user/ user0 --dir state")
    _data(scan)
    scan.add_argument("start", nargs="?", default="", help="first key, as get takes it; empty: from the beginning")
    scan.add_argument("end", nargs="?", default="", help="past the last key; empty: to the end")
    scan.add_argument("--limit", type=int, required=True, metavar="N", help="rows at most")
    scan.add_argument("--reverse", action="store_true", help="from the end down")
    scan.set_defaults(run=_lazy("data", "scan"))

    split = _add(commands, "split", "split a partition", "dstk split part1 --at e --names low,high")
    _operation(split)
    split.add_argument("partition")
    split.add_argument("--at", required=True, action="append", metavar="KEY", help="split key; may be given again")
    split.add_argument("--names", help="names of the pieces, separated by commas (default: made up)")
    split.set_defaults(run=_lazy("operations", "split"), extra="operator")

    merge = _add(commands, "merge", "merge partitions of one worker", "dstk merge low high --name part1")
    _operation(merge)
    merge.add_argument("partitions", nargs="+", metavar="PARTITION", help="two or more")
    merge.add_argument("--name", help="name of the merged partition (default: made up)")
    merge.set_defaults(run=_lazy("operations", "merge"), extra="operator")

    move = _add(commands, "move", "move a partition to another worker", "dstk move part1 --to worker-2")
    _operation(move)
    move.add_argument("partition")
    move.add_argument("--to", required=True, metavar="POD")
    move.set_defaults(run=_lazy("operations", "move"), extra="operator")

    cordon = _add(commands, "cordon", "move everything off a worker", "dstk cordon worker-2")
    _objects(cordon)
    cordon.add_argument("worker", help="its pod's name; a pod that is deleted comes back uncordoned")
    cordon.set_defaults(run=_lazy("workers", "cordon"), extra="operator")

    uncordon = _add(commands, "uncordon", "let a worker have partitions again", "dstk uncordon worker-2")
    _objects(uncordon)
    uncordon.add_argument("worker", help="its pod's name")
    uncordon.set_defaults(run=_lazy("workers", "uncordon"), extra="operator")

    wait = _add(commands, "wait-empty", "wait until a worker here has nothing (for preStop)", "dstk wait-empty")
    wait.add_argument("--metrics-address", type=_address, default="127.0.0.1:7072", metavar="HOST:PORT")
    wait.add_argument(
        "--seconds", type=_seconds, default=3600.0, metavar="S", help="give up then (default: %(default)s)"
    )
    wait.set_defaults(run=_lazy("workers", "wait_empty"))

    accept = _add(commands, "accept-loss", "serve what is left where rows were lost", "dstk accept-loss part1")
    _objects(accept)
    accept.add_argument("partitions", nargs="*", metavar="PARTITION", help="those that say DataLost, see `dstk status`")
    accept.add_argument("--all", action="store_true", help="every partition that says DataLost")
    accept.add_argument("--no-wait", action="store_true", help="do not wait until they are served")
    accept.add_argument("--timeout", type=float, default=60.0, metavar="S", help="give up then (default: %(default)s)")
    accept.add_argument("--json", action="store_true", help="print JSON")
    accept.set_defaults(run=_lazy("losses", "accept_loss"))

    status = _add(commands, "status", "keyspaces, workers, partitions, assignments", "dstk status --kubeconfig FILE")
    _objects(status)
    status.add_argument("--keyspace", "-k", action="append", default=[], metavar="NAME", help="this one; again: more")
    status.add_argument("--worker", action="append", default=[], metavar="POD", help="what it serves or passes on")
    status.add_argument(
        "--phase", action="append", default=[],
        choices=["unassigned", "loading", "ready", "proxying", "unavailable", "invalid"],
        help="partitions that are in it; may be given again",
    )  # fmt: skip
    status.add_argument(
        "--sort", choices=["key", "ops", "bytes-per-second", "rows", "bytes"], default="key",
        help="partitions, the greatest first; default: as they lie",
    )  # fmt: skip
    status.add_argument("--limit", type=_at_least(1), metavar="N", help="partitions at most (default: 40; JSON: all)")
    status.add_argument("--all", action="store_true", help="every partition, and finished assignments too")
    status.add_argument("--watch", type=_seconds, nargs="?", const=2.0, metavar="S", help="again every S seconds (2)")
    status.add_argument("--json", action="store_true", help="print JSON, an object a look")
    status.set_defaults(run=_lazy("status", "status"), extra="operator")

    cuts = _add(
        commands, "cuts", "bounds of partitions, from a sample of keys", "dstk cuts --from keys.txt --partitions 16"
    )
    cuts.add_argument(
        "--from", dest="source", required=True, metavar="FILE",
        help="one key a line, text or hex as 0x…; or .npy: uint8 of shape (n, length), or S; - is standard input",
    )  # fmt: skip
    cuts.add_argument("--partitions", type=_at_least(1), required=True, metavar="N", help="how many, of equal load")
    cuts.add_argument("--key-length", type=_at_least(1), default=16, metavar="BYTES", help="default: %(default)s")
    cuts.set_defaults(run=_lazy("cuts", "cuts"))

    fsck = _add(commands, "fsck", "check a worker's data directory", "dstk fsck state/data/worker-0")
    fsck.add_argument("directory", help="of a worker that does not run")
    fsck.add_argument("--json", action="store_true", help="print JSON")
    fsck.set_defaults(run=_lazy("fsck", "fsck"), extra="worker")

    crds = _add(commands, "crds", "print the CustomResourceDefinitions", "dstk crds | kubectl apply -f -")
    crds.add_argument("--json", action="store_true", help="as a JSON list instead of YAML")
    crds.set_defaults(run=_lazy("definitions", "crds"), extra="operator")
    return parser


def _add(commands: Any, name: str, summary: str, example: str) -> Parser:
    parser: Parser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
    )
    parser.set_defaults(extra="")
    return parser


def _kubernetes(parser: Parser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, the pod's own, ~/.kube/config")
    parser.add_argument("--namespace", "-n", default="", metavar="NAME", help="default: the context's")


def _objects(parser: Parser) -> None:
    _kubernetes(parser)
    parser.add_argument("--dir", metavar="DIR", help="take the kubeconfig of a `dstk up --dir DIR`")


def _operation(parser: Parser) -> None:
    _objects(parser)
    parser.add_argument("--no-wait", action="store_true", help="create the Assignment and return")
    parser.add_argument("--dry-run", action="store_true", help="print what would be created, and create nothing")
    parser.add_argument("--json", action="store_true", help="print the Assignment as JSON at the end")
    parser.add_argument("--assignment", metavar="NAME", help="name of the Assignment (default: made up)")


def _data(parser: Parser) -> None:
    parser.add_argument(
        "--address", default=os.environ.get("DSTK_ADDRESS"), metavar="HOST:PORT",
        help="any worker, or several separated by commas (default: $DSTK_ADDRESS)",
    )  # fmt: skip
    parser.add_argument(
        "--dir", metavar="DIR", help="take the address from the endpoints.json of a `dstk up --dir DIR`"
    )
    parser.add_argument("--keyspace", "-k", default="default", metavar="NAME")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON; values as base64 where they are no text")


def _hashable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hashed", action="store_true",
        help="put two bytes of its hash before the key, as dstk.keys.hashed does, so that keys spread",
    )  # fmt: skip


def _at_least(lowest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is below {lowest}")
        if value > _LARGEST:
            raise argparse.ArgumentTypeError(f"{value} is above {_LARGEST}")
        return value

    return number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {_LONGEST_SECONDS}")
    return value


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; write host:port")
    return text


def _lazy(module: str, name: str) -> Run:
    """The function `name` of a module beside this one, imported when it is called."""

    def run(arguments: argparse.Namespace) -> int:
        chosen: Run = getattr(import_module(f"dstk.cli.{module}"), name)
        return chosen(arguments)

    return run

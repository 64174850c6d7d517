"""The `dstk` command. Each subcommand's module is imported only when it runs, so a bare install has the data verbs."""

from __future__ import annotations

import sys

from dstk import errors
from dstk.cli.parser import build_parser

__all__ = ["main"]

EXTRAS = {
    "grpc": "worker", "grpc_health": "worker", "google": "worker", "prometheus_client": "worker", "kopf": "operator",
    "kubernetes": "operator", "msgspec": "operator", "aiohttp": "operator", "yaml": "operator", "rich": "operator",
}  # fmt: skip
"""Which extra brings a module that is not there."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    parsed = build_parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away; there is nobody to tell
        return 1
    except errors.DstkError as error:
        return _tell(error, error.exit_code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _tell(f"this command needs more than the bare install: pip install 'dstk[{extra}]'", 2)
    except OSError as error:
        return _tell(error, 1)


def _tell(what: object, code: int) -> int:
    print(f"dstk: {' '.join(str(what).split())}", file=sys.stderr)
    return code

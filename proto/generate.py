"""Generates python/dstk/wire/v1 from proto/dstk/v1. With --check: fails when what is committed differs."""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "python" / "dstk" / "wire" / "v1"


def generate(out: Path) -> None:
    protos = sorted(str(p.relative_to(HERE)) for p in (HERE / "dstk" / "v1").glob("*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            ["protoc", f"-I{HERE}", f"-I{include}", f"--python_out={scratch}", f"--pyi_out={scratch}",
             f"--grpc_python_out={scratch}", f"--mypy_grpc_out={scratch}", *protos]
        )  # fmt: skip
        if code:
            sys.exit(f"protoc failed with exit code {code}")
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted((Path(scratch) / "dstk" / "v1").iterdir()):
            # protoc derives the import path from the proto package; ours lives below dstk.wire.
            text = re.sub(r"\bdstk\.v1(?= import|\.\w+_pb2\b)", "dstk.wire.v1", path.read_text())
            (out / path.name).write_text(text)
    (out / "__init__.py").write_text('"""Generated from proto/dstk/v1 by proto/generate.py."""\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(OUT)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        names = {p.name for p in Path(scratch).iterdir()} | {p.name for p in OUT.iterdir() if p.is_file()}
        stale = sorted(n for n in names if _read(Path(scratch) / n) != _read(OUT / n))
    if stale:
        sys.exit(f"python/dstk/wire/v1 is stale ({', '.join(stale)}): run `python proto/generate.py`")


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()

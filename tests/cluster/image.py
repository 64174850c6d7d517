"""Makes an image out of a wheel and this machine's own Python, with no container engine: for clusters that have none.

    python tests/cluster/image.py dist/dstk-….whl image.tar localhost/dstk:test

The archive is one that `docker load` and `ctr images import` read. What is in it is what deploy/Dockerfile puts into its
last stage, user and entry point included, but from this machine: an interpreter, the libraries that it loads, the
standard library, and the wheel with its dependencies. deploy/Dockerfile is what releases are made with.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

USER = 65532
PYTHON = PurePosixPath("/opt/dstk/bin/python3")
SKIPPED = {"__pycache__", "test", "tests", "idlelib", "turtledemo", "tkinter", "ensurepip", "lib2to3", "site-packages"}
TOOLS = ("sh", "cat", "ls", "sleep", "kill", "head", "tail", "grep", "date", "env")
"""For a person who looks into a pod."""
LAUNCHER = f"#!{PYTHON}\nimport sys\nfrom dstk.cli import main\nsys.exit(main())\n"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Layer:
    """The files of the image, by their path in it; a bytes value is a text, a Path a file of this machine."""

    def __init__(self) -> None:
        self.files: dict[PurePosixPath, bytes | Path] = {}
        self.links: dict[PurePosixPath, str] = {}

    def add(self, source: Path, at: PurePosixPath, within: Path | None = None) -> None:
        """A file, and what the dynamic loader would load for it, unless it is `within` a folder that is added whole."""
        self.files.setdefault(at, source.resolve())
        with source.open("rb") as opened:
            is_program = opened.read(4) == b"\x7fELF"
        if is_program:
            for library in libraries(source):
                if within is None or not library.is_relative_to(within):
                    self.files.setdefault(PurePosixPath(str(library)), library.resolve())

    def add_tree(self, source: Path, at: PurePosixPath) -> None:
        """A folder, without what a running program does not need."""
        for folder, inner, names in os.walk(source):
            inner[:] = sorted(set(inner) - SKIPPED)
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix not in (".a", ".pyc") and path.exists():
                    self.add(path, at / path.relative_to(source).as_posix(), within=source)

    def tar(self) -> bytes:
        """The layer; the same for the same files, whenever it is made."""
        parents = {parent for path in (*self.files, *self.links) for parent in path.parents}
        parents |= {PurePosixPath(path) for path in ("/tmp", "/proc", "/sys", "/dev", "/run", "/etc")}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(parents | self.files.keys() | self.links.keys()):
                if path != PurePosixPath("/"):
                    self._write(archive, path)
        return buffer.getvalue()

    def _write(self, archive: tarfile.TarFile, path: PurePosixPath) -> None:
        info = tarfile.TarInfo(str(path)[1:])
        if path in self.links:
            info.type, info.linkname = tarfile.SYMTYPE, self.links[path]
            archive.addfile(info)
        elif path in self.files:
            content = self.files[path]
            data = content if isinstance(content, bytes) else content.read_bytes()
            executable = isinstance(content, bytes) or os.access(content, os.X_OK)
            info.size, info.mode = len(data), 0o755 if executable else 0o644
            archive.addfile(info, io.BytesIO(data))
        else:
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if str(path) == "/tmp" else 0o755
            archive.addfile(info)


def libraries(program: Path) -> Iterator[Path]:
    """The shared libraries that the dynamic loader finds for a program, and the loader itself."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for found in re.findall(r"(?:=> )?(/\S+) \(0x", said):
        yield Path(os.path.normpath(found))


def fill(layer: Layer, wheel: Path, scratch: Path) -> None:
    """Put Python, and the wheel with its dependencies, into the layer; `scratch` has to stay until it is written."""
    layer.add(Path(sys.executable).resolve(), PYTHON)
    library = PYTHON.parents[1] / "lib" / f"python{sysconfig.get_python_version()}"
    layer.add_tree(Path(sysconfig.get_path("stdlib")), library)
    constraints = Path(__file__).parents[2] / "constraints.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts"]
    pip += ["--root-user-action=ignore", "--target", str(scratch)]
    subprocess.run([*pip, "--constraint", str(constraints), f"{wheel.resolve()}[all]"], check=True)
    layer.add_tree(scratch, library / "site-packages")
    layer.files[PYTHON.parent / "dstk"] = LAUNCHER.encode()
    accounts = f"root:x:0:0::/:/bin/sh\ndstk:x:{USER}:{USER}::/:/bin/sh\n"
    layer.files[PurePosixPath("/etc/passwd")] = accounts.encode()
    layer.files[PurePosixPath("/etc/group")] = f"root:x:0:\ndstk:x:{USER}:\n".encode()
    layer.files[PurePosixPath("/etc/nsswitch.conf")] = b"hosts: files dns\n"
    for name in TOOLS:
        if found := shutil.which(name, path="/usr/bin:/bin"):
            layer.add(Path(found), PurePosixPath("/bin") / name)


def archive_of(layer: bytes, reference: str) -> bytes:
    """An image of one layer, in the format of `docker save`."""
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [f"PATH={PYTHON.parent}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"],
            "Entrypoint": ["dstk"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    encoded = json.dumps(config).encode()
    name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in ((name, encoded), ("layer.tar", layer), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("reference", help="name and tag of the image, complete: localhost/dstk:test")
    arguments = parser.parse_args()
    layer = Layer()
    with tempfile.TemporaryDirectory() as scratch:
        fill(layer, arguments.wheel, Path(scratch))
        arguments.archive.write_bytes(archive_of(layer.tar(), arguments.reference))
    print(f"{arguments.reference}: {arguments.archive}, {arguments.archive.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()

"""The directory of a local cluster: who has it, what it was made for, where the cluster is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from dstk.errors import ConfigError
from dstk.local.apiserver.files import write_json, write_text

__all__ = ["Directory", "Made"]


@dataclass(frozen=True, slots=True)
class Made:
    """What a directory was made for, and is for until it is removed."""

    workers: int
    """How many there were last."""
    namespace: str
    embedded: bool
    """Whether its Kubernetes API is the embedded one, whose objects are in the directory too."""
    namespace_uid: str = ""
    """Of the namespace in that API, which no other cluster has; empty where nobody may look at it."""

    def agree(self, directory: Path, *, embedded: bool, namespace: str | None) -> None:
        """Raises ConfigError unless the directory can go on with this API and namespace (None: the one it has)."""
        if self.embedded and not embedded:
            raise ConfigError(
                f"{directory} has a Kubernetes API of its own, so it cannot go on with the one that a kubeconfig "
                "names: choose another --dir, or leave --kubeconfig out"
            )
        if embedded and not self.embedded:
            raise ConfigError(
                f"{directory} was made for a Kubernetes API that a kubeconfig named: name it again by --kubeconfig, or "
                "choose another --dir"
            )
        if namespace not in (None, self.namespace):
            raise ConfigError(
                f"{directory} was made for namespace {self.namespace!r}, not {namespace!r}: leave --namespace out, or "
                "choose another --dir"
            )

    def agree_on_uid(self, directory: Path, uid: str) -> None:
        """Raises ConfigError when the namespace is another one of that name: the rows here are not of its objects."""
        if uid and self.namespace_uid and uid != self.namespace_uid:
            raise ConfigError(
                f"the rows in {directory} are those of an earlier namespace {self.namespace!r} (UID "
                f"{self.namespace_uid}, and now it is {uid}): choose another --dir, or remove this one"
            )


class Directory:
    """One cluster at a time has it, from take() to release().

    kubeconfig and endpoints.json are there from announce() to withdraw(), endpoints.json last and first: whoever finds
    it finds the whole cluster.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.kubeconfig = self.path / "kubeconfig"
        self.endpoints = self.path / "endpoints.json"
        self._made = self.path / "cluster.json"
        self._lock: TextIO | None = None

    def take(self) -> None:
        """Have the directory; it is created if need be, and then git ignores it. Raises ConfigError when it is in use
        or cannot be had.
        """
        try:
            fresh = not self.path.exists() or not any(self.path.iterdir())
            (self.path / "run").mkdir(parents=True, exist_ok=True)
            if fresh:
                write_text(self.path / ".gitignore", "*\n")
            lock = (self.path / "run" / "lock").open("a+")
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be the directory of a cluster: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigError(f"{self.path} is in use by process {owner}; choose another --dir or stop it") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        self.withdraw()  # what one left that was killed

    def release(self) -> None:
        """Let it go, if it was taken."""
        if self._lock is not None:  # else the files are of whoever has it
            self.withdraw()
            self._lock.close()
            self._lock = None

    def recall(self) -> Made | None:
        """What it was made for; None when no cluster was in it yet."""
        try:
            return Made(**json.loads(self._made.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self._made} does not say what the directory was made for: {error}") from error

    def remember(self, made: Made) -> None:
        """Note what it is made for."""
        if made != self.recall():
            write_json(self._made, asdict(made))

    def announce(self, kubeconfig: str, endpoints: Mapping[str, Any]) -> None:
        """Say where the cluster is, which is ready."""
        write_text(self.kubeconfig, kubeconfig, mode=0o600)
        write_json(self.endpoints, endpoints)

    def update(self, endpoints: Mapping[str, Any]) -> None:
        """Say where the workers are now, if it was said before."""
        if self.endpoints.exists():
            write_json(self.endpoints, endpoints)

    def withdraw(self) -> None:
        """Say that the cluster is not there."""
        self.endpoints.unlink(missing_ok=True)
        self.kubeconfig.unlink(missing_ok=True)

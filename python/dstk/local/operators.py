"""The operators of a local cluster: what their processes are told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OperatorCommand", "OperatorLife", "operator_command"]


@dataclass(frozen=True, slots=True)
class OperatorLife:
    """One life of an operator: what its process is told. `metrics_address` is host:port, the same in every life."""

    kubeconfig: Path
    namespace: str
    metrics_address: str
    limits: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """What `dstk operator` is given of it."""
        where = ["--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        limits = [f"--limit={name}={value}" for name, value in self.limits.items()]
        return [*where, "--metrics-address", self.metrics_address, *limits]


OperatorCommand = Callable[[OperatorLife], Sequence[str]]
"""The command of an operator."""


def operator_command(life: OperatorLife) -> Sequence[str]:
    """The command of the operator. It is the only one here, so it need not wait for another's lease to end."""
    return [sys.executable, "-m", "dstk.cli", "operator", *life.arguments, "--no-leader-election"]

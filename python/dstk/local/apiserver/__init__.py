"""An embedded API server that speaks the part of Kubernetes' API that dstk, kubectl and operators use.

One process, plain HTTP on loopback, state in memory (and in an append-only journal when given a directory).
What it does not do: run pods, authenticate, admit by webhook, answer in protobuf.
"""

from dstk.local.apiserver.server import ApiServer, Settings

__all__ = ["ApiServer", "Settings"]

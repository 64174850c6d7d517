"""What dstk is tested with, for users to import: a verifying load, histories and their judge, faults, and fixtures."""

from dstk.testing.history import Findings, Floor, History
from dstk.testing.linearizability import Judgement, Operation, Verdict, check

__all__ = ["Findings", "Floor", "History", "Judgement", "Operation", "Verdict", "check"]

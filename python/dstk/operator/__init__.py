"""The operator: the Assigner, which proposes Assignments, and the AssignmentReconciler, which carries them out."""

from dstk.operator.run import Operator, Ports, run
from dstk.operator.settings import COMPONENTS, OperatorSettings, limits_of

__all__ = ["COMPONENTS", "Operator", "OperatorSettings", "Ports", "limits_of", "run"]

"""The Common Expression Language as Kubernetes uses it in `x-kubernetes-validations`.

An expression is parsed and checked once (against the schema it is about, where one is known) and becomes a tree of
Python closures, so that evaluating a rule copies nothing. Sources: the CEL language definition (cel-spec,
doc/langdef.md) and Kubernetes' page "Common Expression Language in Kubernetes" for the list and regex libraries.
Not there: the URL, IP, CIDR, quantity and semver libraries; an expression that names them is refused when compiled.
"""

from dstk.local.apiserver.cel.compiler import Program, compile_expression
from dstk.local.apiserver.cel.failure import CompileError, EvaluationError

__all__ = ["CompileError", "EvaluationError", "Program", "compile_expression"]

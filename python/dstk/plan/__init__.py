"""The Assigner's planning, pure: who should own what, what to split, merge and move, and why."""

from __future__ import annotations

from dstk.plan.assigner import Plan, plan
from dstk.plan.cut import is_cut
from dstk.plan.view import Cluster, Load, Worker

__all__ = ["Cluster", "Load", "Plan", "Worker", "is_cut", "plan"]

"""The Assigner's planning, pure: who should own what, what to split, merge and move, and why."""

from __future__ import annotations

from dstk.plan.assigner import Plan, plan
from dstk.plan.cluster import Cluster, Load, RestartedBy, Worker, WorkerSet
from dstk.plan.cut import is_cut
from dstk.plan.restarts import Restart

__all__ = ["Cluster", "Load", "Plan", "Restart", "RestartedBy", "Worker", "WorkerSet", "is_cut", "plan"]

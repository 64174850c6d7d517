"""The worker process: Python's life cycle around the native node."""

from dstk.worker.data import DataReport, check_data
from dstk.worker.process import run
from dstk.worker.settings import WorkerSettings, check_limits

__all__ = ["DataReport", "WorkerSettings", "check_data", "check_limits", "run"]

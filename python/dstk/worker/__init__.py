"""The worker process: Python's life cycle around the native node."""

from dstk.worker.process import run
from dstk.worker.settings import WorkerSettings

__all__ = ["WorkerSettings", "run"]

"""Annotations of Pods by which the runner tells the embedded API server what `kubectl logs` is to show."""

from __future__ import annotations

from typing import Final

LOG_START: Final = "dstk.io/log-start"
"""The byte of the log file NAME.log at which the Pod's output begins."""
PREVIOUS_LOG_START: Final = "dstk.io/previous-log-start"
"""The byte at which the output of the Pod of this name before it begins."""

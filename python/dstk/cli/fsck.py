"""`dstk fsck`: is what a worker has on disk whole?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path


def fsck(arguments: argparse.Namespace) -> int:
    """Check a data directory. Raises DataDamaged, ConfigError."""
    from dstk.worker import check_data

    found = check_data(Path(arguments.directory))
    if arguments.json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"{arguments.directory}: whole" + (f", of {found.worker}" if found.worker else ""))
    print(f"{found.partitions} partitions, {found.rows:,} rows, {found.bytes:,} bytes of keys and values")
    print(f"since the last checkpoint: {found.log_records:,} records, {found.log_bytes:,} bytes of log")
    return 0

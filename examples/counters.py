"""Counters that many processes increment at once, without a lock: conditional writes on dstk.

dstk up --dir state &
python examples/counters.py ADDRESS      # an address from state/endpoints.json
"""

from __future__ import annotations

import asyncio
import sys

import dstk
from dstk import errors


async def increment(client: dstk.aio.Client, key: bytes) -> int:
    """Add one to the counter under `key`; its new value."""
    while True:
        row = await client.get(key)
        count = 1 + (int.from_bytes(row.value, "big") if row else 0)
        try:
            await client.put(key, count.to_bytes(8, "big"), if_version=row.version if row else 0)
        except errors.VersionMismatch:
            continue  # somebody else was faster: read again
        return count


async def main(address: str, increments: int = 1000, tasks: int = 20) -> int:
    """So many increments of one counter from several tasks; its value at the end."""
    async with await dstk.aio.connect(address) as client:
        key = dstk.keys.text("counter/visits", client.key_length)

        async def work() -> None:
            for _ in range(increments // tasks):
                await increment(client, key)

        await asyncio.gather(*(work() for _ in range(tasks)))
        row = await client.get(key)
        assert row is not None
        return int.from_bytes(row.value, "big")


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1])))

"""The verifying load as a process of its own, seen from whoever started it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from dstk import errors

_LINE_LIMIT = 64 << 20


class LoadProcess:
    """Runs :mod:`dstk.testing.load`. `latest` is the newest progress it told, `report` what it told at the end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.latest: dict[str, Any] = {}
        self.report: dict[str, Any] | None = None
        self.loaded = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, addresses: Sequence[str], *arguments: str) -> LoadProcess:
        """Start it, with more `arguments` of its command line; it fills the keyspace first."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dstk.testing.load", "--address", ",".join(addresses), *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_LIMIT,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def wait_loaded(self) -> None:
        """Until every row is there. Raises DstkError if the process ends before that."""
        loaded = asyncio.create_task(self.loaded.wait())
        await asyncio.wait({loaded, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if not self.loaded.is_set():
            loaded.cancel()
            raise errors.DstkError("the load ended before its rows were loaded; what it said is above")

    @property
    def ended(self) -> bool:
        """It has ended, by itself or because it was told to."""
        return self._reading.done()

    async def finish(self) -> dict[str, Any]:
        """Stop the load, let it read everything once more, and return its report."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._reading
        await self._process.wait()
        if self.report is None:
            raise errors.DstkError("the load ended without a report; what it said is above")
        return self.report

    async def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._reading.cancel()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "final" in told:
                self.report = told["final"]
            elif "loaded" in told:
                self.loaded.set()
            else:
                self.latest = {**self.latest, **told}

"""Calls for many rows of which some cannot be had: the others are told, for reads as for writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workers.fleet import KEY_LENGTH, fleet

from dstk import aio, errors
from dstk.client import Row
from dstk.control import commands
from dstk.wire import Route

LOW, HIGH = b"a" * KEY_LENGTH, b"z" * KEY_LENGTH
MIDDLE = b"m" + bytes(KEY_LENGTH - 1)


@pytest.mark.parametrize("verb", ["get_many", "put_many", "delete_many"])
async def test_what_was_done_is_told_beside_what_was_not(tmp_path: Path, verb: str) -> None:
    async with fleet(tmp_path, 1) as running:
        await running[0].tell("low", 1, commands.Serve(b"", MIDDLE, KEY_LENGTH))
        await running.push(Route("low", b"", MIDDLE, 1, running[0].name), Route("high", MIDDLE, b"", 1, ""))
        async with aio.connect(running.addresses) as client:
            version = await client.put(LOW, b"v")
            more: tuple[Any, ...] = ([b"w", b"w"],) if verb == "put_many" else ()
            with pytest.raises(errors.PartialFailure) as failed:
                await getattr(client, verb)([LOW, HIGH], *more, timeout=0.3)
    done, not_done = failed.value.results
    assert done == Row(b"v", version) if verb == "get_many" else done > version
    assert isinstance(not_done, errors.Unavailable)

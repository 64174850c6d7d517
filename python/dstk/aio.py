"""The asyncio client: ``async with dstk.aio.connect("host:port") as client``, and the verbs of :mod:`dstk.client`."""

from dstk.client.asyncio import Client, connect

__all__ = ["Client", "connect"]

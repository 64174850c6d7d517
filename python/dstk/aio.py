"""The asyncio client: ``client = await dstk.aio.connect("host:port")``, then the verbs of :mod:`dstk.client`."""

from dstk.client.asyncio import Client, connect

__all__ = ["Client", "connect"]

"""Range-sharded stateful services on Kubernetes, from Python.

``dstk.connect("host:port")`` gives a client, ``dstk.aio.connect`` its asyncio twin, ``dstk.RangeIndex`` the index on
its own, ``dstk.keys`` order-preserving key encoders, ``dstk.errors`` what may be raised.
"""

from dstk import aio, errors, keys
from dstk.client import Client, ClientSettings, KeyedRow, Loss, Page, Row, connect
from dstk.keys import RangeIndex

__version__ = "0.1.0"

__all__ = [
    "Client", "ClientSettings", "KeyedRow", "Loss", "Page", "RangeIndex", "Row", "aio", "connect", "errors", "keys",
]  # fmt: skip

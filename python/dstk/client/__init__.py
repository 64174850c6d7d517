"""The client: routing, batching and retries are native; here are its two faces, blocking and asyncio."""

from dstk.client.blocking import Client, connect
from dstk.client.settings import ClientSettings
from dstk.client.verbs import KeyedRow, Loss, Page, Row

__all__ = ["Client", "ClientSettings", "KeyedRow", "Loss", "Page", "Row", "connect"]

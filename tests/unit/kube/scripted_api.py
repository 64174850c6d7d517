"""An API server that answers a list and a watch exactly as a test scripts it: for what a healthy one never does."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from dstk.kube import PODS, Connection, Objects, Pod

PATH = "/api/v1/namespaces/default/pods"


def pod(name: str, version: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "labels": labels},
    }


@dataclass
class ScriptedApi:
    """``lists`` holds pages (items, version, cursor) to answer with, ``watches`` what each watch sends.

    A watch is a list of events; None in it leaves the stream open without a word, and what can be called
    is called. ``answers`` are statuses and bodies
    for writes; None there breaks the connection after the request was read.
    """

    lists: deque[tuple[list[dict[str, Any]], str, str]] = field(default_factory=deque)
    watches: deque[list[dict[str, Any] | Callable[[], None] | None]] = field(default_factory=deque)
    answers: deque[tuple[int, dict[str, Any]] | None] = field(default_factory=deque)
    at: int = 1_000_000
    """The version at which it says to be when it is asked for that alone, which is not recorded."""
    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name, as it has said last: what it answers when it is asked for one object."""
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    watched: asyncio.Event = field(default_factory=asyncio.Event)

    async def collection(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("limit") == "1":
            name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
            found = [self.there[name]] if name in self.there else []
            return web.json_response({"metadata": {"resourceVersion": str(self.at)}, "items": found})
        self.requests.append(request)
        if request.query.get("watch") != "true":
            items, version, cursor = self.lists.popleft()
            self.there.update({item["metadata"]["name"]: item for item in items})
            return web.json_response({"metadata": {"resourceVersion": version, "continue": cursor}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        self.watched.set()
        script = self.watches.popleft() if self.watches else [None]
        for event in script:
            if event is None:
                await asyncio.Event().wait()
            if callable(event):
                event()
                continue
            self._note(event)
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    def _note(self, event: dict[str, Any]) -> None:
        name = event.get("object", {}).get("metadata", {}).get("name")
        if event["type"] == "DELETED":
            self.there.pop(name, None)
        elif event["type"] in ("ADDED", "MODIFIED"):
            self.there[name] = event["object"]

    async def write(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.json())
        answer = self.answers.popleft()
        if answer is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = answer
        return web.json_response(body, status=status)

    @property
    def queries(self) -> list[dict[str, str]]:
        return [dict(request.query) for request in self.requests]


@asynccontextmanager
async def serving(api: ScriptedApi) -> AsyncIterator[Objects[Pod]]:
    app = web.Application()
    app.router.add_get(PATH, api.collection)
    app.router.add_route("*", PATH + "/{name}", api.write)
    app.router.add_post(PATH, api.write)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    connection = Connection(ApiClient(configuration), "default")
    try:
        yield Objects(connection, PODS, "default")
    finally:
        await connection.close()
        await runner.cleanup()

"""A thin HTTP client of an API server: it shows answers as they are."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config

from conformance.crd import WIDGET_PATH
from waiting import WAIT_SECONDS, until

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def version(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


class Stream:
    """An open watch; next() gives one event after the other."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> dict[str, Any]:
        """The next event. Raises EOFError when the server has ended the watch."""
        async with asyncio.timeout(WAIT_SECONDS):
            line = await self._response.content.readline()
        if not line:
            raise EOFError
        event: dict[str, Any] = json.loads(line)
        return event

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """All events until the server ends the watch."""
        while True:
            try:
                event = await self.next()
            except EOFError:
                return
            yield event

    async def next_names(self, count: int) -> list[tuple[str, str]]:
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


class Api:
    """Requests to one API server, and a namespace of this test's own."""

    def __init__(self, client: ApiClient, session: aiohttp.ClientSession) -> None:
        self._client = client
        self._session = session
        self.base = str(client.configuration.host)
        self.namespace = f"conf-{uuid.uuid4().hex[:8]}"

    @property
    def widgets(self) -> str:
        return f"{WIDGET_PATH}/namespaces/{self.namespace}/widgets"

    def core(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}"

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Answer:
        data = None if body is None else body if isinstance(body, (bytes, str)) else json.dumps(body)
        sent = {"Content-Type": content_type, "Accept": accept, "User-Agent": "conformance/1", **(headers or {})}
        await self._authenticate(sent, method, path)
        async with self._session.request(method, self.base + path, data=data, headers=sent, params=query) as response:
            raw = await response.read()
            try:
                parsed = json.loads(raw)
            except ValueError:
                parsed = raw.decode()
            return Answer(response.status, parsed, response.headers)

    async def _authenticate(self, headers: dict[str, str], method: str, path: str) -> None:
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)

    async def get(self, path: str, **query: str) -> Answer:
        return await self.send("GET", path, **query)

    async def post(self, path: str, body: Any, **query: str) -> Answer:
        return await self.send("POST", path, body, **query)

    async def put(self, path: str, body: Any, **query: str) -> Answer:
        return await self.send("PUT", path, body, **query)

    async def patch(self, path: str, body: Any, content_type: str = MERGE, **query: str) -> Answer:
        return await self.send("PATCH", path, body, content_type=content_type, **query)

    async def apply(self, path: str, body: Any, manager: str, **query: str) -> Answer:
        return await self.patch(path, body, APPLY, fieldManager=manager, **query)

    async def delete(self, path: str, body: Any = None, **query: str) -> Answer:
        return await self.send("DELETE", path, body, **query)

    async def create(self, path: str, body: Any, **query: str) -> dict[str, Any]:
        """Create it; the object as stored."""
        answer = await self.post(path, body, **query)
        assert answer.code == 201, answer.body
        created: dict[str, Any] = answer.body
        return created

    @asynccontextmanager
    async def watch(self, path: str, accept: str = "application/json", **query: str) -> AsyncIterator[Stream]:
        headers = {"Accept": accept}
        await self._authenticate(headers, "GET", path)
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(
            self.base + path, params={"watch": "true", **query}, headers=headers, timeout=timeout
        ) as response:
            assert response.status == 200, await response.text()
            yield Stream(response)

    async def until(self, path: str, holds: Callable[[Answer], bool]) -> Answer:
        """GET until the answer is such; that answer."""

        async def answered() -> Answer | None:
            answer = await self.get(path)
            return answer if holds(answer) else None

        return await until(answered, path)

    async def until_gone(self, path: str) -> None:
        await self.until(path, lambda answer: answer.code == 404)

    async def define(self, definition: dict[str, Any]) -> None:
        """Create a definition, unless it is there, and wait until it is established and served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        answer = await self.post(path, definition)
        assert answer.code in (201, 409), answer.body
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        await self.until(served, lambda answer: answer.code == 200)

    async def make_namespace(self) -> None:
        await self.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    async def remove_namespace(self) -> None:
        await self.delete(f"/api/v1/namespaces/{self.namespace}")


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """A client of the cluster that a kubeconfig names."""
    configuration = Configuration()
    await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    async with ApiClient(configuration) as client:
        connector = aiohttp.TCPConnector(ssl=_tls(configuration))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Api(client, session)


def _tls(configuration: Configuration) -> Any:
    if not str(configuration.host).startswith("https"):
        return True
    import ssl

    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context

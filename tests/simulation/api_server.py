"""The API server as its clients meet it: objects under optimistic concurrency, watches, and answers that get lost."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Mapping
from random import Random
from typing import Any, ClassVar, TypeAlias

import msgspec

from dstk.api import Assignment, Partition
from dstk.errors import ApiError, OutcomeUnknown, Unavailable
from dstk.kube.api import Silent

from .loop import LoopClock, VirtualLoop
from .weather import Weather

__all__ = ["NAMESPACE", "ApiPort", "ApiServer", "Body", "Snapshot"]

Body: TypeAlias = dict[str, Any]
"""An object as JSON has it."""

NAMESPACE = "default"
TIMEOUT = 1.0
WITH_STATUS = ("keyspaces", "partitions", "assignments")
"""Kinds whose status is a subresource."""
_PREFIX = f"/namespaces/{NAMESPACE}/"
_TYPES = {"partitions": Partition, "assignments": Assignment}


class Snapshot:
    """All there was at a moment."""

    def __init__(self, version: int, objects: dict[str, dict[str, Body]]) -> None:
        self.version = version
        self.objects = copy.deepcopy(objects)


class ApiServer:
    """Objects by kind and name. Methods apply at once; an :class:`ApiPort` is how a process calls them."""

    def __init__(self, loop: VirtualLoop, random: Random, weather: Callable[[], Weather]) -> None:
        self.loop = loop
        self.random = random
        self.weather = weather
        self.version = 0
        self._made = 0
        self._clock = LoopClock(loop)
        self.objects: dict[str, dict[str, Body]] = {}
        self.known: dict[str, dict[str, Any]] = {kind: {} for kind in _TYPES}
        """Partitions and Assignments, decoded."""
        self.log: list[tuple[int, str, str, Body]] = []
        """Every change: version, kind, type of event, object."""
        self.watches: list[_Watch] = []
        self.late = 0
        """Writes that are still to arrive."""
        self.on_partition: list[Callable[[Partition | None, Partition | None], None]] = []

    @property
    def partitions(self) -> dict[str, Partition]:
        return self.known["partitions"]

    @property
    def assignments(self) -> dict[str, Assignment]:
        return self.known["assignments"]

    # What a request does

    def handle(self, method: str, path: str, query: Mapping[str, str], body: Any) -> bytes:
        """The answer. Raises ApiError."""
        rest = path.partition(_PREFIX)[2]
        if not rest:
            return msgspec.json.encode({"metadata": {"name": NAMESPACE, "uid": "cluster"}})
        kind, _, rest = rest.partition("/")
        name, _, sub = rest.partition("/")
        if method == "GET" and not name:
            return self._list(kind, query.get("fieldSelector", "").removeprefix("metadata.name="))
        body = msgspec.json.decode(msgspec.json.encode(body)) if body is not None else {}
        match method:
            case "GET":
                found = self.get(kind, name)
            case "POST" if sub:
                raise ApiError(404, "NotFound", "no evictions here")
            case "POST":
                found = self.create(kind, body)
            case "PATCH":
                found = self.patch(kind, name, body, sub)
            case "PUT":
                found = self.replace(kind, name, body)
            case "DELETE":
                preconditions = body.get("preconditions", {})
                found = self.delete(kind, name, preconditions.get("uid", ""), preconditions.get("resourceVersion", ""))
            case _:
                raise ApiError(405, "MethodNotAllowed", method)
        return msgspec.json.encode(found)

    def get(self, kind: str, name: str) -> Body:
        found = self.objects.get(kind, {}).get(name)
        if found is None:
            raise ApiError(404, "NotFound", f"{kind} {name} not found")
        return found

    def _list(self, kind: str, name: str) -> bytes:
        items = [each for key, each in self.objects.get(kind, {}).items() if name in ("", key)]
        return msgspec.json.encode({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    def create(self, kind: str, body: Body, *, status: bool = False) -> Body:
        meta = body["metadata"]
        if "name" not in meta:
            meta["name"] = f"{meta.pop('generateName')}{self._made}"
        if meta["name"] in self.objects.get(kind, {}):
            raise ApiError(409, "AlreadyExists", f"{kind} {meta['name']} already exists")
        if kind in WITH_STATUS and not status:
            body.pop("status", None)
        self._made += 1
        meta["uid"], meta["generation"], meta["namespace"] = f"uid-{self._made}", 1, NAMESPACE
        meta.setdefault("creationTimestamp", self.moment())
        return self._put(kind, body)

    def moment(self) -> str:
        """Now, as objects say it."""
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def patch(self, kind: str, name: str, patch: Body, sub: str = "") -> Body:
        """Merge-patch (RFC 7386) an object, or its status alone."""
        old = self.get(kind, name)
        self._check_version(old, patch.get("metadata", {}))
        if sub == "status":
            patch = {"status": patch.get("status", {})}
        elif kind in WITH_STATUS:
            patch = {key: value for key, value in patch.items() if key != "status"}
        new = _merged(old, patch)
        new["metadata"] = {**old["metadata"], **_changeable(new["metadata"])}
        return self._changed(kind, old, new)

    def replace(self, kind: str, name: str, body: Body) -> Body:
        old = self.get(kind, name)
        self._check_version(old, body.get("metadata", {}))
        return self._changed(kind, old, {**body, "metadata": {**old["metadata"], **_changeable(body["metadata"])}})

    def _changed(self, kind: str, old: Body, new: Body) -> Body:
        if new == old:
            return old
        if new.get("spec") != old.get("spec"):
            new["metadata"] = {**new["metadata"], "generation": old["metadata"]["generation"] + 1}
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._remove(kind, new)
            return new
        return self._put(kind, new)

    def touch(self, kind: str, name: str) -> None:
        """Somebody changes a label."""
        old = self.get(kind, name)
        labels = {**old["metadata"].get("labels", {}), "touched": str(self.version)}
        self.patch(kind, name, {"metadata": {"labels": labels}})

    def delete(self, kind: str, name: str, uid: str = "", version: str = "") -> Body:
        """Delete an object, provided that it still is that one. Who has a finalizer stays until it is lifted."""
        old = self.get(kind, name)
        if uid and not self.is_same(old, uid):
            raise ApiError(409, "Conflict", f"{name} is {old['metadata']['uid']}, not {uid}")
        self._check_version(old, {"resourceVersion": version} if version else {})
        meta = old["metadata"]
        if not meta.get("finalizers"):
            self._remove(kind, old)
        elif not meta.get("deletionTimestamp"):
            self._put(kind, {**old, "metadata": {**meta, "deletionTimestamp": self.moment()}})
        return old

    def remove(self, kind: str, name: str) -> None:
        """Away with it, finalizers and all."""
        self._remove(kind, self.get(kind, name))

    def _check_version(self, old: Body, meta: Body) -> None:
        wanted = meta.get("resourceVersion")
        if wanted and not self.is_current(old, wanted):
            raise ApiError(409, "Conflict", f"{old['metadata']['name']} has changed")

    def is_current(self, item: Body, version: str) -> bool:
        return bool(item["metadata"]["resourceVersion"] == version)

    def is_same(self, item: Body, uid: str) -> bool:
        return bool(item["metadata"]["uid"] == uid)

    def _put(self, kind: str, item: Body) -> Body:
        self.version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        name = item["metadata"]["name"]
        event = "MODIFIED" if name in self.objects.setdefault(kind, {}) else "ADDED"
        self.objects[kind][name] = item
        self._tell(kind, event, name, item)
        return item

    def _remove(self, kind: str, item: Body) -> None:
        self.version += 1
        name = item["metadata"]["name"]
        del self.objects[kind][name]
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self._tell(kind, "DELETED", name, gone)

    def _tell(self, kind: str, event: str, name: str, item: Body) -> None:
        self._know(kind, name, None if event == "DELETED" else item)
        self.log.append((self.version, kind, event, item))
        for watch in self.watches:
            if watch.kind == kind:
                watch.notice()

    def _know(self, kind: str, name: str, item: Body | None) -> None:
        if kind not in _TYPES:
            return
        known = self.known[kind]
        old = known.pop(name, None)
        new = msgspec.convert(item, _TYPES[kind]) if item is not None else None
        if new is not None:
            known[name] = new
        if kind == "partitions":
            for each in self.on_partition:
                each(old, new)

    # Another history

    def snapshot(self) -> Snapshot:
        return Snapshot(self.version, self.objects)

    def restore(self, snapshot: Snapshot, pods: dict[str, Body]) -> None:
        """Be as it was then, but for the pods. What has happened since has never been."""
        self.version = snapshot.version
        self.objects = copy.deepcopy(snapshot.objects)
        self.log = [entry for entry in self.log if entry[0] <= snapshot.version]
        for kind in _TYPES:
            for name in sorted({*self.known[kind], *self.objects.get(kind, {})}):
                self._know(kind, name, self.objects.get(kind, {}).get(name))
        for watch in list(self.watches):
            watch.end()
        for name in sorted({*pods, *self.objects["pods"]}):
            if name not in pods:
                self.remove("pods", name)
            elif self.objects["pods"].get(name) != pods[name]:
                self._put("pods", pods[name])


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = _merged(new.get(key), value)
    return new


def _changeable(meta: Body) -> Body:
    return {key: value for key, value in meta.items() if key in ("labels", "annotations", "finalizers")}


class ApiPort:
    """The API server over a network, for one process (:class:`dstk.kube.Api`)."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._loop = server.loop
        self._watches: list[_Watch] = []
        self.cut_off_until = 0.0
        self.namespace = NAMESPACE

    @property
    def is_cut_off(self) -> bool:
        return self.cut_off_until > self._loop.time()

    def hang_up(self) -> None:
        """The process is gone: nobody watches any more."""
        for watch in self._watches:
            watch.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        answer: asyncio.Future[bytes] = self._loop.create_future()
        server = self._server

        def apply() -> bytes:
            return server.handle(method, path, query or {}, body)

        self._send(apply, answer)
        try:
            return await answer
        except TimeoutError:
            said = f"{method} {path}: no answer"
            raise (Unavailable(said) if method == "GET" else OutcomeUnknown(said)) from None

    def _send(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes]) -> None:
        """`apply`, some time from now, if the request gets there; the answer, if that gets back."""
        weather, draw = self._server.weather(), self._server.random.random
        chance, delay = draw(), 0.002 + 0.02 * draw()
        if self.is_cut_off:
            self._lost(apply, answer, delay)
            return
        for name, happens in self._FAULTS.items():
            chance -= getattr(weather, name)
            if chance < 0:
                happens(self, apply, answer, delay)
                return
        self._loop.outside(delay, self._apply, apply, answer, delay)

    def _apply(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes] | None, delay: float) -> None:
        try:
            value = apply()
        except ApiError as error:
            self._loop.outside(delay, _fail, answer, error)
        else:
            self._loop.outside(delay, _succeed, answer, value)

    def _lost(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes], delay: float) -> None:
        self._loop.outside(TIMEOUT, _fail, answer, TimeoutError())

    def _unanswered(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes], delay: float) -> None:
        self._loop.outside(delay, self._apply, apply, None, delay)
        self._loop.outside(TIMEOUT, _fail, answer, TimeoutError())

    def _late(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes], delay: float) -> None:
        self._server.late += 1
        self._loop.outside(TIMEOUT, _fail, answer, TimeoutError())
        after = TIMEOUT * self._server.random.choice((0.9, 1.1, 1.3, 2, 8))
        self._loop.outside(after, self._apply_late, apply)

    def _apply_late(self, apply: Callable[[], bytes]) -> None:
        self._server.late -= 1
        self._apply(apply, None, 0.0)

    def _error(self, apply: Callable[[], bytes], answer: asyncio.Future[bytes], delay: float) -> None:
        if self._server.random.random() < 0.5:
            self._loop.outside(delay, self._apply, apply, None, delay)
        self._loop.outside(2 * delay, _fail, answer, ApiError(503, "ServiceUnavailable", "try again"))

    _FAULTS: ClassVar[dict[str, Any]] = {
        "api_lost": _lost,
        "api_unanswered": _unanswered,
        "api_late": _late,
        "api_error": _error,
    }

    async def lines(self, path: str, *, query: Mapping[str, str], idle_seconds: float) -> AsyncGenerator[bytes, None]:
        server = self._server
        await asyncio.sleep(0.001 + 0.01 * server.random.random())
        kind, since = path.rpartition("/")[2], int(query["resourceVersion"] or 0)
        if since > server.version:
            # As the real one does: it says nothing until that version is there.
            await asyncio.sleep(idle_seconds)
            raise Silent(f"watch of {kind}: nothing")
        watch = _Watch(server, kind, since)
        self._watches.append(watch)
        try:
            yield b""
            while True:
                try:
                    async with asyncio.timeout(idle_seconds):
                        await watch.ready.wait()
                except TimeoutError:
                    raise Silent(f"watch of {kind}: nothing") from None
                lines = watch.take()
                if self.is_cut_off:
                    raise Unavailable("the watch broke")
                for line in lines:
                    yield line
                if watch.ended:
                    raise Unavailable("the watch broke")
        finally:
            watch.close()
            self._watches.remove(watch)


class _Watch:
    """A watch of one kind: changes arrive late, and sometimes none any more."""

    def __init__(self, server: ApiServer, kind: str, since: int) -> None:
        self.kind = kind
        self.ready = asyncio.Event()
        self.ended = False
        self._server = server
        self._lines: list[bytes] = []
        self._cursor = next((at for at, entry in enumerate(server.log) if entry[0] > since), len(server.log))
        self._due = False
        self._silent = False
        server.watches.append(self)
        self.notice()

    def notice(self) -> None:
        """Something has changed at the server."""
        if self._due or self._silent or self.ended:
            return
        server = self._server
        weather, draw = server.weather(), server.random.random
        if draw() < weather.watch_lost:
            self._silent = True
            return
        self._due = True
        slow = server.random.choice((0.2, 1.0, 3.0)) if draw() < weather.watch_slow else 0.0
        server.loop.outside(0.001 + 0.01 * draw() + slow, self._pump)

    def _pump(self) -> None:
        self._due = False
        log = self._server.log
        while self._cursor < len(log):
            _, kind, event, item = log[self._cursor]
            self._cursor += 1
            if kind == self.kind:
                self._lines.append(msgspec.json.encode({"type": event, "object": item}))
        if self._lines:
            self.ready.set()

    def take(self) -> list[bytes]:
        self.ready.clear()
        lines, self._lines = self._lines, []
        return lines

    def end(self) -> None:
        """The connection breaks."""
        self.ended = True
        self.ready.set()

    def close(self) -> None:
        if self in self._server.watches:
            self._server.watches.remove(self)


def _succeed(answer: asyncio.Future[bytes] | None, value: bytes) -> None:
    if answer is not None and not answer.done():
        answer.set_result(value)


def _fail(answer: asyncio.Future[bytes] | None, error: Exception) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(error)

"""From HTTP requests to verbs, and from their outcomes to answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from dstk.local.apiserver import discovery, openapi, podlogs, processes, request, reviews, status, tables
from dstk.local.apiserver.api import Api, Options, key_of
from dstk.local.apiserver.builtin import EVICTION
from dstk.local.apiserver.listing import Page, Pages, Selection, list_body, select
from dstk.local.apiserver.request import BODY_LIMIT, JSON, Accepted, ResourcePath
from dstk.local.apiserver.resource import Object, Resource
from dstk.local.apiserver.selectors import field_selector, label_selector
from dstk.local.apiserver.store import Revision
from dstk.local.apiserver.watching import Watch, WatchRequest

_VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3+dstk",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_encode = msgspec.json.Encoder().encode


def answer(body: bytes, *, code: int = 200, media_type: str = JSON, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(body=body, status=code)
    response.headers["Content-Type"] = media_type
    for warning in warnings or ():
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


def _method_not_allowed() -> status.Refusal:
    return status.Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def refused(refusal: status.Refusal) -> web.Response:
    return answer(_encode(refusal.status()), code=refusal.code)


class Handlers:
    """Answers every request; `stopped` ends watches."""

    def __init__(
        self, api: Api, *, bookmark_seconds: float, stopped: Callable[[], bool], logs: Path | None = None
    ) -> None:
        self._api = api
        self._logs = logs
        self._bookmark_seconds = bookmark_seconds
        self._stopped = stopped
        self._pages = Pages()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            request.check_origin(http.headers)
            path = request.resource_path(http.path)
            if path is None:
                return self._document(http)
            if path.group in reviews.GROUPS:
                return await self._review(path, http)
            return await self._resource(path, http)
        except status.Refusal as refusal:
            return refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            return refused(status.too_large(BODY_LIMIT))

    def _document(self, http: web.BaseRequest) -> web.Response:
        if http.method not in ("GET", "HEAD"):
            raise status.path_not_found()
        path = http.path.rstrip("/") or "/"
        if path in ("/healthz", "/readyz", "/livez"):
            return answer(b"ok", media_type="text/plain; charset=utf-8")
        if path == "/version":
            return answer(_encode(_VERSION))
        if path in ("/api", "/apis"):
            return self._groups(path, http)
        if path == "/openapi/v2":
            wanted = http.headers.get("Accept", "").replace(" ", "")
            if any(asked in wanted for asked in openapi.V2_PROTOBUF_ASKED):
                return answer(openapi.V2_PROTOBUF, media_type=openapi.V2_PROTOBUF_TYPE)
            return answer(_encode(openapi.V2))
        document = self._discovery(path)
        if document is None:
            raise status.path_not_found()
        return answer(_encode(document))

    def _groups(self, path: str, http: web.BaseRequest) -> web.Response:
        wanted = http.headers.get("Accept", "").replace(" ", "")
        for media_type in discovery.AGGREGATED_TYPES:
            if media_type in wanted:
                document = discovery.aggregated(self._api.registry, media_type, core=path == "/api")
                return answer(_encode(document), media_type=media_type)
        if path == "/api":
            return answer(_encode(discovery.api_versions(http.host)))
        return answer(_encode(discovery.group_list(self._api.registry)))

    def _discovery(self, path: str) -> Any:
        registry = self._api.registry
        match path.strip("/").split("/"):
            case ["api", version]:
                return discovery.resource_list(registry, "", version)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version]:
                return discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                return openapi.index(registry)
            case ["openapi", "v3", "api", version]:
                return openapi.document(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return openapi.document(registry, group, version)
            case [""]:
                return {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
        return None

    async def _review(self, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        if http.method != "POST":
            raise status.path_not_found()
        kind = reviews.kind_of(path.group, path.version, path.plural)
        # kubectl sends these as protobuf; the answer does not depend on what is asked.
        is_json = http.content_type == JSON
        asked = request.decoded(await http.read(), Options().reading) if is_json else {}
        return answer(_encode(reviews.answer(path.group, path.version, kind, asked)), code=201)

    async def _resource(self, path: ResourcePath, http: web.BaseRequest) -> web.StreamResponse:
        resource = self._api.resource(path.group, path.version, path.plural)
        if path.subresource == EVICTION and resource.collection == "pods":
            return await self._evict(resource, path, http)
        if resource.collection == "pods" and path.subresource in (processes.LOG, *processes.INSIDE):
            return await self._process(resource, path, http)
        if path.subresource and path.subresource not in resource.subresources:
            raise status.not_served(resource.group, f"{resource.plural}/{path.subresource}")
        if path.namespace and not resource.namespaced:
            raise status.path_not_found()
        match http.method, bool(path.name):
            case (("GET" | "HEAD"), True):
                return self._get(resource, path, http)
            case (("GET" | "HEAD"), False):
                return await self._list_or_watch(resource, path, http)
            case "POST", False:
                return await self._create(resource, path, http)
            case "PUT", True:
                return await self._update(resource, path, http)
            case "PATCH", True:
                return await self._patch(resource, path, http)
            case "DELETE", True:
                return await self._delete(resource, path, http)
            case "DELETE", False:
                return await self._delete_collection(resource, path, http)
            case (("PUT" | "PATCH"), False) if not resource.builtin:
                raise status.bad_request("name must be provided")
        raise _method_not_allowed()

    def _one(
        self, resource: Resource, revision: Revision, form: Accepted, http: web.BaseRequest, options: Options, code: int
    ) -> web.Response:
        warnings = options.reading.warnings
        if form.form == "json":
            return answer(self._api.shown_raw(resource, revision), code=code, warnings=warnings)
        obj = self._api.shown(resource, revision)
        if form.form == "metadata":
            body: Object = tables.partial_metadata(obj)
        else:
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            include = http.query.get("includeObject", "Metadata")
            body = tables.table(resource, [obj], metadata, include, self._api.clock())
        return answer(_encode(body), code=code, media_type=form.media_type, warnings=warnings)

    def _get(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        form = request.accepted(http.headers.get("Accept", ""))
        revision = self._api.get(resource, path.namespace, path.name)
        return self._one(resource, revision, form, http, Options(), 200)

    def _selection(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> Selection:
        query = http.query
        return Selection(
            (path.namespace or None) if resource.namespaced else None,
            label_selector(query.get("labelSelector", "")),
            field_selector(query.get("fieldSelector", ""), resource.all_selectable),
        )

    async def _list_or_watch(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.StreamResponse:
        form = request.accepted(http.headers.get("Accept", ""))
        selection = self._selection(resource, path, http)
        if request.is_true(http.query.get("watch")):
            return await self._watch(resource, selection, form, http)
        page = self._page(resource, selection, http)
        if form.form == "json":
            return answer(list_body(self._api, resource, page))
        objects = [self._api.shown(resource, revision) for revision in page.revisions]
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if form.form == "table":
            include = http.query.get("includeObject", "Metadata")
            body = tables.table(resource, objects, metadata, include, self._api.clock())
        else:
            items = [tables.partial_metadata(obj) for obj in objects]
            body = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            }
        return answer(_encode(body), media_type=form.media_type)

    def _page(self, resource: Resource, selection: Selection, http: web.BaseRequest) -> Page:
        query, size = http.query, request.number(http.query, "limit")
        version = request.number(query, "resourceVersion")
        token = query.get("continue")
        if token:
            if version:
                raise status.bad_request("specifying resource version is not allowed when using continue")
            return self._pages.next(token, size)
        current = self._api.store.version
        if query.get("resourceVersionMatch") == "Exact" and version != current:
            raise status.expired(f"The resourceVersion for the provided list is too old: {version} ({current})")
        revisions = select(self._api, resource, selection)
        return self._pages.first(revisions, current, size, counted=selection.everything)

    async def _watch(
        self, resource: Resource, selection: Selection, form: Accepted, http: web.BaseRequest
    ) -> web.StreamResponse:
        wanted = self._watch_request(selection, http)
        watch = Watch(self._api, resource, wanted, self._printer(resource, form, http))
        response = web.StreamResponse()
        response.headers["Content-Type"] = form.media_type
        response.enable_chunked_encoding()
        await response.prepare(http)
        with contextlib.suppress(ConnectionResetError):  # The client has gone: nobody is left to tell.
            async for piece in watch.lines(self._stopped, self._bookmark_seconds):
                await response.write(piece)
            await response.write_eof()
        return response

    def _watch_request(self, selection: Selection, http: web.BaseRequest) -> WatchRequest:
        query = http.query
        version = request.number(query, "resourceVersion")
        send = query.get("sendInitialEvents")
        if send is not None and query.get("resourceVersionMatch") != "NotOlderThan":
            error = status.forbidden(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
            raise status.invalid("meta.k8s.io", "ListOptions", "", [error])
        if send is None and query.get("resourceVersionMatch"):
            error = status.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch")
            raise status.invalid("meta.k8s.io", "ListOptions", "", [error])
        initial = request.is_true(send) if send is not None else not version
        marker = request.is_true(send)
        bookmarks = request.is_true(query.get("allowWatchBookmarks"))
        timeout = float(request.number(query, "timeoutSeconds") or 3600)
        if not initial and not version:
            version = self._api.store.version
        return WatchRequest(selection, version, initial, marker and bookmarks, bookmarks, timeout)

    def _printer(self, resource: Resource, form: Accepted, http: web.BaseRequest) -> Callable[[Object], bytes] | None:
        if form.form == "json":
            return None
        if form.form == "metadata":
            return lambda obj: _encode(tables.partial_metadata(obj))
        include = http.query.get("includeObject", "Metadata")
        headers = True

        def printed(obj: Object) -> bytes:
            nonlocal headers
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            rows = [obj] if "name" in obj["metadata"] else []
            body = tables.table(resource, rows, metadata, include, self._api.clock(), headers=headers)
            if not rows:
                body["metadata"] = obj["metadata"]
                body["rows"] = [{"cells": [None] * len(resource.columns), "object": tables.partial_metadata(obj)}]
            headers = False
            return _encode(body)

        return printed

    async def _create(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        form = request.accepted(http.headers.get("Accept", ""))
        options = request.write_options(http.query, http.headers, "Create")
        body = request.decoded(await http.read(), options.reading, http.content_type)
        namespace = path.namespace
        if resource.namespaced and not namespace:
            raise _method_not_allowed()
        revision = self._api.create(resource, namespace, body, options)
        return self._one(resource, revision, form, http, options, 201)

    async def _update(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        form = request.accepted(http.headers.get("Accept", ""))
        options = request.write_options(http.query, http.headers, "Update")
        body = request.decoded(await http.read(), options.reading, http.content_type)
        key = key_of(resource, path.namespace, path.name)
        if path.subresource == "finalize":
            return answer(self._api.shown_raw(resource, self._api.get(resource, *key)))
        revision = self._api.update(resource, key, path.subresource, body, options)
        return self._one(resource, revision, form, http, options, 200)

    async def _patch(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        form = request.accepted(http.headers.get("Accept", ""))
        options = request.write_options(http.query, http.headers, "Patch")
        kind = request.patch_kind(http.content_type, builtin=resource.builtin)
        raw = await http.read()
        if kind == "apply":
            if not http.query.get("fieldManager"):
                error = status.required("fieldManager", "is required for apply patch")
                raise status.invalid("meta.k8s.io", "PatchOptions", "", [error])
            body = request.decoded_yaml(raw)
        else:
            body = request.decoded(raw, options.reading)
        key = key_of(resource, path.namespace, path.name)
        revision, created = self._api.patch(resource, key, path.subresource, kind, body, options)
        return self._one(resource, revision, form, http, options, 201 if created else 200)

    async def _delete(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        if path.subresource:
            raise _method_not_allowed()
        deletion = request.deletion(http.query, await http.read(), http.content_type)
        key = key_of(resource, path.namespace, path.name)
        revision, gone = self._api.delete(resource, key, deletion)
        if not gone or resource.collection == "pods":
            return answer(self._api.shown_raw(resource, revision))
        details = {
            "name": path.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": revision.object["metadata"].get("uid", ""),
        }
        return answer(_encode(status.success({name: value for name, value in details.items() if value})))

    async def _evict(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        """There are no disruption budgets here: what is asked for is done."""
        if http.method != "POST":
            raise _method_not_allowed()
        evicted = request.eviction(path.name, await http.read(), http.content_type)
        self._api.delete(resource, key_of(resource, path.namespace, path.name), evicted)
        return answer(_encode(status.success({})), code=201)

    async def _process(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.StreamResponse:
        """The log of the process that a pod is, or why nothing else is done with it."""
        pod = self._api.get(resource, path.namespace, path.name).object
        if path.subresource != processes.LOG:
            raise processes.refusal(path.subresource, pod)
        if http.method != "GET":
            raise _method_not_allowed()
        asked = podlogs.log_request(http.query, self._api.clock())
        log = podlogs.log_of(pod, self._logs, http.query.get("container", ""), previous=asked.previous)
        key, uid = key_of(resource, path.namespace, path.name), pod["metadata"]["uid"]

        def there() -> bool:
            current = self._api.store.get(resource.collection, key)
            return current is not None and current.object["metadata"]["uid"] == uid and not self._stopped()

        response = web.StreamResponse()
        response.headers["Content-Type"] = "text/plain"
        if request.is_true(http.query.get("timestamps")):
            response.headers["Warning"] = '299 - "timestamps are those that the lines begin with"'
        response.enable_chunked_encoding()
        await response.prepare(http)
        with contextlib.suppress(ConnectionResetError):  # The client has gone: nobody is left to tell.
            async for piece in podlogs.pieces(log, asked, there):
                await response.write(piece)
            await response.write_eof()
        return response

    async def _delete_collection(self, resource: Resource, path: ResourcePath, http: web.BaseRequest) -> web.Response:
        deletion = request.deletion(http.query, await http.read(), http.content_type)
        if resource.namespaced and not path.namespace:
            raise _method_not_allowed()
        found = select(self._api, resource, self._selection(resource, path, http))
        deleted: list[Revision] = []
        for revision in found:
            metadata = revision.object["metadata"]
            key = key_of(resource, metadata.get("namespace", ""), metadata["name"])
            deleted.append(self._api.delete(resource, key, deletion)[0])
        return answer(list_body(self._api, resource, Page(deleted, self._api.store.version)))

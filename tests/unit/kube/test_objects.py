"""What the API server answers, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp
import pytest
from scripted_api import ScriptedApi, pod, serving

from dstk.errors import ApiError, OutcomeUnknown, Unavailable
from dstk.kube import Connection, Objects, Pod, is_conflict, is_not_found
from dstk.kube.objects import Kind

MISSING = (404, {"kind": "Status", "code": 404, "reason": "NotFound", "message": 'pods "a" not found'})
CONFLICT = (409, {"kind": "Status", "code": 409, "reason": "Conflict", "message": "the object has been modified"})
TAKEN = (409, {"kind": "Status", "code": 409, "reason": "AlreadyExists", "message": 'pods "a" already exists'})


async def test_an_error_keeps_status_reason_and_message() -> None:
    async with serving(ScriptedApi(answers=deque([CONFLICT]))) as pods:
        with pytest.raises(ApiError) as caught:
            await pods.patch("a", {"spec": {}}, resource_version="3")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert is_conflict(caught.value)
    assert "modified" in str(caught.value)


async def test_a_name_that_is_taken_is_no_conflict() -> None:
    async with serving(ScriptedApi(answers=deque([TAKEN]))) as pods:
        with pytest.raises(ApiError) as caught:
            await pods.create({"metadata": {"name": "a"}})
    assert not is_conflict(caught.value)


async def test_a_condition_travels_with_the_patch() -> None:
    api = ScriptedApi(answers=deque([(200, pod("a", 4))]))
    async with serving(api) as pods:
        patched = await pods.patch("a", {"metadata": {"annotations": {"x": "y"}}}, resource_version="3")
    assert patched.metadata.resource_version == "4"
    assert api.bodies == [{"metadata": {"annotations": {"x": "y"}, "resourceVersion": "3"}}]
    assert api.requests[0].headers["Content-Type"] == "application/merge-patch+json"


async def test_a_deletion_says_which_object_it_means() -> None:
    api = ScriptedApi(answers=deque([(200, {"kind": "Status", "status": "Success"})]))
    async with serving(api) as pods:
        await pods.delete("a", uid="u-1")
    assert api.bodies[0]["preconditions"] == {"uid": "u-1"}


async def test_a_write_without_an_answer_may_have_happened() -> None:
    async with serving(ScriptedApi(answers=deque([None]))) as pods:
        with pytest.raises(OutcomeUnknown):
            await pods.patch("a", {"spec": {}})


async def test_a_server_that_is_not_there_has_done_nothing() -> None:
    async with serving(ScriptedApi()) as pods:
        server = pods._api
    connection = Connection(type(server.api)(server.configuration), "default")
    try:
        with pytest.raises(Unavailable, match="cannot reach"):
            await Objects(connection, Kind("v1", "Pod", "pods", Pod), "default").patch("a", {})
    finally:
        await connection.close()


async def test_find_knows_absent_from_broken() -> None:
    failing = (500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "no"})
    async with serving(ScriptedApi(answers=deque([failing]))) as pods:
        with pytest.raises(ApiError) as caught:
            await pods.patch("a", {})
        assert caught.value.retryable
        assert not is_not_found(caught.value)


async def test_each_write_is_counted() -> None:
    counted: list[tuple[str, str]] = []
    async with serving(ScriptedApi(answers=deque([(201, pod("a", 1)), MISSING]))) as pods:
        counting = Objects(pods._api, pods.kind, "default", lambda verb, plural: counted.append((verb, plural)))
        await counting.create({"metadata": {"name": "a"}})
        with pytest.raises(ApiError):
            await counting.delete("a")
    assert counted == [("POST", "pods"), ("DELETE", "pods")]


@pytest.mark.parametrize("error", [aiohttp.ClientOSError(104, "reset"), TimeoutError()])
async def test_a_cancellation_that_comes_out_as_the_connections_error_is_a_cancellation(error: Exception) -> None:
    async with serving(ScriptedApi()) as pods:
        asked = asyncio.Event()

        async def request(*_: object, **__: object) -> None:
            asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise error from None

        pods._api.api.rest_client.request = request
        for call in (pods.list_page(), pods.delete("a"), anext(pods.watch("1"))):
            asked.clear()
            task = asyncio.ensure_future(call)
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

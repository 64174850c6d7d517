"""Watches: replay, selectors, bookmarks, initial events, ends."""

from __future__ import annotations

import asyncio

from conformance.apiclient import TABLE, Api
from conformance.crd import widget


async def version(api: Api) -> str:
    return (await api.get(api.widgets)).version


async def test_a_watch_replays_and_goes_on(api: Api) -> None:
    start = await version(api)
    await api.create(api.widgets, widget("a"))
    await api.patch(f"{api.widgets}/a", {"spec": {"size": 5}})
    async with api.watch(api.widgets, resourceVersion=start) as events:
        assert await events.next_names(2) == [("ADDED", "a"), ("MODIFIED", "a")]
        await api.delete(f"{api.widgets}/a")
        event = await events.next()
        assert event["type"] == "DELETED"
        assert event["object"]["spec"]["size"] == 5
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(start)


async def test_each_event_carries_a_version_to_resume_from(api: Api) -> None:
    start = await version(api)
    for name in "abc":
        await api.create(api.widgets, widget(name))
    async with api.watch(api.widgets, resourceVersion=start) as events:
        first = await events.next()
    resumed = first["object"]["metadata"]["resourceVersion"]
    async with api.watch(api.widgets, resourceVersion=resumed) as events:
        assert await events.next_names(2) == [("ADDED", "b"), ("ADDED", "c")]


async def test_a_watch_without_version_begins_with_what_is_there(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    async with api.watch(api.widgets) as events:
        assert await events.next_names(1) == [("ADDED", "a")]
        await api.create(api.widgets, widget("b"))
        assert await events.next_names(1) == [("ADDED", "b")]


async def test_objects_enter_and_leave_a_selection(api: Api) -> None:
    start = await version(api)
    async with api.watch(api.widgets, resourceVersion=start, labelSelector="on=yes") as events:
        await api.create(api.widgets, widget("a"))
        await api.patch(f"{api.widgets}/a", {"metadata": {"labels": {"on": "yes"}}})
        await api.patch(f"{api.widgets}/a", {"spec": {"size": 7}})
        await api.patch(f"{api.widgets}/a", {"metadata": {"labels": {"on": "no"}}})
        await api.patch(f"{api.widgets}/a", {"metadata": {"labels": {"on": "yes"}}})
        await api.delete(f"{api.widgets}/a")
        assert [kind for kind, _ in await events.next_names(5)] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_one_object_can_be_watched(api: Api) -> None:
    start = await version(api)
    await api.create(api.widgets, widget("a"))
    await api.create(api.widgets, widget("b"))
    async with api.watch(api.widgets, resourceVersion=start, fieldSelector="metadata.name=b") as events:
        assert await events.next_names(1) == [("ADDED", "b")]
    assert (await api.get(f"{api.widgets}/b", watch="true")).body["kind"] == "Widget"


async def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    await api.create(api.widgets, widget("a"))
    await api.create(api.widgets, widget("b"))
    query = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with api.watch(api.widgets, **query) as events:
        assert await events.next_names(2) == [("ADDED", "a"), ("ADDED", "b")]
        mark = await events.next()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.create(api.widgets, widget("c"))
        assert await events.next_names(1) == [("ADDED", "c")]
    answer = await api.get(api.widgets, watch="true", sendInitialEvents="true")
    assert (answer.code, answer.reason) == (422, "Invalid")


async def test_a_watch_ends_after_its_time(api: Api) -> None:
    start = await version(api)
    async with api.watch(api.widgets, resourceVersion=start, timeoutSeconds="1") as events:
        assert [event async for event in events] == []


async def test_a_version_of_long_ago_is_expired(api: Api) -> None:
    async with api.watch(api.widgets, resourceVersion="1") as events:
        event = await events.next()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_many_watchers_see_the_same(api: Api) -> None:
    start = await version(api)

    async def follow() -> list[tuple[str, str]]:
        async with api.watch(api.widgets, resourceVersion=start) as events:
            return await events.next_names(20)

    followers = [asyncio.create_task(follow()) for _ in range(5)]
    for number in range(10):
        await api.create(api.widgets, widget(f"w{number}"))
        await api.patch(f"{api.widgets}/w{number}", {"spec": {"size": 50}})
    first, *others = await asyncio.gather(*followers)
    assert first == [(kind, f"w{number}") for number in range(10) for kind in ("ADDED", "MODIFIED")]
    assert all(other == first for other in others)


async def test_tables_can_be_watched(api: Api) -> None:
    start = await version(api)
    async with api.watch(api.widgets, TABLE, resourceVersion=start) as events:
        await api.create(api.widgets, widget("a", size=6))
        first = await events.next()
        assert (first["type"], first["object"]["kind"]) == ("ADDED", "Table")
        assert [column["name"] for column in first["object"]["columnDefinitions"]][:2] == ["Name", "Size"]
        assert first["object"]["rows"][0]["cells"][:2] == ["a", 6]
        await api.patch(f"{api.widgets}/a", {"spec": {"size": 7}})
        second = await events.next()
        assert second["object"]["rows"][0]["cells"][:2] == ["a", 7]
        assert second["object"]["rows"][0]["object"]["metadata"]["name"] == "a"

"""What the embedded API promises beyond a real one: bounds that are settings, a journal, a guard at the door."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.apiclient import Api, connect
from conformance.crd import WIDGETS, widget

from dstk.local.apiserver import ApiServer, Settings
from dstk.local.kubeconfig import write_kubeconfig


def kubeconfig(folder: Path, server: ApiServer) -> Path:
    path = folder / "kubeconfig"
    write_kubeconfig(path, server.url)
    return path


async def ready(api: Api) -> Api:
    await api.define(WIDGETS)
    await api.make_namespace()
    return api


async def test_history_is_bounded_and_says_so(tmp_path: Path) -> None:
    async with ApiServer(Settings(history=4)) as server, connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        start = (await api.get(api.widgets)).version
        versions = [(await api.create(api.widgets, widget(f"w{n}")))["metadata"]["resourceVersion"] for n in range(20)]
        async with api.watch(api.widgets, resourceVersion=start) as events:
            gone = await events.next()
            assert (gone["type"], gone["object"]["code"], gone["object"]["reason"]) == ("ERROR", 410, "Expired")
        async with api.watch(api.widgets, resourceVersion=versions[-2]) as events:
            assert await events.next_names(1) == [("ADDED", "w19")]


async def test_bookmarks_move_idle_watches_on(tmp_path: Path) -> None:
    settings = Settings(bookmark_seconds=0.05)
    async with ApiServer(settings) as server, connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        start = (await api.get(api.widgets)).version
        async with api.watch(api.widgets, resourceVersion=start, allowWatchBookmarks="true") as events:
            made = await api.create(api.core("configmaps"), {"metadata": {"name": "c"}})
            event = await events.next()
            while event["object"]["metadata"]["resourceVersion"] < made["metadata"]["resourceVersion"]:
                event = await events.next()
        assert event["type"] == "BOOKMARK"
        assert event["object"]["kind"] == "Widget"


async def test_a_restart_keeps_objects_and_versions(tmp_path: Path) -> None:
    settings = Settings(directory=tmp_path / "state")
    async with ApiServer(settings) as server, connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        namespace = api.namespace
        for name in "abc":
            await api.create(api.widgets, widget(name))
        await api.delete(f"{api.widgets}/b")
        before = (await api.get(api.widgets)).body
    async with ApiServer(settings) as server, connect(kubeconfig(tmp_path, server)) as api:
        api.namespace = namespace
        after = (await api.get(api.widgets)).body
        assert after["items"] == before["items"]
        assert int(after["metadata"]["resourceVersion"]) >= int(before["metadata"]["resourceVersion"])
        old = before["items"][0]["metadata"]["resourceVersion"]
        async with api.watch(api.widgets, resourceVersion=old) as events:
            assert (await events.next())["type"] == "ERROR"
        async with api.watch(api.widgets, resourceVersion=after["metadata"]["resourceVersion"]) as events:
            made = await api.create(api.widgets, widget("d"))
            assert await events.next_names(1) == [("ADDED", "d")]
        assert int(made["metadata"]["resourceVersion"]) > int(after["metadata"]["resourceVersion"])


async def test_a_torn_journal_line_is_dropped(tmp_path: Path) -> None:
    settings = Settings(directory=tmp_path / "state")
    async with ApiServer(settings) as server, connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        namespace = api.namespace
        await api.create(api.widgets, widget("a"))
    journal = tmp_path / "state" / "apiserver.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'["widgets.conformance.dstk.io","x","torn",99,{"meta')
    async with ApiServer(settings) as server, connect(kubeconfig(tmp_path, server)) as api:
        api.namespace = namespace
        assert [item["metadata"]["name"] for item in (await api.get(api.widgets)).body["items"]] == ["a"]


async def test_lists_left_unfinished_too_long_expire(tmp_path: Path) -> None:
    async with ApiServer() as server, connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        for name in "abc":
            await api.create(api.widgets, widget(name))
        first = (await api.get(api.widgets, limit="1")).body
        for _ in range(100):
            await api.get(api.widgets, limit="1")
        answer = await api.get(api.widgets, limit="1", **{"continue": first["metadata"]["continue"]})
        assert (answer.code, answer.reason) == (410, "Expired")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example:80"}, {"Host": "169.254.169.254"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
async def test_web_pages_are_kept_out(tmp_path: Path, headers: dict[str, str]) -> None:
    async with ApiServer() as server, connect(kubeconfig(tmp_path, server)) as api:
        answer = await api.send("GET", "/api/v1/namespaces", headers=headers)
        assert (answer.code, answer.reason) == (403, "Forbidden")
        assert (await api.send("GET", "/version", headers={"Origin": "http://localhost:3000"})).code == 200


async def test_stopping_ends_watches(tmp_path: Path) -> None:
    server = ApiServer()
    await server.start()
    async with connect(kubeconfig(tmp_path, server)) as client:
        api = await ready(client)
        start = (await api.get(api.widgets)).version
        async with api.watch(api.widgets, resourceVersion=start) as events:
            await server.stop()
            assert [event async for event in events] == []

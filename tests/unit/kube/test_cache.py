"""The cache against what API servers do on their bad days."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec
import pytest
from scripted_api import ScriptedApi, pod, serving

from clocks import HandClock
from dstk.clock import SYSTEM, Clock
from dstk.kube import Cache, CacheSettings, Pod
from waiting import until_true

LONG = 30.0
"""Seconds; a bound against hanging, not a measure."""


def event(type_: str, object_: dict[str, object]) -> dict[str, object]:
    return {"type": type_, "object": object_}


def bookmark(version: int) -> dict[str, object]:
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


GONE = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})


@asynccontextmanager
async def cached(
    api: ScriptedApi, settings: CacheSettings | None = None, clock: Clock = SYSTEM
) -> AsyncIterator[Cache[Pod]]:
    async with serving(api) as objects:
        cache = Cache(objects, settings=settings or CacheSettings(backoff_longest=0.01), clock=clock)
        cache.index("app", lambda item: [item.metadata.labels["app"]] if "app" in item.metadata.labels else [])
        task = asyncio.create_task(cache.run())
        try:
            yield cache
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def is_at(version: int) -> Callable[[Pod | None], bool]:
    return lambda item: item is not None and item.metadata.resource_version == str(version)


def is_gone(item: Pod | None) -> bool:
    return item is None


async def test_lists_page_by_page_then_watches_from_there() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1)], "7", "more"), ([pod("b", 2)], "7", "")]),
        watches=deque([[event("MODIFIED", pod("a", 8)), None]]),
    )
    async with cached(api) as cache:
        await cache.wait_for("a", is_at(8), LONG)
        assert sorted(cache.items) == ["a", "b"]
    assert [query.get("continue") for query in api.queries] == [None, "more", None]
    assert api.queries[2]["resourceVersion"] == "7"


async def test_a_watch_that_ends_is_resumed_where_the_last_bookmark_was() -> None:
    api = ScriptedApi(
        lists=deque([([], "1", "")]), watches=deque([[bookmark(40)], [event("ADDED", pod("a", 41)), None]])
    )
    async with cached(api) as cache:
        await cache.wait_for("a", is_at(41), LONG)
        assert cache.lists == 1
    assert [query.get("resourceVersion") for query in api.queries] == [None, "1", "40"]


async def test_410_lists_again_and_takes_out_what_is_gone() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1), pod("b", 2)], "2", ""), ([pod("b", 9)], "10", "")]), watches=deque([[GONE], [None]])
    )
    async with cached(api) as cache:
        await cache.wait_for("a", is_gone, LONG)
        await cache.wait_for("b", is_at(9), LONG)
        assert cache.lists == 2


async def test_a_watch_that_says_nothing_is_given_up() -> None:
    api = ScriptedApi(lists=deque([([], "1", "")]), watches=deque([[None], [event("ADDED", pod("a", 2)), None]]))
    async with cached(api, CacheSettings(idle_seconds=0.05, backoff_longest=0.01)) as cache:
        await cache.wait_for("a", is_at(2), LONG)


async def test_everything_is_listed_again_now_and_then_for_what_a_watch_has_lost() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1)], "1", ""), ([pod("b", 5)], "5", "")]), watches=deque([[bookmark(1)], [None]])
    )

    class Passing(HandClock):
        """An hour passes during the first watch."""

        def monotonic(self) -> float:
            return 3600.0 if api.watched.is_set() else 0.0

    async with cached(api, CacheSettings(relist_seconds=600), Passing()) as cache:
        await cache.wait_for("b", is_at(5), LONG)
        assert list(cache.items) == ["b"]
        assert cache.lists == 2


async def test_after_a_definition_was_deleted_everything_is_listed_anew() -> None:
    """What went with it, no watch tells."""
    missing = event("ERROR", {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"})
    api = ScriptedApi(
        lists=deque([([pod("a", 1)], "1", ""), ([pod("b", 7)], "7", "")]), watches=deque([[missing], [None]])
    )
    async with cached(api) as cache:
        await cache.wait_for("b", is_at(7), LONG)
        assert cache.get("a") is None


async def test_handlers_see_every_change_once() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1)], "1", "")]),
        watches=deque(
            [[event("MODIFIED", pod("a", 2)), event("MODIFIED", pod("a", 2)), event("DELETED", pod("a", 3)), None]]
        ),
    )
    seen: list[tuple[str | None, str | None]] = []

    def version(item: Pod | None) -> str | None:
        return item.metadata.resource_version if item is not None else None

    async with cached(api) as cache:
        cache.on_change(lambda old, new: seen.append((version(old), version(new))))
        await cache.synced()
        await cache.wait_for("a", is_gone, LONG)
    assert seen == [(None, "1"), ("1", "2"), ("2", None)]


async def test_an_index_follows_its_objects() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1, app="kv"), pod("b", 2, app="kv"), pod("c", 3)], "3", "")]),
        watches=deque([[event("MODIFIED", pod("a", 4, app="other")), event("DELETED", pod("b", 5)), None]]),
    )
    async with cached(api) as cache:
        await cache.wait_for("b", is_gone, LONG)
        assert not cache.by("app", "kv")
        assert list(cache.by("app", "other")) == ["a"]


async def test_an_object_learned_from_a_write_is_not_undone_by_older_news() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 1)], "1", "")]),
        watches=deque([[event("MODIFIED", pod("a", 2)), event("ADDED", pod("b", 6)), None]]),
    )
    async with cached(api) as cache:
        await cache.synced()
        cache.learn(msgspec.convert(pod("a", 5), Pod))
        await cache.wait_for("b", is_at(6), LONG)
        assert is_at(5)(cache.get("a"))


async def test_an_answer_to_an_older_write_does_not_bring_a_deleted_object_back() -> None:
    api = ScriptedApi(lists=deque([([pod("a", 1)], "1", "")]), watches=deque([[event("DELETED", pod("a", 9)), None]]))
    async with cached(api) as cache:
        await cache.synced()
        await cache.wait_for("a", is_gone, LONG)
        cache.learn(msgspec.convert(pod("a", 8), Pod))
        assert cache.get("a") is None


async def test_waiting_for_what_does_not_come_ends() -> None:
    api = ScriptedApi(lists=deque([([], "1", "")]))
    async with cached(api) as cache:
        with pytest.raises(TimeoutError):
            await cache.wait_for("a", is_at(1), 0.01)


@dataclass
class Broken:
    """Raises for one object."""

    calls: int = 0

    def __call__(self, old: Pod | None, new: Pod | None) -> None:
        self.calls += 1
        raise ValueError("a bug in a handler")


async def test_a_handler_that_fails_stops_nothing() -> None:
    api = ScriptedApi(lists=deque([([pod("a", 1)], "1", "")]), watches=deque([[event("ADDED", pod("b", 2)), None]]))
    broken = Broken()
    async with cached(api) as cache:
        cache.on_change(broken)
        await cache.wait_for("b", is_at(2), LONG)
    assert broken.calls == 2


async def test_a_server_that_has_nothing_to_tell_is_not_silent() -> None:
    """It takes a new watch whenever the last one has brought nothing for long."""
    clock = HandClock()
    api = ScriptedApi(lists=deque([([pod("a", 3)], "3", "")]))
    settings = CacheSettings(idle_seconds=0.05, backoff_longest=0.01)
    async with cached(api, settings, clock) as cache:
        await cache.synced()
        clock.pass_(100.0)
        watches = len(api.queries)
        await until_true(lambda: len(api.queries) >= watches + 3, "it watches again")
        assert cache.silent_seconds == 0.0
    assert cache.lists == 1


class Seen:
    """What a handler was told, as versions, and how many new histories."""

    def __init__(self, cache: Cache[Pod]) -> None:
        self.changes: list[tuple[str | None, str | None]] = []
        self.histories = 0
        cache.on_change(lambda old, new: self.changes.append((_version(old), _version(new))))
        cache.on_history(self.begin)

    def begin(self) -> None:
        self.histories += 1


def _version(item: Pod | None) -> str | None:
    return item.metadata.resource_version if item is not None else None


async def test_an_api_server_that_was_set_back_is_believed_in_everything() -> None:
    """Older objects count, what it has not got is gone, and what was deleted is there again."""
    api = ScriptedApi(
        lists=deque([([pod("a", 10), pod("b", 11), pod("c", 12)], "20", ""), ([pod("a", 4), pod("c", 5)], "6", "")]),
        watches=deque([[event("DELETED", pod("c", 21))], [event("MODIFIED", pod("a", 7)), None]]),
        at=6,
    )
    async with cached(api) as cache:
        seen = Seen(cache)
        await cache.wait_for("a", is_at(7), LONG)
        assert {name: _version(item) for name, item in cache.items.items()} == {"a": "7", "c": "5"}
        assert (seen.histories, cache.histories) == (1, 1)
    assert sorted(seen.changes[4:], key=str) == sorted([("11", None), ("10", "4"), (None, "5"), ("4", "7")], key=str)


@pytest.mark.parametrize(
    "again", [[pod("a", 3)], [pod("a", 10), pod("gone", 12)]], ids=["an object is older", "what was deleted is back"]
)
async def test_a_backup_whose_versions_were_raised_shows_by_its_objects(again: list[dict[str, object]]) -> None:
    """``etcdutl snapshot restore --bump-revision`` goes on above all versions."""
    api = ScriptedApi(
        lists=deque([([pod("a", 10), pod("gone", 12)], "20", ""), (again, "1000", "")]),
        watches=deque([[event("DELETED", pod("gone", 21)), GONE], [None]]),
    )
    async with cached(api) as cache:
        seen = Seen(cache)
        await until_true(lambda: cache.lists == 2, "it lists again")
        assert seen.histories == 1
        assert sorted(cache.items) == sorted(each["metadata"]["name"] for each in again)  # type: ignore[index]


async def test_a_list_that_is_as_it_should_be_is_no_new_history() -> None:
    """A write that was answered meanwhile is newer than the list, and is no sign of anything."""
    api = ScriptedApi(
        lists=deque([([pod("a", 10)], "20", ""), ([pod("a", 10), pod("b", 25)], "30", "")]),
        watches=deque([[bookmark(22), GONE], [None]]),
    )
    async with cached(api) as cache:
        seen = Seen(cache)
        await until_true(lambda: cache.lists == 2, "it lists again")
        assert seen.histories == 0


async def test_an_event_older_than_the_last_is_of_another_history() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 10)], "20", ""), ([pod("a", 5)], "6", "")]),
        watches=deque([[event("MODIFIED", pod("a", 21)), event("MODIFIED", pod("a", 5))], [None]]),
    )
    async with cached(api) as cache:
        await cache.wait_for("a", is_at(5), LONG)


async def test_what_is_said_not_to_be_there_is_gone() -> None:
    api = ScriptedApi(lists=deque([([pod("a", 10)], "20", "")]))
    async with cached(api) as cache:
        await cache.synced()
        item = cache.get("a")
        assert item is not None
        cache.lost(item)
        assert cache.get("a") is None
        cache.learn(item)
        assert cache.get("a") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([event("MODIFIED", pod("b", 21))], [pod("a", 10)]),
        ([event("MODIFIED", pod("b", 21))], [pod("a", 10), pod("b", 12)]),
        ([event("DELETED", pod("b", 21))], [pod("a", 10), pod("b", 12)]),
    ],
    ids=["the newest is not there", "the newest is an older one", "what was deleted is back"],
)
async def test_another_history_that_has_gone_on_beyond_this_one_shows_by_the_newest_object(
    before: list[dict[str, object]], after: list[dict[str, object]]
) -> None:
    """Its versions are all above those that are known, and a watch would go on as if nothing had happened."""
    api = ScriptedApi(lists=deque([([pod("a", 10), pod("b", 12)], "20", ""), (after, "1000", "")]))

    def restore() -> None:
        api.there = {each["metadata"]["name"]: each for each in after}  # type: ignore[index,misc]

    api.watches = deque([[*before, restore], [None]])
    async with cached(api) as cache:
        seen = Seen(cache)
        await until_true(lambda: cache.lists == 2, "it lists again")
        assert seen.histories == 1
        assert sorted(cache.items) == sorted(each["metadata"]["name"] for each in after)  # type: ignore[index]


async def test_a_watch_that_ends_goes_on_without_another_list() -> None:
    api = ScriptedApi(
        lists=deque([([pod("a", 10), pod("b", 12)], "20", "")]),
        watches=deque(
            [[event("MODIFIED", pod("b", 21))], [event("DELETED", pod("b", 22))], [event("ADDED", pod("c", 23))]]
        ),
    )
    async with cached(api) as cache:
        await cache.wait_for("c", is_at(23), LONG)
        assert (cache.lists, cache.histories) == (1, 0)

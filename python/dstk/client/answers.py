"""The calls of an asyncio client that are under way, as futures of its event loop.

The extension gathers what ended and wakes the loop once through a file descriptor for all that ended meanwhile. The
life of a call, with the error that each end of it has, is drawn in rust/net/src/client/life.rs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from dstk import errors
from dstk._core import Client as NativeClient
from dstk.client import verbs

T = TypeVar("T")

_CLOSING = 0
"""The token of the closing; calls have those after it."""


class Answer(asyncio.Future[T]):
    """What a verb gives. Cancelled, it gives its call up."""

    __slots__ = ("_answers", "_token")

    def __init__(self, answers: Answers, token: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._answers = answers
        self._token = token

    def cancel(self, msg: Any = None) -> bool:
        """As every future's, and what was not sent is never sent."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._answers.give_up(self._token)
        return cancelled


class Answers:
    """The calls of one client. They belong to `loop`: whoever asks from elsewhere is refused."""

    def __init__(self, native: NativeClient, loop: asyncio.AbstractEventLoop) -> None:
        self._native = native
        self._loop = loop
        self._thread = threading.get_ident()
        self._token = _CLOSING
        self._waiting: dict[int, tuple[Answer[Any], Callable[[Any], Any]]] = {}
        self._closing: asyncio.Future[None] | None = None
        self._left = False
        loop.add_reader(native.fileno(), self._collect)

    def ask(self, call: verbs.Call[T]) -> Answer[T]:
        """Start a call. Raises InvalidRequest once the client is closed, and from elsewhere than its loop."""
        if self._closing is not None or self._left:
            raise errors.InvalidRequest("this client is closed: connect anew")
        self._check_loop(_running())
        token = self._token + 1
        answer: Answer[T] = Answer(self, token, self._loop)
        # What is wrong with the call is raised here, before anything is sent or kept.
        getattr(self._native, "submit_" + call.verb)(token, *call.arguments)
        self._token = token
        self._waiting[token] = (answer, call.decode)
        return answer

    def give_up(self, token: int) -> None:
        """Nobody waits for this call any more."""
        if self._waiting.pop(token, None) is not None:
            self._native.give_up(token)

    async def close(self) -> None:
        """Close the client; returns when every call has ended. Cancelling this does not undo it."""
        if not self._loop.is_closed():
            self._check_loop(_running())
        elif not self._left:
            self._forget()
        if self._left:
            return
        if self._closing is None:
            self._closing = self._loop.create_future()
            self._native.submit_close(_CLOSING)
        await asyncio.shield(self._closing)

    def leave(self) -> None:
        """Nobody has the client any more: it is closed when the calls under way have ended. From any thread."""
        if self._left or self._closing is not None:
            return
        if self._loop.is_closed():
            self._forget()
            return
        self._left = True
        if not self._waiting:
            self._native.submit_close(_CLOSING)

    def _check_loop(self, running: asyncio.AbstractEventLoop | None) -> None:
        if running is self._loop:
            return
        if self._loop.is_closed():
            self._forget()
            raise errors.InvalidRequest(
                "the event loop of this client is closed: connect anew, in the loop that runs now"
            )
        if running is not None or threading.get_ident() != self._thread:
            raise errors.InvalidRequest(
                "this client belongs to another event loop than the one that runs here: connect once in each"
            )

    def _forget(self) -> None:
        """Its loop is closed, so nobody can be told anything any more."""
        self._left = True
        self._waiting.clear()
        self._native.abandon()

    def _collect(self) -> None:
        self._thread = threading.get_ident()
        for token, ok, result in self._native.completions():
            if token == _CLOSING:
                self._loop.remove_reader(self._native.fileno())
                if self._closing is not None:
                    self._closing.set_result(None)
                continue
            found = self._waiting.pop(token, None)
            if found is None:  # given up when it had ended already
                continue
            answer, decode = found
            if not ok:
                answer.set_exception(result)
                continue
            try:
                answer.set_result(decode(result))
            except errors.DstkError as error:
                answer.set_exception(error)
        if self._left and not self._waiting:
            self._native.submit_close(_CLOSING)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

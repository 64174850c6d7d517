"""One operator at a time: no action of a deposed operator is carried out once a later term was seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dstk.errors import StaleRequest

__all__ = ["TermGate"]


class TermGate:
    """Makes the check of a term and the action that follows one step; for threads.

    Actions of one term run beside each other. The first sign of a later term waits until those of earlier terms that
    are under way have ended; the ones that come after it are refused. ``see_term(term)`` notes the term for good, and
    raises StaleRequest when a later one was noted.
    """

    def __init__(self, see_term: Callable[[int], None]) -> None:
        self._see_term = see_term
        self._ended = threading.Condition()
        self._latest = 0
        """The highest term that anybody has come with; those below it are refused."""
        self._acting: dict[int, int] = {}
        """Actions under way, by term."""

    def see(self, term: int) -> None:
        """Note the term, once no action of an earlier one is under way. Raises StaleRequest for a term that is over."""
        with self._ended:
            self._enter(term)

    @contextmanager
    def acting(self, term: int) -> Iterator[None]:
        """Carry out an action of that term. Raises StaleRequest, before anything is done, for one that is over."""
        with self._ended:
            self._enter(term)
            self._acting[term] = self._acting.get(term, 0) + 1
        try:
            yield
        finally:
            with self._ended:
                left = self._acting.pop(term) - 1
                if left:
                    self._acting[term] = left
                else:
                    self._ended.notify_all()

    def _enter(self, term: int) -> None:
        self._latest = max(self._latest, term)
        self._ended.wait_for(lambda: term < self._latest or all(other >= term for other in self._acting))
        if term < self._latest:
            raise StaleRequest(f"the operator's term {term} is over; one of term {self._latest} has spoken")
        self._see_term(term)

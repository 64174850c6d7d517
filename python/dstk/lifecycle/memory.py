"""What a driver remembers of one Assignment from one decision to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dstk.lifecycle.actions import Action, AwaitApplied, Fence, Follow, Tell, Unfence

__all__ = ["Memory"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Counts and moments only: losing them, as a crash does, has some things tried more often and nothing unsafe."""

    fenced_at: float | None = None
    unfenced_at: float | None = None
    fence_tries: int = 0
    followed_at: float | None = None
    follow_tries: int = 0
    silent_since: Mapping[str, float] = field(default_factory=dict)

    def saw(self, silent: Iterable[str], now: float) -> Memory:
        """After an observation in which the workers `silent` did not answer."""
        since = {name: self.silent_since.get(name, now) for name in silent}
        return self if since == self.silent_since else replace(self, silent_since=since)

    def after(self, action: Action, now: float) -> Memory:
        """After an action was tried, whether it succeeded or not."""
        if not isinstance(action, Tell):
            return self
        match action.command:
            case Fence() if self.fenced_at is None:
                return replace(self, fenced_at=now, fence_tries=self.fence_tries + 1)
            case Unfence():
                return replace(self, fenced_at=None, unfenced_at=now)
            case Follow():
                return replace(self, followed_at=now, follow_tries=self.follow_tries + 1)
            case AwaitApplied():
                return replace(self, follow_tries=0)
        return self

"""What a driver remembers of one Assignment from one decision to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dstk.control.commands import AwaitApplied, Command, Fence, Follow, Unfence
from dstk.lifecycle.actions import Action, Tell

__all__ = ["Memory", "Refused"]


@dataclass(frozen=True, slots=True)
class Refused:
    """What a worker has refused, and why. `no_room`: a bound of the worker is reached. `lasting`: the command is wrong
    for that worker, and will be when it is told again."""

    worker: str
    command: type[Command]
    message: str
    no_room: bool = False
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Counts and moments only: losing them, as a crash does, has some things tried more often and nothing unsafe."""

    begun_at: float | None = None
    """When this driver first saw that it had begun, by its own clock: times in objects are another's."""
    fenced_at: float | None = None
    fence_token: int = 0
    """Of the last fence that the source has granted to this driver."""
    unfenced_at: float | None = None
    fence_tries: int = 0
    followed_at: float | None = None
    follow_tries: int = 0
    silent_since: Mapping[str, float] = field(default_factory=dict)
    refused: Refused | None = None
    """Until the worker does what it has refused."""

    def saw(self, silent: Iterable[str], now: float) -> Memory:
        """After an observation in which the workers `silent` did not answer."""
        since = {name: self.silent_since.get(name, now) for name in silent}
        return self if since == self.silent_since else replace(self, silent_since=since)

    def began(self, now: float) -> Memory:
        """After an observation of an Assignment that has begun."""
        return self if self.begun_at is not None else replace(self, begun_at=now)

    def after(self, action: Action, now: float, failed: bool = False, refused: Refused | None = None) -> Memory:
        """After an action was tried. `failed`: it was refused, or nobody knows what came of it. `refused`: it was."""
        if not isinstance(action, Tell):
            return self
        told = self.refused is not None and (self.refused.worker, self.refused.command) == (
            action.worker,
            type(action.command),
        )
        noted = self
        if refused is not None or (told and not failed):
            noted = replace(self, refused=refused)
        return noted._counted(action, now, failed)

    def _counted(self, action: Tell, now: float, failed: bool) -> Memory:
        match action.command:
            case Fence(token):
                first = self.fenced_at is None
                return replace(
                    self,
                    fenced_at=now if first else self.fenced_at,
                    fence_tries=self.fence_tries + first,
                    fence_token=self.fence_token if failed else token,
                )
            case Unfence():
                return replace(self, fenced_at=None, unfenced_at=now)
            case Follow():
                return replace(self, followed_at=now, follow_tries=self.follow_tries + 1)
            case AwaitApplied():
                return replace(self, follow_tries=0)
        return self

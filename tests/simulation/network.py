"""Control calls from operators to workers: lost, doubled, late, or carried out with the answer lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .clock import Failed, Reply

if TYPE_CHECKING:
    from .world import World

__all__ = ["CONTROL_TIMEOUT", "Network"]

CONTROL_TIMEOUT = 1.0


class Network:
    """Delivers calls. ``late`` counts those that are still under way though their sender has given up."""

    def __init__(self, world: World) -> None:
        self.late = 0
        self.unreachable: dict[str, float] = {}
        """Until when no operator reaches a worker."""
        self._world = world
        self._clock = world.clock

    def call(self, worker: str, method: str, *arguments: Any) -> Reply:
        """Call a method of a worker's pod, which gets the reply as its last argument."""
        reply, clock, weather = Reply(), self._clock, self._world.weather
        clock.after(CONTROL_TIMEOUT, reply.fail, Failed("no answer"))
        if self.unreachable.get(worker, 0.0) > clock.now:
            return reply
        draw, answer = clock.random.random, reply
        chance, delay = draw(), 0.001 + 0.02 * draw()
        if chance < weather.call_lost:
            return reply
        chance -= weather.call_lost
        if chance < weather.call_unanswered:
            answer = Reply()
        elif chance < weather.call_unanswered + weather.call_delayed:
            delay = CONTROL_TIMEOUT * clock.random.choice((0.5, 1.1, 1.5, 3.0, 8.0, 20.0))
            self._later(delay, worker, method, arguments, answer)
            return reply
        elif chance < weather.call_unanswered + weather.call_delayed + weather.call_twice:
            self._later(CONTROL_TIMEOUT * clock.random.choice((0.01, 0.3, 2.0)), worker, method, arguments, Reply())
        clock.after(delay, self._deliver, worker, method, arguments, answer)
        return reply

    def _later(self, delay: float, worker: str, method: str, arguments: tuple[Any, ...], answer: Reply) -> None:
        self.late += 1
        self._clock.after(delay, self._deliver_late, worker, method, arguments, answer)

    def _deliver_late(self, worker: str, method: str, arguments: tuple[Any, ...], answer: Reply) -> None:
        self.late -= 1
        if method == "act":
            self._world.note("late for %s: %s", worker, arguments[0])
        self._deliver(worker, method, arguments, answer)

    def _deliver(self, worker: str, method: str, arguments: tuple[Any, ...], answer: Reply) -> None:
        pod = self._world.pods.get(worker)
        if pod is None or not pod.receive(getattr(pod, method), *arguments, answer):
            self._clock.after(0.001, answer.fail, Failed("nobody listens"))

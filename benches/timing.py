"""Measuring several things beside each other, so that whatever disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping

from report import Figure


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int = 7) -> dict[str, Figure]:
    """Seconds that each call takes: each runs once unmeasured, then `repeats` times in turn, in a new order each round.

    The garbage collector is off meanwhile: a collection would be charged to whichever call it falls into.
    """
    order = random.Random(len(calls))
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name in order.sample(list(calls), len(calls)):
                took[name].append(seconds(calls[name]))
    finally:
        gc.enable()
    return {name: Figure.of(values) for name, values in took.items()}


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes, without freeing what it returns."""
    start = time.perf_counter()
    answer = call()
    end = time.perf_counter()
    del answer
    return end - start


def understood(what: str, call: Callable[[], object]) -> bool:
    """Whether this build knows the argument that `call` passes; says so if it does not."""
    try:
        call()
    except TypeError as error:
        print(f"left out: {what} ({error})")
        return False
    return True

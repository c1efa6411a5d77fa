"""Rounds in random order, and what is said of them: medians, 10 % to 90 %, and the median of ratios within a round. Needs
nothing but Python."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST_SECONDS = 0.02  # calls that are waited for together take at least so long
MOST_CALLS = 1 << 14


@dataclass
class Side:
    """One of what is compared: `run(n)` launches so many calls; `calls` of them make a burst."""

    name: str
    run: Callable[[int], None]
    calls: int = 1


class Clock:
    """By the host's clock, from launching to the end of waiting: where there are no events of a device."""

    def __init__(self, wait: Callable[[], None]):
        self.wait = wait

    def burst(self, run: Callable[[int], None], calls: int) -> tuple[float, float]:
        """seconds of a call, and of the host's part of it"""
        self.wait()
        start = time.perf_counter()
        run(calls)
        launched = time.perf_counter()
        self.wait()
        return (time.perf_counter() - start) / calls, (launched - start) / calls

    def cold(self, run: Callable[[int], None], calls: int) -> float | None:
        """seconds of a call that finds nothing in the cache; None where nothing flushes it"""
        return None


def enough(clock: Clock, side: Side):
    """sets how many calls make a burst"""
    side.calls = 1
    while side.calls < MOST_CALLS and clock.burst(side.run, side.calls)[0] * side.calls < BURST_SECONDS:
        side.calls *= 2


def rounds(clock: Clock, sides: list[Side], count: int, seed: int) -> list[dict]:
    """So many rounds: all sides once in each, in an order drawn anew, `[seconds, seconds of the host]` by name."""
    order, draw = list(sides), random.Random(seed)
    made = []
    for _ in range(count):
        draw.shuffle(order)
        made.append({side.name: list(clock.burst(side.run, side.calls)) for side in order})
    return made


def cold_rounds(clock: Clock, sides: list[Side], count: int, seed: int) -> list[dict]:
    """the same of calls before each of which the cache is flushed; empty where nothing can flush it"""
    order, draw = list(sides), random.Random(seed)
    made = []
    for _ in range(count):
        draw.shuffle(order)
        times = {side.name: clock.cold(side.run, min(side.calls, 16)) for side in order}
        if None in times.values():
            return []
        made.append({name: [seconds, 0.0] for name, seconds in times.items()})
    return made


def quantile(values: list[float], part: float) -> float:
    """linear between the values around it"""
    values = sorted(values)
    at = part * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def spread(values: list[float]) -> list[float]:
    """median, 10 % and 90 %"""
    return [quantile(values, part) for part in (0.5, 0.1, 0.9)]


def times(made: list[dict], name: str) -> list[float]:
    """a side's seconds in each round"""
    return [one[name][0] for one in made]


def ratios(made: list[dict], over: str, under: str) -> list[float]:
    """the one side's time over the other's, within each round"""
    return [one[over][0] / one[under][0] for one in made]

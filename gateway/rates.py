"""Events per second: held to a limit, and measured."""

import asyncio
from collections import deque
from math import exp

span = 10.0  # seconds a measured rate looks back


class Limit:
    """Lets so many per second through, in the order of asking; None: all."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._free = 0.0

    async def take(self, number: int) -> None:
        """Returns when that many may go. Others get their turn in any case."""
        now = asyncio.get_running_loop().time()
        wait = max(0.0, self._free - now)
        if self._rate is not None:
            self._free = now + wait + number / self._rate
        await asyncio.sleep(wait)


class Meter:
    """How many per second, over the last ten seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()
        self._began: float | None = None

    def add(self, number: int, now: float) -> None:
        """So many more. ``now``: the loop's time, in seconds."""
        if self._began is None:
            self._began = now
        if self._counts and now - self._counts[-1][0] < 0.5:
            at, before = self._counts.pop()
            self._counts.append((at, before + number))
        else:
            self._counts.append((now, number))
            self._forget(now)

    def rate(self, now: float) -> float:
        """Per second, as of now."""
        self._forget(now)
        began = now if self._began is None else self._began
        return sum(number for _, number in self._counts) / max(1.0, min(span, now - began))

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] < now - span:
            self._counts.popleft()


class Load:
    """How many per minute, averaged over 1, 5 and 15 minutes as the system's own load is: what is long past fades."""

    def __init__(self, began: float) -> None:
        self.averages = {1: 0.0, 5: 0.0, 15: 0.0}
        self._at = began
        self._total = 0

    def look(self, total: int, now: float) -> None:
        """So many altogether by now."""
        passed = now - self._at
        if passed <= 0:
            return
        rate = 60 * (total - self._total) / passed
        for minutes, average in self.averages.items():
            self.averages[minutes] = rate + exp(-passed / (60 * minutes)) * (average - rate)
        self._at, self._total = now, total

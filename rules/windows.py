"""Windows: the last 10 minutes, hours, days of a metric, in panes.

A window is kept as 60 panes on a fixed grid of time, each with what its kind needs of the values in it, so its memory
doesn't depend on how fast values come (1 to 2 kB). Answers are made anew from the panes: nothing drifts. Until half of the
window is filled they are unknown, not a guess. What leaves the window leaves it by the pane.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import mul, truediv

from rules.meaning import Spec

panes = 60
"""Of a window."""


class Panes:
    """What all windows have in common. A column is one number of each pane."""

    columns_kept = 0

    def __init__(self, spec: Spec) -> None:
        self.span = spec.span
        self.width = max(1, spec.span // panes)
        self.began = -1
        self.last = -1
        self.index: list[int] = []
        self.columns: list[list[float]] = [[] for _ in range(self.columns_kept)]

    def add(self, time: int, value: float) -> None:
        if time == self.last:
            return
        if self.began < 0:
            self.began = time
        self.last = time
        pane = time // self.width
        if self.index and self.index[-1] == pane:
            self.more(time, value)
            return
        old = bisect_right(self.index, pane - panes)
        self.roll(old)
        if old:
            del self.index[:old]
            for column in self.columns:
                del column[:old]
        self.index.append(pane)
        for column, number in zip(self.columns, self.first(time, value)):
            column.append(number)

    def first(self, time: int, value: float) -> tuple[float, ...]:
        """A new pane's numbers."""
        raise NotImplementedError

    def more(self, time: int, value: float) -> None:
        """Another value in the newest pane."""
        raise NotImplementedError

    def roll(self, old: int) -> None:
        """The newest pane is complete, and so many of the oldest are about to go."""

    def start(self, now: int) -> int:
        """First pane of the window that ends now; -1 if it isn't half full."""
        pane, index = now // self.width, self.index
        # panes that a newer one has pushed out are gone already
        start = 0 if index and index[-1] == pane else bisect_right(index, pane - panes)
        if start == len(index) or now - index[start] * self.width < self.span // 2:
            return -1
        return start

    def since(self, start: int, column: int) -> list[float]:
        """A column from that pane on. Not to be changed."""
        return self.columns[column][start:] if start else self.columns[column]

    def state(self) -> list[float]:
        return [self.began, self.last, *self.index, *(number for column in self.columns for number in column)]

    def restore(self, state: Sequence[float]) -> None:
        self.began, self.last = int(state[0]), int(state[1])
        length = (len(state) - 2) // (1 + len(self.columns))
        self.index[:] = [int(pane) for pane in state[2 : 2 + length]]
        for at, column in enumerate(self.columns, 1):
            column[:] = state[2 + at * length : 2 + (at + 1) * length]

    def shift(self, before: int, by: int) -> None:
        """The panes lie on a grid of the old time: the window fills anew."""
        self.restore([-1, -1])

    def why(self) -> str:
        return ""


class Mean(Panes):
    """avg, sum, count."""

    columns_kept = 2

    def first(self, time: int, value: float) -> tuple[float, ...]:
        return 1, value

    def more(self, time: int, value: float) -> None:
        self.columns[0][-1] += 1
        self.columns[1][-1] += value

    def avg(self, now: int) -> float | None:
        start = self.start(now)
        return None if start < 0 else sum(self.since(start, 1)) / sum(self.since(start, 0))

    def sum(self, now: int) -> float | None:
        start = self.start(now)
        return None if start < 0 else sum(self.since(start, 1))

    def count(self, now: int) -> float | None:
        """None at all is known to be 0, once somebody has watched for half of the window."""
        if self.began < 0 or now - self.began < self.span // 2:
            return None
        return sum(self.columns[0][bisect_right(self.index, now // self.width - panes) :])


class Range(Panes):
    """min, max, spread."""

    columns_kept = 2

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._closed: tuple[float, float] | None = (
            None  # lowest and highest of all panes but the newest, if it is known
        )

    def first(self, time: int, value: float) -> tuple[float, ...]:
        return value, value

    def more(self, time: int, value: float) -> None:
        lows, highs = self.columns
        if value < lows[-1]:
            lows[-1] = value
        elif value > highs[-1]:
            highs[-1] = value

    def roll(self, old: int) -> None:
        if self._closed is None:
            return
        (low, high), (lows, highs) = self._closed, self.columns
        if old and (min(lows[:old]) <= low or max(highs[:old]) >= high):
            self._closed = None
        else:
            self._closed = min(low, lows[-1]), max(high, highs[-1])

    def both(self, now: int) -> tuple[float, float] | None:
        """Lowest and highest of the window."""
        start, (lows, highs) = self.start(now), self.columns
        if start:
            return None if start < 0 else (min(lows[start:]), max(highs[start:]))
        if self._closed is None:
            self._closed = min(lows[:-1], default=lows[-1]), max(highs[:-1], default=highs[-1])
        low, high = self._closed
        return min(low, lows[-1]), max(high, highs[-1])

    def min(self, now: int) -> float | None:
        found = self.both(now)
        return None if found is None else found[0]

    def max(self, now: int) -> float | None:
        found = self.both(now)
        return None if found is None else found[1]

    def spread(self, now: int) -> float | None:
        found = self.both(now)
        return None if found is None else found[1] - found[0]

    def restore(self, state: Sequence[float]) -> None:
        super().restore(state)
        self._closed = None


class Change(Panes):
    """delta: the newest value minus the first of the window."""

    columns_kept = 2

    def first(self, time: int, value: float) -> tuple[float, ...]:
        return value, value

    def more(self, time: int, value: float) -> None:
        self.columns[1][-1] = value

    def delta(self, now: int) -> float | None:
        start, (firsts, lasts) = self.start(now), self.columns
        return None if start < 0 else lasts[-1] - firsts[start]


class Slope(Panes):
    """rate, per second: the line of least squares through the mean of each pane, at the mean time of its values."""

    columns_kept = 3

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._closed: tuple[int, int, float, float, float, float] | None = None

    def first(self, time: int, value: float) -> tuple[float, ...]:
        return 1, time % self.width, value

    def roll(self, old: int) -> None:
        self._closed = None

    def more(self, time: int, value: float) -> None:
        for column, number in zip(self.columns, (1, time % self.width, value)):
            column[-1] += number

    def _points(self, start: int, end: int) -> tuple[list[float], list[float]]:
        """Times in panes since the first of the window, and values."""
        counts, times, sums = (column[start:end] for column in self.columns)
        origin = self.index[start]
        along = [
            index - origin + time / count / self.width
            for index, time, count in zip(self.index[start:end], times, counts)
        ]
        return along, list(map(truediv, sums, counts))

    def rate(self, now: int) -> float | None:
        start = self.start(now)
        if start < 0 or len(self.index) - start < 2:
            return None
        if self._closed is None or self._closed[0] != start:
            # all panes but the newest stay as they are until the window moves on
            xs, ys = self._points(start, -1)
            self._closed = start, len(xs), sum(xs), sum(ys), sum(map(mul, xs, xs)), sum(map(mul, xs, ys))
        _, count, sum_x, sum_y, sum_xx, sum_xy = self._closed
        counts, times, sums = self.columns
        x = self.index[-1] - self.index[start] + times[-1] / counts[-1] / self.width
        y = sums[-1] / counts[-1]
        count, sum_x, sum_y, sum_xx, sum_xy = count + 1, sum_x + x, sum_y + y, sum_xx + x * x, sum_xy + x * y
        return (count * sum_xy - sum_x * sum_y) / (count * sum_xx - sum_x * sum_x) * 1e6 / self.width

    def restore(self, state: Sequence[float]) -> None:
        super().restore(state)
        self._closed = None


WINDOWS: dict[str, type[Panes]] = {
    "avg": Mean,
    "sum": Mean,
    "count": Mean,
    "min": Range,
    "max": Range,
    "spread": Range,
    "delta": Change,
    "rate": Slope,
}
"""Which panes answer a function of the language."""

"""What is kept about one metric of one device over time: windows, the value before, an anomaly detector.

Each takes ``add(time, value)`` in order of time, answers as of ``now`` without changing, and can be written down as a
list of numbers. None is unknown. Times are in µs.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

from rules.detectors import load
from rules.meaning import Spec

panes = 60
"""A window is kept as this many panes, so its memory doesn't depend on how fast values come (about 4 kB)."""


class Memory(Protocol):
    """One thing kept."""

    def add(self, time: int, value: float) -> None:
        """Take the next value. A second one at the same time doesn't count."""

    def state(self) -> list[float]:
        """All of it, for ``restore``."""

    def restore(self, state: Sequence[float]) -> None:
        """Go on from there."""

    def shift(self, before: int, by: int) -> None:
        """The clock was set by so much; times after ``before`` are of the new clock."""

    def why(self) -> str:
        """The latest answer in words, empty if there is nothing to say."""


def remember(spec: Spec) -> Memory:
    """A new memory of the kind asked for."""
    if spec.kind == "window":
        return Window(spec)
    if spec.kind == "prev":
        return Previous(spec)
    return Anomaly(spec)


class Previous:
    """The value before the last one."""

    def __init__(self, spec: Spec) -> None:
        self.seen: list[tuple[int, float]] = []

    def add(self, time: int, value: float) -> None:
        if self.seen and self.seen[-1][0] == time:
            self.seen[-1] = (time, value)
        else:
            self.seen = [*self.seen[-1:], (time, value)]

    def value(self, now: int, learn: int) -> float | None:
        return self.seen[0][1] if len(self.seen) == 2 else None

    def state(self) -> list[float]:
        return [number for pair in self.seen for number in pair]

    def restore(self, state: Sequence[float]) -> None:
        self.seen = [(int(time), value) for time, value in zip(state[::2], state[1::2])]

    def shift(self, before: int, by: int) -> None:
        self.seen = [(time + by if time <= before else time, value) for time, value in self.seen]

    def why(self) -> str:
        return ""


class Window:
    """The last ``span`` of a metric, in panes on a fixed grid of time; sums are made anew from them, so nothing drifts.

    Until half of the window is filled it answers unknown, not a guess.
    """

    def __init__(self, spec: Spec) -> None:
        self.span = spec.span
        self.width = max(1, spec.span // panes)
        self.began = -1
        self.last = -1
        self.columns: list[list[float]] = [[] for _ in range(9)]
        self.name()

    def shift(self, before: int, by: int) -> None:
        """The panes lie on a grid of the old time: the window fills anew."""
        self.restore([-1, -1])

    def name(self) -> None:
        """One list per property of a pane: min() and sum() over them run in C."""
        (
            self.index,
            self.counts,
            self.sums,
            self.lows,
            self.highs,
            self.first_times,
            self.first_values,
            self.last_values,
            self.time_sums,
        ) = self.columns

    def add(self, time: int, value: float) -> None:
        if time == self.last:
            return
        if self.began < 0:
            self.began = time
        self.last = time
        index = time // self.width
        if self.index and self.index[-1] == index:
            self.counts[-1] += 1
            self.sums[-1] += value
            self.lows[-1] = min(self.lows[-1], value)
            self.highs[-1] = max(self.highs[-1], value)
            self.last_values[-1] = value
            self.time_sums[-1] += time - self.first_times[-1]
            return
        old = bisect_right(self.index, index - panes)
        for column, number in zip(self.columns, (index, 1, value, value, value, time, value, value, 0.0)):
            del column[:old]
            column.append(number)

    def _from(self, now: int) -> int | None:
        """First pane of the window that ends now; None if it isn't half full."""
        start = bisect_right(self.index, now // self.width - panes)
        if start == len(self.index) or now - self.first_times[start] < self.span // 2:
            return None
        return start

    def count(self, now: int, learn: int) -> float | None:
        if self.began < 0 or now - self.began < self.span // 2:
            return None
        return sum(self.counts[bisect_right(self.index, now // self.width - panes) :])

    def _over(self, now: int, column: list[float], make: Callable[[list[float]], float]) -> float | None:
        start = self._from(now)
        return None if start is None else make(column[start:])

    def sum(self, now: int, learn: int) -> float | None:
        return self._over(now, self.sums, sum)

    def min(self, now: int, learn: int) -> float | None:
        return self._over(now, self.lows, min)

    def max(self, now: int, learn: int) -> float | None:
        return self._over(now, self.highs, max)

    def avg(self, now: int, learn: int) -> float | None:
        start = self._from(now)
        return None if start is None else sum(self.sums[start:]) / sum(self.counts[start:])

    def spread(self, now: int, learn: int) -> float | None:
        start = self._from(now)
        return None if start is None else max(self.highs[start:]) - min(self.lows[start:])

    def delta(self, now: int, learn: int) -> float | None:
        start = self._from(now)
        return None if start is None else self.last_values[-1] - self.first_values[start]

    def rate(self, now: int, learn: int) -> float | None:
        """Slope per second: least squares through the mean of each pane, at the mean time of its values."""
        start = self._from(now)
        if start is None or len(self.index) - start < 2:
            return None
        counts = self.counts[start:]
        origin = self.first_times[start]
        times = [
            (first - origin + total / count) / 1e6
            for first, total, count in zip(self.first_times[start:], self.time_sums[start:], counts)
        ]
        values = [total / count for total, count in zip(self.sums[start:], counts)]
        mean_time, mean_value = sum(times) / len(times), sum(values) / len(values)
        along = sum((time - mean_time) * (value - mean_value) for time, value in zip(times, values))
        return along / sum((time - mean_time) ** 2 for time in times)

    def state(self) -> list[float]:
        return [self.began, self.last, *(number for column in self.columns for number in column)]

    def restore(self, state: Sequence[float]) -> None:
        self.began, self.last = int(state[0]), int(state[1])
        length = (len(state) - 2) // len(self.columns)
        self.columns = [list(state[2 + at * length : 2 + (at + 1) * length]) for at in range(len(self.columns))]
        self.name()

    def why(self) -> str:
        return ""


class Anomaly:
    """A detector's opinion of the latest value, or of the mean of the latest finished bucket. It learns after it judged."""

    def __init__(self, spec: Spec) -> None:
        self.metric = spec.metric
        self.span = spec.span
        self.detector = load(spec.kind)()
        self.began = -1
        self.latest = -1.0
        self.bucket = -1
        self.count = 0
        self.total = 0.0

    def add(self, time: int, value: float) -> None:
        if self.began < 0:
            self.began = time
        if not self.span:
            self._judge(time, value)
            return
        bucket = time // self.span
        if bucket != self.bucket:
            if self.count:
                self._judge(self.bucket * self.span, self.total / self.count)
            self.bucket, self.count, self.total = bucket, 0, 0.0
        self.count += 1
        self.total += value

    def _judge(self, time: int, value: float) -> None:
        self.latest = self.detector.score(time, value)
        self.detector.learn(time, value)

    def score(self, now: int, learn: int) -> float | None:
        return None if self.latest < 0 or now - self.began < learn else self.latest

    def state(self) -> list[float]:
        return [self.began, self.latest, self.bucket, self.count, self.total, *self.detector.state()]

    def restore(self, state: Sequence[float]) -> None:
        began, self.latest, bucket, count, self.total, *rest = state
        self.began, self.bucket, self.count = int(began), int(bucket), int(count)
        self.detector.restore(rest)

    def shift(self, before: int, by: int) -> None:
        self.began += by if 0 <= self.began <= before else 0

    def why(self) -> str:
        said = self.detector.why() if self.latest > 0 else ""
        return f"{self.metric} {said}" if said else ""

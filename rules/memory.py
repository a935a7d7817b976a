"""What is kept about one metric of one device over time: windows, the value before, an anomaly detector.

Each takes ``add(time, value)`` in order of time, answers as of ``now`` without changing, and can be written down as a
list of numbers. None is unknown. Times are in µs.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from rules.detectors import load
from rules.meaning import Spec
from rules.windows import WINDOWS


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


class Previous:
    """The value before the last one."""

    def __init__(self, spec: Spec) -> None:
        self.seen: list[tuple[int, float]] = []

    def add(self, time: int, value: float) -> None:
        if self.seen and self.seen[-1][0] == time:
            self.seen[-1] = (time, value)
        else:
            self.seen = [*self.seen[-1:], (time, value)]

    def value(self, now: int) -> float | None:
        return self.seen[0][1] if len(self.seen) == 2 else None

    def state(self) -> list[float]:
        return [number for pair in self.seen for number in pair]

    def restore(self, state: Sequence[float]) -> None:
        self.seen = [(int(time), value) for time, value in zip(state[::2], state[1::2])]

    def shift(self, before: int, by: int) -> None:
        self.seen = [(time + by if time <= before else time, value) for time, value in self.seen]

    def why(self) -> str:
        return ""


class Anomaly:
    """A detector's opinion of the latest value, or of the mean of the latest finished bucket. It learns after it judged."""

    def __init__(self, spec: Spec) -> None:
        self.metric = spec.metric
        self.span = spec.span
        self.detector = load(spec.detector)()
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


KINDS: dict[str, Callable[[Spec], Memory]] = {
    "prev": Previous,
    "anomaly": Anomaly,
    **{kind.__name__.lower(): kind for kind in WINDOWS.values()},
}
"""What ``Spec.kind`` can be."""


def remember(spec: Spec) -> Memory:
    """A new memory of the kind asked for."""
    return KINDS[spec.kind](spec)

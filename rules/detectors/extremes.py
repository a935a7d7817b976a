"""New highs and lows: a value outside everything seen so far, by how much of the whole range it is.

The plainest detector there is, and hard to beat: most things that go wrong on a machine go further than ever before.
It can't see a stuck value, a slow drift within the range, or a normal value at an odd hour.
"""

from collections.abc import Sequence

silent = 100
"""Values during which nothing is odd: a range this young says little."""

margin = 0.005
"""Part of the range by which a new extreme has to go beyond the old one; below it, noise creeps outward for ever."""


class Detector:
    """Remembers the lowest and the highest value."""

    def __init__(self) -> None:
        self.count = 0
        self.low = self.high = 0.0
        self.odd = [0.0, 0.0, 0.0]  # the latest odd value, and the range it left

    def score(self, time: int, value: float) -> float:
        if self.count < silent or self.low <= value <= self.high:
            return 0.0
        beyond = value - self.high if value > self.high else self.low - value
        excess = beyond / (beyond + self.high - self.low)
        if excess < margin:
            return 0.0
        self.odd = [value, self.low, self.high]
        return excess

    def learn(self, time: int, value: float) -> None:
        self.low = min(self.low, value) if self.count else value
        self.high = max(self.high, value) if self.count else value
        self.count += 1

    def why(self) -> str:
        value, low, high = self.odd
        bound, extreme = ("highest", high) if value > high else ("lowest", low)
        return f"{value:.6g}, the {bound} so far was {extreme:.6g}"

    def state(self) -> list[float]:
        return [self.count, self.low, self.high, *self.odd]

    def restore(self, state: Sequence[float]) -> None:
        count, self.low, self.high, *self.odd = state
        self.count = int(count)

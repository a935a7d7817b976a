"""Four views of a series, each with the range it has moved in so far: the value, its fast and its slow change, and how far
it is from what is usual at this hour. A value is odd as far as it leaves one of these ranges.

    excess   the part of the new range that was never seen before, less what a young range may still grow (20 / values)
    score    1 - the product of (1 - excess) over the views
    hold     for 60 values after a score only a larger one passes: one episode, one alarm
    forget   ranges shrink by 0.5 % of their width per day of the series' own time: it remembers about 200 days

Multiplying, shifting or mirroring a series changes nothing. The averages count values, not seconds: give it readings every
minute to every hour, ``anomaly(power, 1m)``, not every second. Thresholds: 0.05 sensitive, 0.1 normal, 0.2 strict.
It can't see a stuck value, a slow drift within the range, or a shape that is odd at normal height.
"""

from collections.abc import Sequence

silent = 100
"""Values in a view before it may find anything odd."""

young = 20.0
"""A range of k values may grow by young / k and it isn't odd."""

forget = 0.005
"""Part of its width that a range loses per day."""

held = 60
"""Values for which a score holds back smaller ones."""

slots = 24
"""Parts of a day that have a usual value each."""

_DAY = 86_400_000_000
_NAMES = ("value", "fast change", "slow change", "distance from the usual at this hour")


class Detector:
    """About 110 numbers per series."""

    def __init__(self) -> None:
        self.count = 0
        self.time = 0
        self.means = [0.0, 0.0, 0.0, 0.0]
        self.usual = [0.0] * slots
        self.visits = [0] * slots
        self.slot, self.slot_sum, self.slot_count = -1, 0.0, 0
        self.lows = [0.0, 0.0, 0.0, 0.0]
        self.highs = [0.0, 0.0, 0.0, 0.0]
        self.counts = [0, 0, 0, 0]
        self.peak, self.peak_age = 0.0, held
        self.odd = [0.0, 0.0, 0.0, 0.0]  # view, what it was, and the range it left
        self.views: tuple[float, float, float, float | None] = (0.0, 0.0, 0.0, None)

    def score(self, time: int, value: float) -> float:
        self._look(time, value)
        self.peak_age += 1
        calm, largest, odd = 1.0, 0.0, self.odd
        for view, now, low, high, count in zip(range(4), self.views, self.lows, self.highs, self.counts):
            if now is None or low <= now <= high or count < silent:
                continue
            excess = ((now - high) / (now - low) if now > high else (low - now) / (high - now)) - young / count
            if excess > 0.0:
                calm *= 1.0 - excess
                if excess > largest:
                    largest, odd = excess, [view, now, low, high]
        score = 1.0 - calm
        if score <= 0.0 or (self.peak_age <= held and score <= self.peak):
            return 0.0
        self.peak, self.peak_age, self.odd = score, 0, odd
        return score

    def learn(self, time: int, value: float) -> None:
        """Widen the ranges by what ``score`` has just looked at."""
        lows, highs, counts = self.lows, self.highs, self.counts
        for view, now in enumerate(self.views):
            if now is None:
                continue
            if not counts[view]:
                lows[view] = highs[view] = now
            elif now < lows[view]:
                lows[view] = now
            elif now > highs[view]:
                highs[view] = now
            counts[view] += 1

    def _look(self, time: int, value: float) -> None:
        """Move averages, profile and ranges on to this time; leave what is to be judged in ``views``."""
        if time > self.time:
            self._shrink(min(1.0, (time - self.time) / _DAY) if self.count else 0.0)
            self.time = time
        self.count += 1
        # the first values make plain means: 1 / count is larger than the weight then
        first = 1.0 / self.count
        fast, slow, quick, lazy = self.means
        fast += max(0.3, first) * (value - fast)
        slow += max(0.03, first) * (value - slow)
        quick += max(0.1, first) * (value - quick)
        lazy += max(0.01, first) * (value - lazy)
        self.means = [fast, slow, quick, lazy]
        slot = time % _DAY * slots // _DAY
        if slot != self.slot:
            self._fold()
            self.slot, self.slot_sum, self.slot_count = slot, 0.0, 0
        self.slot_sum += value
        self.slot_count += 1
        self.views = (value, fast - slow, quick - lazy, value - self.usual[slot] if self.visits[slot] else None)

    def _fold(self) -> None:
        """A visit to an hour is over: its mean becomes part of what is usual then. So no hour judges itself."""
        if self.slot_count:
            self.visits[self.slot] += 1
            mean = self.slot_sum / self.slot_count
            self.usual[self.slot] += max(0.1, 1.0 / self.visits[self.slot]) * (mean - self.usual[self.slot])

    def _shrink(self, days: float) -> None:
        """Every range loses a little of its width, toward its middle."""
        part = forget * days / 2
        for view, low, high in zip(range(4), self.lows, self.highs):
            step = (high - low) * part
            self.lows[view] = low + step
            self.highs[view] = high - step

    def why(self) -> str:
        view, now, low, high = self.odd
        bound, extreme = ("highest", high) if now > high else ("lowest", low)
        return f"{_NAMES[int(view)]} {now:.4g}, the {bound} so far was {extreme:.4g}"

    def state(self) -> list[float]:
        return [
            self.count,
            self.time,
            self.slot,
            self.slot_sum,
            self.slot_count,
            self.peak,
            self.peak_age,
            *self.means,
            *self.lows,
            *self.highs,
            *self.counts,
            *self.odd,
            *self.usual,
            *self.visits,
        ]

    def restore(self, state: Sequence[float]) -> None:
        count, time, slot, self.slot_sum, slot_count, self.peak, peak_age, *rest = state
        self.time, self.count, self.slot, self.slot_count, self.peak_age = (
            int(time),
            int(count),
            int(slot),
            int(slot_count),
            int(peak_age),
        )
        fours = [list(rest[at : at + 4]) for at in range(0, 20, 4)]
        self.means, self.lows, self.highs, counts, self.odd = fours
        self.counts = [int(number) for number in counts]
        self.usual = list(rest[20 : 20 + slots])
        self.visits = [int(number) for number in rest[20 + slots :]]

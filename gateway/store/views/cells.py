"""What the views are made of: the newest value of each metric, what a span of time adds up to, who was heard, what is raised."""

from msgspec import Struct

from gateway.event import SECOND, Value

MINUTE = 60 * SECOND

widths = {"1m": MINUTE, "15m": 15 * MINUTE, "1h": 60 * MINUTE}
"""The roll-ups by name, narrowest first: the wider ones are made of it."""


class Cell(Struct, eq=False):
    """One metric of one source: its newest value, and the minute that is being counted."""

    series: int
    source: str
    metric: str
    time: int = -(2**63)
    value: Value | None = None
    quality: int = 0
    offset: int = 0
    changed: bool = False
    minute: int = 0
    count: int = 0
    low: float = 0.0
    high: float = 0.0
    total: float = 0.0
    newest: float = 0.0
    at: int = 0


class Bucket(Struct):
    """What a span of time adds up to. ``at`` is the time of ``last``."""

    count: int
    min: float
    max: float
    sum: float
    last: float
    at: int

    def add(self, other: "Bucket") -> None:
        """Both together."""
        self.count += other.count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sum += other.sum
        if other.at >= self.at:
            self.last, self.at = other.last, other.at


class Seen(Struct):
    """When a source was heard, by the times of its readings."""

    first: int
    last: int
    readings: int
    quality: int


class Alarm(Struct):
    """An active alarm; times in µs."""

    alarm: str
    source: str
    severity: str | None
    text: str | None
    raised: int
    occurrence: str | None
    offset: int
    acknowledged: int | None = None
    shelved: int | None = None


Buckets = dict[tuple[int, int], Bucket]
"""(start, series) -> what the minute, or a wider span, adds up to."""


def wider(minutes: Buckets, width: int) -> Buckets:
    """The same in wider buckets."""
    found: Buckets = {}
    for (start, series), bucket in minutes.items():
        add(found, (start - start % width, series), bucket)
    return found


def add(buckets: Buckets, key: tuple[int, int], more: Bucket) -> None:
    """Into the bucket of that key, made if it is new."""
    bucket = buckets.get(key)
    if bucket is None:
        buckets[key] = Bucket(more.count, more.min, more.max, more.sum, more.last, more.at)
    else:
        bucket.add(more)

"""What is owed, as it stands in the table ``owed``: ranges of offsets, in lanes."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from gateway.selection import Globs


class Flight(Struct, frozen=True):
    """Batches whose boundaries were fixed before their first send, so that a retry is the same: the last offset of each,
    and what was selected."""

    cuts: list[int]
    globs: Globs


class Range(Struct):
    """Offsets lo..hi that are owed in a lane; ``hi`` None: everything from lo on. For the rest see ``owed`` in schema.sql."""

    id: int
    lane: str
    lo: int
    hi: int | None = None
    globs: Globs | None = None
    speed: float | None = None
    tries: int = 0
    flight: Flight | None = None

    def size(self, head: int) -> int:
        """Offsets in it that exist already."""
        return max(0, (head if self.hi is None else min(self.hi, head)) - self.lo + 1)

    def holds(self, offset: int) -> bool:
        """Whether it is owed here."""
        return self.lo <= offset and (self.hi is None or offset <= self.hi)

    @property
    def done(self) -> bool:
        """Nothing of it is owed any more."""
        return self.hi is not None and self.lo > self.hi

    def move(self, through: int) -> None:
        """Everything up to ``through`` is done."""
        self.lo = through + 1
        self.tries = 0
        if self.flight:
            left = [cut for cut in self.flight.cuts if cut > through]
            self.flight = Flight(left, self.flight.globs) if left else None


_encode = msgspec.json.Encoder().encode
_globs = msgspec.json.Decoder(Globs).decode
_flight = msgspec.json.Decoder(Flight).decode

columns = "id, lane, lo, hi, globs, speed, tries, flight"


def from_row(
    id: int,
    lane: str,
    lo: int,
    hi: int | None,
    globs: str | None,
    speed: float | None,
    tries: int,
    flight: str | None,
) -> Range:
    """A row of ``owed``, its columns in the order of ``columns``."""
    return Range(id, lane, lo, hi, globs_of(globs), speed, tries, _flight(flight) if flight else None)


def globs_of(stored: str | None) -> Globs | None:
    """What ``text`` made of them."""
    return _globs(stored) if stored else None


def text(value: Struct | None) -> str | None:
    """As it is stored."""
    return _encode(value).decode() if value is not None else None


class Lane(Struct):
    """What is owed in one lane. ``owed`` counts offsets that exist, wanted or not; 0 proves that all is delivered."""

    lane: str
    lo: int
    hi: int | None
    owed: int


def by_lane(ranges: Iterable[Range], head: int) -> list[Lane]:
    """Ranges summed up, live first, then in the order in which the lanes were made."""
    lanes: dict[str, Lane] = {}
    for one in sorted(ranges, key=lambda one: one.id):
        lane = lanes.setdefault(one.lane, Lane(one.lane, one.lo, one.hi, 0))
        lane.owed += one.size(head)
        lane.lo = min(lane.lo, one.lo)
        lane.hi = None if lane.hi is None or one.hi is None else max(lane.hi, one.hi)
    return sorted(lanes.values(), key=lambda lane: lane.lane != "live")

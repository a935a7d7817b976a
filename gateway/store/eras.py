"""Eras: stretches of the log in which the wall clock was neither set nor lost or won anybody's trust.

One row per era says how far wall and monotonic time were apart, in which boot. So the boot and the monotonic time of every
event are known (``recorded - apart``) though none of them stores it; and once a later era of the same boot is trusted, it is
known by how much the times of an untrusted one are wrong: readers get them corrected, the stored bytes stay. What was stored
while the clock was trusted is never corrected: somebody had confirmed it.

    clock.unsynced   nobody confirms the clock any more
    clock.stepped    it was set: ``before`` is what it would have shown, ``after`` what it shows
    clock.synced     somebody confirms it; everything since the boot that was not confirmed is corrected by that
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct, structs

from gateway.clock import Clock, Era
from gateway.event import SECOND, Event, Quality, event

slewed = 1 / 2000
"""The fastest the kernel slews a clock (500 ppm): what moved by less while nobody looked wasn't a step."""


class Row(Struct, frozen=True):
    """A row of the table ``clock``: the era that begins with offset ``lo``. ``monotonic`` and ``apart`` are µs."""

    lo: int
    boot: str
    monotonic: int
    apart: int
    trusted: bool


class Shift(Struct, frozen=True):
    """Add ``by`` µs to the times of the events lo..hi."""

    lo: int
    hi: int
    by: int


def stored(db: sqlite3.Connection) -> list[Row]:
    """The eras of a log, in order."""
    rows = db.execute("select lo, boot, monotonic, apart, trusted from clock order by lo")
    return [Row(lo, boot, monotonic, apart, bool(trusted)) for lo, boot, monotonic, apart, trusted in rows]


def kept(row: Row) -> tuple[str, tuple[object, ...]]:
    """The statement that stores an era, for the commit that begins it."""
    sql = "insert or replace into clock (lo, boot, monotonic, apart, trusted) values (?, ?, ?, ?, ?)"
    return sql, (row.lo, row.boot, row.monotonic, row.apart, row.trusted)


def resumed(last: Row | None, clock: Clock) -> Era:
    """The era that a log goes on with: its last one, if this boot still lasts, so that what changed meanwhile is noticed."""
    now = clock.era()
    if last is None or last.boot != clock.boot:
        return now
    unseen = max(SECOND, (clock.monotonic() - last.monotonic) * slewed)
    if last.trusted == now.trusted and abs(now.apart - last.apart) <= unseen:
        return now
    return Era(last.apart, last.trusted)


def turned(before: Era, after: Era, clock: Clock) -> list[Event]:
    """What the log says between two eras."""
    now, monotonic = clock.now(), clock.monotonic()
    moved = after.apart - before.apart
    data = {
        "boot": clock.boot,
        "monotonic": monotonic,
        "before": now - moved,
        "after": now,
        "seconds": moved / SECOND,
        "trusted": after.trusted,
    }
    types = []
    if abs(moved) > SECOND:
        types.append("clock.stepped")
    if before.trusted != after.trusted:
        types.append("clock.synced" if after.trusted else "clock.unsynced")
    return [event(type, "gateway", data, time=now) for type in types]


def mark(events: Iterable[Event]) -> None:
    """Nobody confirms the time of these."""
    for one in events:
        one.quality = one.quality or Quality.clock_unsynced


def shifts(rows: Sequence[Row]) -> list[Shift]:
    """How the times of untrusted eras must be corrected, as far as it is known."""
    found: list[Shift] = []
    confirmed: dict[str, int] = {}
    hi = 2**63 - 1
    for row in reversed(rows):
        if row.trusted:
            confirmed[row.boot] = row.apart
        elif row.boot in confirmed:
            found.append(Shift(row.lo, hi, confirmed[row.boot] - row.apart))
        hi = row.lo - 1
    return found[::-1]


def stretches(rows: Sequence[Row]) -> list[tuple[int, int, int]]:
    """The whole log as (lo, hi, µs to add to its times): in each, ``recorded`` rises with the offset."""
    wrong = {shift.lo: shift.by for shift in shifts(rows)}
    borders = [0, *(row.lo for row in rows if row.lo > 1), 2**63 - 1]
    begins = [rows[0].lo if rows and rows[0].lo <= 1 else 0, *borders[1:-1]]
    return [(lo, hi - 1, wrong.get(begin, 0)) for begin, (lo, hi) in zip(begins, pairwise(borders))]


def restamp(events: list[Event], shifts: Iterable[Shift]) -> list[Event]:
    """The same events with their times corrected; those that needed it are copies."""
    if not events:
        return events
    first, last = events[0].offset, events[-1].offset
    for shift in shifts:
        if shift.lo <= last and shift.hi >= first:
            events = [_restamped(one, shift.by) if shift.lo <= one.offset <= shift.hi else one for one in events]
    return events


def _restamped(one: Event, by: int) -> Event:
    quality = Quality.good if one.quality == Quality.clock_unsynced else one.quality
    return structs.replace(one, time=one.time + by, recorded=one.recorded + by, quality=quality)

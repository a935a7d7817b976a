"""The table of blocks: written, read by offset, found by time. A block that can't be read costs its own events only."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.errors import StoreDamaged
from gateway.event import Event
from gateway.store import block, eras

Statement = tuple[str, tuple[Any, ...]]
"""Something else that must be on the disk together with the events, or not at all."""

Lost = Callable[[int, int, int], None]
"""Told (lo, hi, how many) of events that can't be read."""

Read = Callable[[sqlite3.Connection, int, int, int], list[Event]]
"""Gives (of a log, from lo, to hi, at most so many) events."""

columns = "lo, hi, count, recorded, codec, crc, data"


def insertion(row: block.Row, taken: str = "replace") -> Statement:
    """Store a block. ``taken``: what to do if there is one with the same first offset, ``replace`` it, ``ignore`` this one
    or ``abort``."""
    sql = f"insert or {taken} into block ({columns}) values (?, ?, ?, ?, ?, ?, ?)"
    return sql, (row.lo, row.hi, row.count, row.recorded, row.codec, row.crc, row.data)


def deletion(lo: int, hi: int) -> Statement:
    """Delete the blocks that begin at lo..hi."""
    return "delete from block where lo between ? and ?", (lo, hi)


def store(db: sqlite3.Connection, drafts: Sequence[block.Row], also: Sequence[Statement]) -> None:
    """One transaction: on the disk when it returns."""
    rows = [insertion(block.packed(draft), "abort") for draft in drafts]
    with db:
        db.execute("begin immediate")
        for sql, parameters in (*rows, *also):
            db.execute(sql, parameters)


def query(db: sqlite3.Connection, sql: str, args: tuple[Any, ...]) -> list[Any]:
    """Rows of a short query."""
    return db.execute(sql, args).fetchall()


def head_of(db: sqlite3.Connection) -> int:
    """Offset of the newest event on the disk; 0 in an empty log."""
    row = db.execute("select hi from block order by lo desc limit 1").fetchone()
    head: int = row[0] if row else 0
    return head


def mark_of(db: sqlite3.Connection) -> int:
    """Highest offset that may have been given out: no number is used twice, even where the newest block was lost."""
    row = db.execute("select value from meta where key = 'mark'").fetchone()
    return max(head_of(db), row[0] if row else 0)


def _nothing(lo: int, hi: int, count: int) -> None:
    pass


def read_blocks(
    db: sqlite3.Connection, lo: int, hi: int, limit: int, lost: Lost = _nothing, most: int | None = None
) -> list[Event]:
    """At most ``limit`` events of the range, from disk; ``lost`` hears of what can't be read.

    most  bytes of data after which no further block is read"""
    events: list[Event] = []
    size = 0
    for row in stored(db, lo, hi, lost):
        try:
            found = block.decode(row, lo, hi)
            events.extend(found)
            if most is not None:
                size += sum([len(event.body) for event in found])
        except StoreDamaged:
            lost(row.lo, row.hi, row.count)
        if len(events) >= limit or (most is not None and size >= most):
            break
    return events[:limit]


def stored(db: sqlite3.Connection, lo: int, hi: int, lost: Lost = _nothing) -> Iterator[block.Row]:
    """The blocks that hold offsets lo..hi, in order. Around pages that can't be read it goes on beyond them."""
    seen = lo - 1
    try:
        inside = db.execute("select lo from block where lo <= ? order by lo desc limit 1", (lo,)).fetchone()
        for row in db.execute(
            f"select {columns} from block where lo >= ? and lo <= ? order by lo", (inside[0] if inside else lo, hi)
        ):
            found = block.Row(*row)
            seen = found.hi
            yield found
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        yield from _around(db, seen + 1, hi, lost)


def is_sound(row: block.Row) -> bool:
    """Whether a block holds what was written."""
    try:
        block.outline(row)
    except StoreDamaged:
        return False
    return True


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault, not the disk or the query."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _around(db: sqlite3.Connection, lo: int, hi: int, lost: Lost) -> Iterator[block.Row]:
    """The blocks that begin in a range in which pages can't be read: whole where that works, else in halves."""
    left = [(lo, hi)]
    probes = 0
    holes: list[tuple[int, int]] = []
    while left:
        lo, hi = left.pop()
        probes += 1
        try:
            found = _begin_in(db, lo, hi)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            if lo < hi and probes < most_probes:
                middle = (lo + hi) // 2
                left += [(middle + 1, hi), (lo, middle)]
                continue
            end = max(hi, _end_of(db, lo))
            if holes and lo <= holes[-1][1] + 1:
                holes[-1] = holes[-1][0], max(end, holes[-1][1])
            else:
                holes.append((lo, end))
            continue
        if found:  # beyond the hole: whoever reads may stop here
            _tell(holes, lost, found[0].lo - 1)
        yield from found
        if len(found) == at_once:
            left.append((found[-1].lo + 1, hi))
    _tell(holes, lost, hi)


def _tell(holes: list[tuple[int, int]], lost: Lost, through: int) -> None:
    """The last block of a hole may reach as far as the next that can be read."""
    for n, (lo, hi) in enumerate(holes):
        end = max(hi, holes[n + 1][0] - 1 if n + 1 < len(holes) else through)
        lost(lo, end, end - lo + 1)
    holes.clear()


at_once = 64
"""Blocks fetched together while looking for what can be read."""

most_probes = 20_000
"""Queries spent on finding the borders of a damage; beyond it the rest of a range that fails counts as lost."""


def _begin_in(db: sqlite3.Connection, lo: int, hi: int) -> list[block.Row]:
    sql = f"select {columns} from block where lo between ? and ? order by lo limit {at_once}"
    return [block.Row(*row) for row in db.execute(sql, (lo, hi))]


def _end_of(db: sqlite3.Connection, lo: int) -> int:
    """Last offset of a block whose data can't be read, if at least its head can."""
    try:
        row = db.execute("select hi from block where lo = ?", (lo,)).fetchone()
    except sqlite3.DatabaseError:
        return lo
    return row[0] if row else lo


def read_events(db: sqlite3.Connection, lo: int, hi: int, limit: int) -> list[Event]:
    """The same for people, with times as far as they are known by now."""
    return eras.restamp(read_blocks(db, lo, hi, limit), eras.shifts(eras.stored(db)))


def pages(db: sqlite3.Connection, lo: int, hi: int, read: Read = read_events) -> Iterator[list[Event]]:
    """The events lo..hi, as many at once as a block holds."""
    while lo <= hi and (events := read(db, lo, hi, block.longest)):
        yield events
        lo = events[-1].offset + 1


def search(db: sqlite3.Connection, lo: int, hi: int, worth: Callable[[block.Outline], bool]) -> Iterator[Event]:
    """The events of those blocks of lo..hi that are worth it, by their outlines: a tenth of the work for the others."""
    for row in stored(db, lo, hi):
        try:
            outline = block.outline(row)
        except StoreDamaged:
            continue
        if worth(outline):
            yield from read_events(db, row.lo, row.hi, row.count)


def offset_at(db: sqlite3.Connection, time: int) -> int:
    """First offset recorded at or after that time (µs), corrected where a clock was wrong; one beyond the last if there is
    none. By bisection: ``recorded`` rises with the offset, within an era."""
    first, end = db.execute("select coalesce(min(lo), 1), coalesce(max(hi), 0) + 1 from block").fetchone()
    for lo, hi, by in eras.stretches(eras.stored(db)):
        if hi >= first and (found := _first_at(db, time - by, max(lo, first), min(hi, end - 1))) is not None:
            return found
    return int(end)


def _first_at(db: sqlite3.Connection, time: int, first: int, last: int) -> int | None:
    """First of the offsets first..last that was recorded at or after that time, as it is stored."""
    before: tuple[int, int] | None = None  # the last block that begins before that time
    low, high = first, last
    while low <= high:
        middle = (low + high) // 2
        row = db.execute(
            "select lo, hi, recorded from block where lo between ? and ? order by lo desc limit 1", (first, middle)
        ).fetchone()
        if row is None:
            low = middle + 1
        elif row[2] < time:
            before = row[:2]
            low = max(row[1], middle) + 1  # beyond a hole, too
        else:
            high = row[0] - 1
    if before is None:
        after = first
    else:
        for event in read_blocks(db, before[0], before[1], block.longest):
            if event.recorded >= time:
                return event.offset
        after = before[1] + 1
    found: int | None = db.execute("select min(lo) from block where lo between ? and ?", (after, last)).fetchone()[0]
    return found

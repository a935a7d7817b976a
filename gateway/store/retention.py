"""What is given up when the log grows too large or too old, in which order, and how exactly it is said.

The ladder, when the log takes more than its cap:

    delete   what nobody is owed any more, oldest first
    thin     of what is still owed, keep every n-th reading of each source, oldest first, up to the newest tenth
    drop     what is left but alarms, commands and gaps, oldest first

Each step is planned on a read-only connection and done in slices between commits, together with the ``gap`` event that
says what was given up: {"reason": "cap", "step": "thin", "count": 900, "ranges": [[lo, hi, 900]], "from": t, "to": t}.
The newest block is never touched, so that offsets go on rising.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice

from msgspec import Struct, field

from gateway.errors import StoreDamaged
from gateway.event import SECOND, Event
from gateway.store import block, rows
from gateway.store.rows import Statement

essential = ("alarm.", "command.", "gap", "log.")
"""Beginnings of the types that the ladder never gives up."""


def is_essential(type: str) -> bool:
    """Whether the ladder must keep it."""
    return type.startswith(essential)


class Limits(Struct):
    """How much of the past is kept. Ages are seconds."""

    cap: int | None = None
    age: float | None = None
    ages: dict[str, float] = field(default_factory=dict)
    """Glob of types -> age. The first that matches counts, and only these reach alarms, commands and gaps."""
    thin: int = 10

    def age_of(self, type: str) -> float | None:
        """How old an event of that type may become; None: as old as there is room."""
        for glob, age in self.ages.items():
            if fnmatchcase(type, glob):
                return age
        return None if is_essential(type) else self.age


class Head(Struct):
    """A block without its data."""

    lo: int
    hi: int
    count: int


class Slice(Struct):
    """What one transaction gives up."""

    statements: list[Statement] = field(default_factory=list)
    ranges: list[list[int]] = field(default_factory=list)
    """[first offset, last offset, how many of them], in order."""
    blocks: int = 0
    through: int = 0
    """The last offset looked at."""
    since: int = 0
    until: int = 0
    """When the oldest and newest of it were recorded."""

    @property
    def count(self) -> int:
        """Events given up."""
        return sum(count for _, _, count in self.ranges)


Keep = Callable[[list[Event]], list[Event]]


def essentials(events: list[Event]) -> list[Event]:
    """For ``delete`` and ``drop``."""
    return [event for event in events if is_essential(event.type)]


def every(n: int) -> Keep:
    """For ``thin``: every n-th reading of each source, and whatever isn't a reading."""

    def keep(events: list[Event]) -> list[Event]:
        seen: dict[str, int] = {}
        kept = []
        for event in events:
            if event.type == "reading":
                number = seen.get(event.source, 0)
                seen[event.source] = number + 1
                if number % n:
                    continue
            kept.append(event)
        return kept

    return keep


def younger(limits: Limits, now: int) -> Keep:
    """For ages: what isn't too old yet."""
    before: dict[str, float] = {}

    def keep(events: list[Event]) -> list[Event]:
        for event in events:
            if event.type not in before:
                age = limits.age_of(event.type)
                before[event.type] = float("-inf") if age is None else now - age * SECOND
        return [event for event in events if event.recorded >= before[event.type]]

    return keep


def heads(db: sqlite3.Connection, start: int, end: int) -> Iterator[Head]:
    """The blocks that begin at start..end, but never the newest."""
    sql = "select lo, hi, count from block where lo between ? and ? and lo < (select max(lo) from block) order by lo"
    return (Head(*row) for row in db.execute(sql, (start, end)))


def owed(db: sqlite3.Connection) -> list[tuple[int, int]]:
    """Ranges somebody is still owed, oldest first."""
    return sorted(db.execute("select lo, coalesce(hi, 9223372036854775807) from owed").fetchall())


def is_owed(head: Head, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether any event of the block is."""
    return any(lo <= head.hi and head.lo <= hi for lo, hi in ranges)


def plan_delete(db: sqlite3.Connection, start: int, most: int) -> Slice:
    """Of what nobody is owed, the oldest."""
    ranges = owed(db)
    found = (head for head in heads(db, start, rows.head_of(db)) if not is_owed(head, ranges))
    return shrink(db, found, essentials, most, certain=is_essential)


def plan_thin(db: sqlite3.Connection, start: int, most: int, n: int) -> Slice:
    """Of what is owed, the oldest that isn't thin yet."""
    first = next(heads(db, 0, rows.head_of(db)), None)
    head = rows.head_of(db)
    end = head - (head - first.lo) // 10 if first else 0
    thick = (one for one in heads(db, start, end) if one.hi - one.lo < 2 * one.count and one.count > n)
    return shrink(db, thick, every(n), most)


def plan_drop(db: sqlite3.Connection, start: int, most: int) -> Slice:
    """Of everything, the oldest."""
    return shrink(db, heads(db, start, rows.head_of(db)), essentials, most, certain=is_essential)


def plan_expire(db: sqlite3.Connection, start: int, most: int, limits: Limits, now: int, age: float) -> Slice:
    """What has become older than ``age`` and is too old for its type. Nobody is owed it."""
    ranges = owed(db)
    end = rows.offset_at(db, int(now - age * SECOND)) - 1
    found = (head for head in heads(db, start, end) if not is_owed(head, ranges))
    return shrink(db, found, younger(limits, now), most)


def shrink(
    db: sqlite3.Connection,
    found: Iterator[Head],
    keep: Keep,
    most: int,
    certain: Callable[[str], bool] | None = None,
) -> Slice:
    """Make at most ``most`` blocks smaller, or delete them where nothing is kept.

    certain  tells by its type alone whether an event is kept: most blocks needn't be looked into any further
    """
    made = Slice()
    for head in islice(found, 8 * most):
        made.through = head.hi
        _shrink(db, head, keep, made, certain)
        if made.blocks >= most:
            break
    return made


def _shrink(db: sqlite3.Connection, head: Head, keep: Keep, made: Slice, certain: Callable[[str], bool] | None) -> None:
    kept: list[Event] = []
    since = until = None
    try:
        row = block.Row(*db.execute(f"select {rows.columns} from block where lo = ?", (head.lo,)).fetchone())
        since = until = row.recorded
        if certain is None or any(map(certain, block.outline(row).types)):
            events = block.decode(row)
            until = events[-1].recorded
            kept = keep(events)
    except StoreDamaged:
        pass  # it goes as a whole
    except sqlite3.DatabaseError as error:
        if not rows.is_damage(error):
            raise
        return  # its pages can't be followed, so it can't be deleted either
    if len(kept) == head.count:
        return
    made.blocks += 1
    made.statements.append(rows.deletion(head.lo, head.lo))
    if kept:
        made.statements.append(rows.insertion(block.part(row, kept, block.small)))
    missing = head.count - len(kept)
    if made.ranges and not kept and made.ranges[-1][1] + 1 == head.lo:
        made.ranges[-1][1] = head.hi
        made.ranges[-1][2] += missing
    else:
        made.ranges.append([head.lo, head.hi, missing])
    made.since = made.since or since or 0
    made.until = until or made.until


def cap_of(wanted: int | None, room: int) -> int:
    """Bytes a log may take: as configured, else 2 GB, or four fifths of what it has and could have where that is less."""
    return wanted or min(2_000_000_000, room * 4 // 5)

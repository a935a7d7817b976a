"""What became of an event: when it was delivered, what caused it and what it caused. Answers from the log alone."""

import asyncio
from collections.abc import Iterator
from sqlite3 import Connection

from msgspec import Struct

from gateway.clock import Clock
from gateway.event import Event
from gateway.selection import Globs, Selection
from gateway.store import block
from gateway.store.consumers import Range, columns, from_row
from gateway.store.log import Log, read_events
from gateway.store.log import columns as block_columns

kept = 20_000
"""Rows of ``delivered``, a second of deliveries each: five and a half hours of steady traffic, months of a quiet site."""

longest_chain = 100
"""Causes that are followed."""


class Deliveries:
    """Notes when what was delivered: one row per lane and second, written with a commit that comes by anyway."""

    def __init__(self, log: Log, consumer: str, clock: Clock) -> None:
        self._log = log
        self._consumer = consumer
        self._clock = clock
        self._open: dict[str, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, lane: str, lo: int, hi: int) -> None:
        """Everything selected in lo..hi was accepted."""
        first, last = self._open.get(lane, (lo, hi))
        self._open[lane] = min(first, lo), max(last, hi)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)

    def flush(self) -> None:
        """Hand over what was noted."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._open:
            return
        now = self._clock.now()
        for lane, (lo, hi) in self._open.items():
            sql = "insert into delivered (consumer, lane, lo, hi, time) values (?, ?, ?, ?, ?)"
            self._log.lazily(f"delivered {self._consumer} {lane} {hi}", (sql, (self._consumer, lane, lo, hi, now)))
        trim = f"delete from delivered where id <= (select max(id) from delivered) - {kept}"
        self._log.lazily("delivered", (trim, ()))
        self._open.clear()


class Fate(Struct):
    """What became of an event at one consumer. ``time`` is set if it was delivered and it is still known when."""

    consumer: str
    state: str
    """owed, delivered, not selected, passed (was delivered or not selected: the subscription isn't at hand)"""
    lane: str = ""
    time: int | None = None


def chain(db: Connection, event: Event) -> Iterator[Event]:
    """What caused it, and what caused that, back to the first."""
    for _ in range(longest_chain):
        found = read_events(db, event.cause, event.cause, 1) if event.cause else []
        if not found:
            return
        event = found[0]
        yield event


def effects(db: Connection, offset: int) -> Iterator[Event]:
    """What it caused directly. Reads on to the end of the log, but decodes only blocks that name it as a cause."""
    inside = db.execute("select coalesce(max(lo), 0) from block where lo <= ?", (offset,)).fetchone()[0]
    for values in db.execute(f"select {block_columns} from block where lo >= ? order by lo", (inside,)):
        row = block.Row(*values)
        if offset in block.outline(row).cause.values():
            yield from (found for found in block.decode(row) if found.cause == offset)


def fates(db: Connection, event: Event, subscriptions: dict[str, Globs]) -> list[Fate]:
    """What became of it at each consumer."""
    ranges: dict[str, list[Range]] = {}
    for consumer, *values in db.execute(f"select consumer, {columns} from owed order by consumer, lo"):
        ranges.setdefault(consumer, []).append(from_row(*values))
    found = []
    for consumer, owed in ranges.items():
        globs = subscriptions.get(consumer)
        wanted = Selection(globs.types, globs.sources).wants(event.type, event.source) if globs else None
        sql = "select lane, time from delivered where consumer = ? and lo <= ? and hi >= ? order by id"
        times = db.execute(sql, (consumer, event.offset, event.offset)).fetchall()
        if wanted is False:
            found.append(Fate(consumer, "not selected"))
            continue
        found += [Fate(consumer, "delivered" if wanted else "passed", lane, time) for lane, time in times]
        lanes = [one.lane for one in owed if one.lo <= event.offset and (one.hi is None or event.offset <= one.hi)]
        found += [Fate(consumer, "owed", lane) for lane in lanes]
        if not times and not lanes:
            found.append(Fate(consumer, "delivered" if wanted else "passed"))
    return found

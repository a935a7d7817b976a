"""What became of an event: when it was delivered, what caused it and what it caused. Answers from the log alone."""

import asyncio
from collections.abc import Iterable, Iterator
from sqlite3 import Connection

from msgspec import Struct

from gateway.event import Event
from gateway.selection import Globs, Selection
from gateway.store.log import Log
from gateway.store.ranges import Range, columns, from_row, globs_of, text
from gateway.store.rows import head_of, read_events, search

kept = 20_000
"""Rows of ``delivered``, a second of deliveries each: five and a half hours of steady traffic, months of a quiet site."""

longest_chain = 100
"""Causes that are followed."""


class Span(Struct):
    """Accepted, all that was selected of it."""

    lane: str
    lo: int
    hi: int
    globs: Globs | None


class Deliveries:
    """Notes when what was delivered: one row per range and second, written with a commit that comes by anyway."""

    def __init__(self, log: Log, consumer: str) -> None:
        self._log = log
        self._consumer = consumer
        self._spans: list[Span] = []
        self._growing: dict[int, Span] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, owed: Range, lo: int, hi: int) -> None:
        """Everything of the range that was selected in lo..hi was accepted, as everything before since the last second."""
        span = self._growing.get(owed.id)
        if span:
            span.hi = hi
        else:
            span = self._growing[owed.id] = Span(owed.lane, lo, hi, owed.globs)
            self._note(span)

    def part(self, owed: Range, accepted: Iterable[int]) -> None:
        """Only these were."""
        self._growing.pop(owed.id, None)
        for offset in accepted:
            self._note(Span(owed.lane, offset, offset, None))

    def _note(self, span: Span) -> None:
        self._spans.append(span)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)

    def flush(self) -> None:
        """Hand over what was noted."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._spans:
            return
        now = self._log.clock.now()
        for span in self._spans:
            sql = "insert into delivered (consumer, lane, lo, hi, globs, time) values (?, ?, ?, ?, ?, ?)"
            row = self._consumer, span.lane, span.lo, span.hi, text(span.globs), now
            self._log.lazily(f"delivered {self._consumer} {span.lane} {span.lo}", (sql, row))
        trim = f"delete from delivered where id <= (select max(id) from delivered) - {kept}"
        self._log.lazily("delivered", (trim, ()))
        self._spans.clear()
        self._growing.clear()


class Fate(Struct):
    """What became of an event at one consumer. ``time`` is set if it was delivered and it is still known when."""

    consumer: str
    state: str
    """owed; delivered; refused; seen, by rules and views; not selected; passed: delivered or not selected, where the
    subscription isn't at hand"""
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
    found = search(db, offset, head_of(db), lambda outline: offset in outline.cause.values())
    return (one for one in found if one.cause == offset)


def fates(db: Connection, event: Event, effects: list[Event], subscriptions: dict[str, Globs]) -> list[Fate]:
    """What became of it at each consumer; ``effects`` tell who refused it."""

    def wants(globs: Globs | None) -> bool:
        return globs is None or Selection(globs.types, globs.sources).wants(event.type, event.source)

    ranges: dict[str, list[Range]] = {}
    for consumer, *values in db.execute(f"select consumer, {columns} from owed order by consumer, lo"):
        ranges.setdefault(consumer, []).append(from_row(*values))
    processors = {consumer for (consumer,) in db.execute("select consumer from state")}
    refused = {one.data.get("consumer"): one.time for one in effects if one.type == "rejected"}
    found = []
    for consumer, owed in ranges.items():
        if not wants(subscriptions.get(consumer)):
            found.append(Fate(consumer, "not selected"))
            continue
        lanes = [one.lane for one in owed if one.holds(event.offset) and wants(one.globs)]
        sql = "select lane, time, globs from delivered where consumer = ? and lo <= ? and hi >= ? order by id"
        times = [
            (lane, time)
            for lane, time, globs in db.execute(sql, (consumer, event.offset, event.offset))
            if wants(globs_of(globs))
        ]
        there = "seen" if consumer in processors else "delivered" if consumer in subscriptions else "passed"
        found += [Fate(consumer, there, lane, time) for lane, time in times]
        found += [Fate(consumer, "owed", lane) for lane in lanes]
        if not times and consumer in refused:
            found.append(Fate(consumer, "refused", time=refused[consumer]))
        elif not times and not lanes:
            found.append(Fate(consumer, there))
    return found

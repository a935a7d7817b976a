"""The tables of the views: loaded, brought up to date, shown."""

import sqlite3
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct, to_builtins

from gateway.event import Quality
from gateway.store.eras import shifts, stored
from gateway.store.rows import Statement, head_of, offset_at, pages, read_blocks
from gateway.store.views.cells import Alarm, Bucket, Buckets, Seen, add, wider, widths
from gateway.store.views.fold import Views

consumer = "views"
"""Whose position and state the tables are."""

tables = ("last", "rollup", "seen", "alarm")

names = ("last", "devices", "alarms", *widths)

_add = """insert into {0}rollup values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (width, start, series) do update set count = count + excluded.count, min = min(min, excluded.min),
max = max(max, excluded.max), sum = sum + excluded.sum,
last = case when excluded.at >= at then excluded.last else last end, at = max(at, excluded.at)"""


class Place(Struct):
    """How far the tables are: up to and without offset ``lo``."""

    lo: int
    state: bytes | None


def place(db: sqlite3.Connection) -> Place:
    """Position and state of the views on the disk."""
    row = db.execute("select lo from owed where consumer = ? and hi is null", (consumer,)).fetchone()
    state = db.execute("select value from state where consumer = ?", (consumer,)).fetchone()
    return Place(row[0] if row else 1, state[0] if state else None)


def load(db: sqlite3.Connection) -> tuple[Views, Place]:
    """The views as of their position, from one look at the tables. Roll-ups stay on the disk."""
    views = Views()
    db.execute("begin")
    try:
        found = place(db)
        for id, source, metric, *newest in db.execute(
            "select id, source, metric, time, value, quality, offset from series left join last on series = id order by id"
        ):
            views.series = id - 1
            cell = views.cell(source, metric)
            if newest[0] is not None:
                cell.time, cell.value, cell.quality, cell.offset = newest
        views.seen = {source: Seen(*rest) for source, *rest in db.execute("select * from seen")}
        views.alarms = {(row[0], row[1]): Alarm(*row) for row in db.execute("select * from alarm")}
    finally:
        db.execute("commit")
    views.restore(found.state)
    return views, found


def statements(views: Views, prefix: str = "") -> list[Statement]:
    """What changed since the last call, for the transaction that holds the position. ``prefix``: of the tables."""
    views.settle()
    made: list[Statement] = []
    for cell in views.drain():
        made.append(("insert or ignore into series values (?, ?, ?)", (cell.series, cell.source, cell.metric)))
        row = (cell.series, cell.time, cell.value, cell.quality, cell.offset)
        made.append((f"insert or replace into {prefix}last values (?, ?, ?, ?, ?)", row))
    add = _add.format(prefix)
    for width in widths.values():
        for (start, series), one in sorted(wider(views.minutes, width).items(), key=lambda item: item[0]):
            made.append((add, (width, start, series, one.count, one.min, one.max, one.sum, one.last, one.at)))
    for source in views.heard:
        seen = views.seen[source]
        times = (source, seen.first, seen.last, seen.readings, seen.quality)
        made.append((f"insert or replace into {prefix}seen values (?, ?, ?, ?, ?)", times))
    for key in views.turned:
        made.append((f"delete from {prefix}alarm where alarm = ? and source = ?", key))
        if alarm := views.alarms.get(key):
            fields = tuple(getattr(alarm, field) for field in alarm.__struct_fields__)
            made.append((f"insert into {prefix}alarm values (?, ?, ?, ?, ?, ?, ?, ?, ?)", fields))
    views.minutes, views.heard, views.turned = {}, set(), set()
    return made


class Snapshot:
    """All views at one moment: now, from the tables and the events since, or as of some time, from the log alone."""

    def __init__(self, db: sqlite3.Connection, as_of: int | None = None) -> None:
        self._db = db
        self._tables = as_of is None
        if as_of is None:
            self.views, found = load(db)
            lo, hi = found.lo, head_of(db)
        else:
            self.views = Views()
            lo, hi = 1, offset_at(db, as_of + 1) - 1
        self.devices = self._registry() if as_of is None else {}
        for events in pages(db, lo, hi, read_blocks):
            self.views.take(events)
            for event in events:
                if event.type.startswith("device."):
                    self._device(event.type, event.source, event.data.get("driver"))
        if as_of is not None and self.views.unsynced is not None:
            self._put_right(hi)
        self.views.settle()
        self.begins = next((events[0].offset for events in pages(db, lo, hi, read_blocks)), lo)
        """First offset that was looked at: what was given up before it can't be told any more."""

    def _put_right(self, hi: int) -> None:
        """What is known by now about a clock that nobody confirmed then."""
        known = [shift for shift in shifts(stored(self._db)) if shift.lo <= hi <= shift.hi]
        for shift in known:
            self.views.move(shift.by)

    def _registry(self) -> dict[str, dict[str, Any]]:
        found = self._db.execute("select source, driver, adopted, online from device")
        return {
            source: {"driver": driver, "adopted": bool(adopted), "online": bool(online)}
            for source, driver, adopted, online in found
        }

    def _device(self, type: str, source: str, driver: str | None) -> None:
        device = self.devices.setdefault(source, {"driver": driver, "adopted": False, "online": False})
        match type:
            case "device.adopted":
                device["adopted"] = True
            case "device.online":
                device["online"] = True
            case "device.offline":
                device["online"] = False
            case "device.ignored":
                device["adopted"] = False

    def rows(self, name: str, source: str = "*", since: int = 0) -> Iterator[dict[str, Any]]:
        """The rows of a view, as JSON objects; times are µs."""
        if name in widths:
            yield from self._rollup(widths[name], source, since)
        elif name == "last":
            for cell in self.views.everything():
                if cell.offset and fnmatchcase(cell.source, source):
                    yield {
                        "source": cell.source,
                        "metric": cell.metric,
                        "value": cell.value,
                        "time": cell.time,
                        "quality": Quality(cell.quality).name,
                        "offset": cell.offset,
                    }
        elif name == "alarms":
            for alarm in self.views.alarms.values():
                if fnmatchcase(alarm.source, source):
                    yield to_builtins(alarm)
        else:
            for name in sorted({*self.devices, *self.views.seen}):
                if fnmatchcase(name, source):
                    seen = self.views.seen.get(name)
                    heard = {"first": seen.first, "last_seen": seen.last, "readings": seen.readings} if seen else {}
                    quality = {"quality": Quality(seen.quality).name} if seen else {}
                    yield {"source": name, **self.devices.get(name, {}), **heard, **quality}

    def _rollup(self, width: int, source: str, since: int) -> Iterator[dict[str, Any]]:
        wanted = {cell.series: cell for cell in self.views.everything() if fnmatchcase(cell.source, source)}
        since -= since % width
        found: Buckets = {}
        if self._tables:
            query = "select start, series, count, min, max, sum, last, at from rollup where width = ? and start >= ?"
            for start, series, *rest in self._db.execute(query, (width, since)):
                if series in wanted:
                    found[start, series] = Bucket(*rest)
        for counted in (self.views.minutes, self.views.loose):
            for (start, series), one in wider(counted, width).items():
                if series in wanted and start >= since:
                    add(found, (start, series), one)
        for (start, series), one in sorted(found.items(), key=lambda item: item[0]):
            yield {
                "source": wanted[series].source,
                "metric": wanted[series].metric,
                "start": start,
                "count": one.count,
                "min": one.min,
                "max": one.max,
                "mean": one.sum / one.count,
                "sum": one.sum,
                "last": one.last,
            }

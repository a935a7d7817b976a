"""The loop around the views: read a page, fold it, and every ten seconds write what changed together with the position.

Until then the changes are in memory: a thousand readings of a metric become one row per width. A crash costs reading ten
seconds of events again. Whoever shows a view adds the events since its position.

It isn't a processor of ``reader.py``: one of those moves on with every page and may save its state later, while the position
of the views must never be without their rows; and it stands still for a rebuild.
"""

import asyncio
import sqlite3
from collections.abc import Iterator

from gateway.store.consumers import Consumer
from gateway.store.log import Log, Statement
from gateway.store.views import rows
from gateway.store.views.cells import widths
from gateway.store.views.fold import Views
from gateway.waiting import within

save_every = 10.0
"""Seconds between writing rows and position."""

look_every = 1.0
"""Seconds between looks whether it is time to save, or somebody wants to rebuild, while nothing happens."""

most = 20_000
"""Changed rows that are written before their time: bounds memory while catching up."""

_fresh = "fresh_"


class Keeper:
    """Keeps the views of a log; rebuilds them when asked."""

    def __init__(self, log: Log, consumer: Consumer) -> None:
        self.views = Views()
        self.position = 1
        """First offset they haven't taken."""
        self._log = log
        self._consumer = consumer
        self._at_work = asyncio.Lock()
        self._asked = 0

    async def run(self) -> None:
        """Follow the log until cancelled; then save."""
        while True:
            async with self._at_work:
                await self._log.store([])  # what was saved last is on the disk now, whatever happened since
                self.views, found = await self._log.look(rows.load)
                self.position = found.lo
                await self._follow(found.lo)
            await asyncio.sleep(0)  # whoever wants to rebuild has the lock now

    async def _follow(self, lo: int) -> None:
        now = asyncio.get_running_loop().time
        saved, saved_at = lo, now()
        try:
            while not self._asked:
                if saved < lo and (now() - saved_at >= save_every or len(self.views.minutes) > most):
                    self._save(lo)
                    saved, saved_at = lo, now()
                if await within(look_every, self._log.beyond(lo - 1)):
                    events, through = await self._log.onward(lo, as_stored=True)
                    self.views.take(events)
                    lo = self.position = through + 1
        finally:
            if saved < lo:
                self._save(lo)

    def _save(self, lo: int) -> None:
        made = rows.statements(self.views)
        self._log.append([], also=[*made, *self._through(lo, self.views)], wait=False)

    def _through(self, lo: int, views: Views) -> list[Statement]:
        """Their position and state, for the transaction that holds the rows."""
        return self._consumer.done(self._consumer.live, lo - 1, state=views.snapshot())

    async def rebuild(self) -> int:
        """Make everything anew from the log and swap it in, in one transaction; returns the number of events it took.

        Roll-ups that begin before the oldest event that is left stay as they are: nobody could make them again."""
        self._asked += 1
        try:
            async with self._at_work:
                return await self._rebuild()
        finally:
            self._asked -= 1

    async def _rebuild(self) -> int:
        await self._log.store([])  # what was saved last is on the disk now
        old, _ = await self._log.look(rows.load)
        views = Views()
        for cell in old.everything():
            views.series = cell.series - 1
            views.cell(cell.source, cell.metric)
        views.series = old.series
        for table in rows.tables:
            anew = (await self._definition(table), ())
            await self._log.store([], also=[(f"drop table if exists {_fresh}{table}", ()), anew])
        lo, count, oldest = 1, 0, None
        while lo <= self._log.head:
            events, through = await self._log.onward(lo, as_stored=True)
            if oldest is None and events:
                oldest = events[0].time
            views.take(events)
            count += len(events)
            lo = through + 1
            if len(views.minutes) > most:
                await self._log.store([], also=rows.statements(views, _fresh))
            await asyncio.sleep(0)
        made = rows.statements(views, _fresh)
        await self._log.store([], also=[*made, *_swapped(oldest), *self._through(lo, views)])
        self.views = views
        return count

    async def _definition(self, table: str) -> str:
        ((sql,),) = await self._log.query("select sql from sqlite_master where name = ?", table)
        _head, _, rest = str(sql).partition("(")
        return f"create table {_fresh}{table} ({rest}"


def _swapped(oldest: int | None) -> Iterator[Statement]:
    """The fresh tables in the place of the others, with the roll-ups that begin before the oldest event that is left."""
    if oldest is not None:
        older = "from rollup where start < ?"
        key = "width, start, series"
        yield f"delete from {_fresh}rollup where ({key}) in (select {key} {older})", (oldest,)
        yield f"insert into {_fresh}rollup select * {older}", (oldest,)
    for table in rows.tables:
        yield f"drop table {table}", ()
        yield f"alter table {_fresh}{table} rename to {table}", ()


def tables(db: sqlite3.Connection) -> dict[str, int]:
    """Rows of each view."""
    counts = dict.fromkeys(rows.names, 0)
    for name, table in (("last", "last"), ("devices", "device"), ("alarms", "alarm")):
        counts[name] = db.execute(f"select count(*) from {table}").fetchone()[0]
    for name, width in widths.items():
        counts[name] = db.execute("select count(*) from rollup where width = ?", (width,)).fetchone()[0]
    return counts

"""The log: append-only, in order of offset, on disk before anybody is told "received".

    append ─► pending ─► one transaction per commit ─► ring of the newest ─► readers are woken
                              (paced)                  └► whoever waits for it is told

Commits are paced: one begins when someone waits and the last one began at least ``pace`` ago, when events nobody waits for
are ``linger`` old, when ``enough`` are pending, or a ``few`` and nothing more comes. While one runs, arrivals pile up. Where
senders go on without waiting for it, the event loop dozes until it is due.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from gateway.clock import Clock, Era
from gateway.errors import StoreFailed
from gateway.event import Event, event
from gateway.store import block, eras, opening, rows
from gateway.store.disk import Disk
from gateway.store.pace import Figures, doze, enough, few, idle, unasked
from gateway.store.pace import Pace as Pace
from gateway.store.pages import Pages
from gateway.store.pressure import GivenUp, burden, weight
from gateway.store.rows import Statement as Statement

log = logging.getLogger("redcar.log")

lazy_every = 1.0
"""Seconds between writing what may be lost in a crash: positions of readers that will see the same again."""


class _Work(Struct):
    events: Sequence[Event]
    size: int
    also: Sequence[Statement]
    done: asyncio.Future[None] | None
    era: Era


class Log(Pages):
    """Open it with ``Log.open``; one per folder and process."""

    def __init__(
        self, folder: Path, clock: Clock, pace: Pace, ring: int, queue: int, disk: Disk, found: opening.Opened
    ) -> None:
        super().__init__(folder, found.pages, found.found.mark, ring)
        self.clock = clock
        self.pace = pace
        self.figures = Figures()
        self.epoch = found.found.epoch
        self.first = found.found.first
        """Where a new reader begins who wants everything; 1, but for a log that took the place of another."""
        self.clean = found.found.clean
        """Whether the last process that wrote it had closed it."""
        self.aside = found.aside
        """A damaged log that waits to be salvaged."""
        self.whole = asyncio.Event()
        """None does: what lies before ``first`` is there, as far as it could be read."""
        if not self.aside:
            self.whole.set()
        self.disk = disk
        self.full = False
        """More than ``queue`` bytes wait for the disk: whoever can slow down its senders should."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when ``full`` ends."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when nothing can be stored any more: the process should end, and be started anew."""
        self._queue = queue
        self._pending: list[_Work] = []
        self._under_way: list[_Work] = []
        self._ended_by: StoreFailed | None = None
        self._pending_events = self._pending_bytes = 0
        self._waited_for = False
        self._lazy: dict[str, Statement] = {}
        self._lazy_at = -lazy_every
        self._arrived = asyncio.Event()
        self._gathered = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._unasked = 0  # commits for which the event loop may doze
        self._lock = found.lock
        self._given_up = GivenUp()
        self._era = clock.era()
        self._stored_era: Era | None = None
        self._eras: list[eras.Row] = []
        self._writer: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        clock: Clock,
        *,
        pace: Pace | None = None,
        ring: int = 5_000,
        queue: int = 16_000_000,
        ballast: int = 0,
        machine: str | None = None,
    ) -> "Log":
        """Open or make the log in that folder. Raises StoreLocked or StoreNewer."""
        found = await opening.opened(folder, opening.machine() if machine is None else machine)
        pace = pace or Pace()
        disk = Disk(folder, found.db, ballast=ballast, retry=pace.retry)
        self = cls(folder, clock, pace, ring, queue, disk, found)
        self.lost = await found.pages.run(rows.query, "select lo, hi from lost order by lo", ())
        self._eras = await found.pages.run(eras.stored)
        self._shifts = eras.shifts(self._eras)
        self._era = eras.resumed(self._eras[-1] if self._eras else None, clock)
        if self._eras and self._eras[-1].boot == clock.boot:
            self._stored_era = self._era
        for type, data in found.announced:
            log.warning("%s: %s %s", folder, type, " ".join(f"{key}={value}" for key, value in data.items()))
        announced = [event(type, "gateway", data, time=clock.now()) for type, data in found.announced]
        if announced or found.also:
            self.append(announced, also=found.also, wait=False)
        self._writer = asyncio.create_task(self._write(), name="log writer")
        self._writer.add_done_callback(self._ended)
        return self

    async def close(self) -> None:
        """Commit what is pending, then let go of the files."""
        self._closing = True
        for one in (self._arrived, self._urgent, self._gathered):
            one.set()
        self.disk.closing.set()
        try:
            if self._writer:
                await self._writer
                await self.disk.finish(self.head)
        finally:
            await self._pages.close()
            await self.disk.close()
            os.close(self._lock)

    # ------------------------------------------------------------------ writing

    def append(
        self, events: Sequence[Event], *, also: Sequence[Statement] = (), wait: bool = True
    ) -> asyncio.Future[None] | None:
        """Put events, and the statements that belong to them, into the next commit.

        Returns a future that is done when they are on the disk; None if ``wait`` is False: nobody is told, and they may
        wait ``linger`` for company. Events get their offsets in the order of these calls.
        """
        self.notice_time()
        if not self._era.trusted:
            eras.mark(events)
        done = asyncio.get_running_loop().create_future() if wait else None
        work = _Work(events, weight(events), also, done, self._era)
        if self._ended_by:
            self._refuse([work], self._ended_by)
            return done
        self._pending.append(work)
        self._pending_events += len(events)
        self._pending_bytes += work.size + (burden(also) if also else 0)
        if self._pending_bytes > self._queue:
            self.full = True
            if not wait and self._pending_bytes > 2 * self._queue:
                self._give_up(work)
        if wait or self._pending_events >= enough:
            self._waited_for = True
            self._urgent.set()
        if self._pending_events >= few:
            self._gathered.set()
        self._arrived.set()
        return done

    async def store(self, events: Sequence[Event], *, also: Sequence[Statement] = ()) -> None:
        """The same, and return when they are on the disk. Raises StoreFailed."""
        stored = self.append(events, also=also)
        assert stored is not None
        await stored

    def notice_time(self) -> bool:
        """Announce it if the wall clock was set, or has won or lost trust, since the last look: before anything that is
        stamped by the new time. True: so it is."""
        era = self.clock.era()
        if era is self._era:
            return False
        announced = eras.turned(self._era, era, self.clock)
        self._era = era
        for one in announced:
            log.warning("%s %s", one.type, " ".join(f"{key}={value}" for key, value in one.data.items()))
        self._pending.append(_Work(announced, weight(announced), (), None, era))
        self._pending_events += len(announced)
        self._arrived.set()
        return True

    def lazily(self, key: str, statement: Statement) -> None:
        """Execute this with some later commit; a newer one with the same key replaces it. For what may be lost: a
        position that a crash sets back costs sending again, nothing else."""
        if not self._lazy:
            self._arrived.set()
        self._lazy[key] = statement

    def forget(self, key: str) -> None:
        """Drop what ``lazily`` kept under this key: something that must not be lost has overtaken it."""
        self._lazy.pop(key, None)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        began = -1e9
        while True:
            if not self._pending and not self._closing:
                self._arrived.clear()
                await self._idle()
            if not self._waited_for and not self._closing:
                await self._within(self._urgent, self.pace.linger)
            await self._gather(began + self.pace.pace)
            if not self._pending and not self._lazy:
                if self._closing:
                    return
                continue
            began = loop.time()
            await self._commit()

    async def _gather(self, end: float) -> None:
        """Wait for company until then: no longer once ``enough`` are pending, or a ``few`` and nothing more comes."""
        now, before = asyncio.get_running_loop().time, -1
        if self._unasked and not self.catching_up:
            self._unasked -= 1
            await self._doze(end)
        while (rest := end - now()) > 0 and before != self._pending_events < enough and not self._closing:
            if self._pending_events < few:
                self._gathered.clear()
                await self._within(self._gathered, rest)
            else:
                before = self._pending_events
                await asyncio.sleep(min(rest, self.pace.quiet))
        if few <= before < self._pending_events and rest <= 0:
            self._unasked = unasked
        while enough <= self._pending_events < block.longest and before != self._pending_events:
            before = self._pending_events  # more is coming in this very moment: one commit of both costs less than two
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _doze(self, end: float) -> None:
        """Stop the event loop until then, but for looks at what has come. Nothing that comes is acknowledged any sooner for being
        looked at when it comes, and each time costs as much as ten messages that are looked at together."""
        now = asyncio.get_running_loop().time
        while (rest := end - now()) > 0 and self._pending_events < enough and not self._closing:
            if await idle(self.clock.monotonic) or await idle(self.clock.monotonic):
                doze(min(rest, self.pace.doze))
            else:
                await asyncio.sleep(min(rest, self.pace.quiet))
        await idle(self.clock.monotonic)

    async def _idle(self) -> None:
        """Wait for work. What is lazy gets a commit of its own when no event has come for a second."""
        if not self._lazy:
            await self._arrived.wait()
        if not self._pending and not self._closing:
            self._arrived.clear()
            await self._within(self._arrived, lazy_every)

    @staticmethod
    async def _within(event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await event.wait()
        except TimeoutError:
            return False

    async def _commit(self) -> None:
        self.notice_time()
        works, self._pending = self._pending, []
        self._under_way = works
        self._pending_bytes = self._pending_events = 0
        lazy = self._due_lazily()
        self._waited_for = self.catching_up = False
        self._urgent.clear()

        now, offset = self.clock.now(), self.head
        events: list[Event] = []
        began: list[eras.Row] = []
        also: list[Statement] = []
        for work in works:
            if work.era is not self._stored_era and work.events:
                self._stored_era = work.era
                began.append(self._began(work.era, self.head + len(events) + 1))
                also.append(eras.kept(began[-1]))
            if work.era is not self._era:  # stamped before the clock was set: stored as of that time, too
                for event in work.events:
                    event.recorded = self.clock.monotonic() + work.era.apart
            events.extend(work.events)
            also.extend(work.also)
        for event in events:
            offset += 1
            event.offset = offset
            event.recorded = event.recorded or now
        also.extend(lazy.values())
        await self.disk.store(
            self._blocks(events, [row.lo for row in began]), also, lambda error: self._refuse(works, error)
        )

        if began:
            self._eras += began
            self._shifts = eras.shifts(self._eras)
        self.head = offset
        self.figures.commits += 1
        self.figures.events += len(events)
        self._ring.add(events, sum([work.size for work in works]))
        self._under_way = []
        for work in works:
            if work.done is not None and not work.done.done():
                work.done.set_result(None)
        if events:
            self._committed.set_result(None)
            self._committed = asyncio.get_running_loop().create_future()
        if self.full and self._pending_bytes <= self._queue // 2:
            self._room_again()

    def _began(self, era: Era, lo: int) -> eras.Row:
        return eras.Row(lo, self.clock.boot, self.clock.monotonic(), era.apart, era.trusted)

    def _due_lazily(self) -> dict[str, Statement]:
        """Once a second: every statement touches a page of its own, which a commit of few events would pay for each time."""
        now = asyncio.get_running_loop().time()
        if now - self._lazy_at < lazy_every and not self._closing:
            return {}
        lazy, self._lazy, self._lazy_at = self._lazy, {}, now
        return lazy

    def _blocks(self, events: list[Event], apart: list[int]) -> list[block.Row]:
        """Drafts of rows for a commit. ``apart``: offsets with which a block must begin, so that none reaches over two eras."""
        cuts = [0, *(lo - self.head - 1 for lo in apart if lo > self.head + 1), len(events)]
        return [
            block.draft(events[n : min(n + block.longest, stop)])
            for start, stop in pairwise(cuts)
            for n in range(start, stop, block.longest)
        ]

    def _refuse(self, works: list[_Work], error: StoreFailed) -> None:
        """The disk failed: senders are told, and nothing more is taken from them until it works. What they sent is kept and
        stored all the same: what it has changed in memory stays true."""
        self.full = True
        for work in works:
            if work.done is not None and not work.done.done():
                work.done.set_exception(error)
                work.done.exception()  # said already: it may be that nobody is left to look at it

    def _give_up(self, work: _Work) -> None:
        kept = self._given_up.from_(list(work.events))
        self._pending_events -= len(work.events) - len(kept)
        self._pending_bytes -= work.size - weight(kept)
        work.events, work.size = kept, weight(kept)

    def _room_again(self) -> None:
        self.full = False
        said = self._given_up.owned_up()
        if said:
            self.append([event("gap", "gateway", said, time=self.clock.now())], wait=False)
        self.on_room()

    def _ended(self, writer: asyncio.Task[None]) -> None:
        """The writer has stopped: at the end of all, or because nothing can be stored any more."""
        error = None if writer.cancelled() else writer.exception()
        self._ended_by = StoreFailed(str(error or f"{self.folder}: the log is closed"))
        self._refuse([*self._under_way, *self._pending], self._ended_by)
        if error:
            log.critical("%s: nothing can be stored any more: %s", self.folder, error)
            self.on_end()

    def missed(self, lo: int, hi: int, count: int) -> None:
        """Say in the log what can't be read."""
        said = {"reason": "damaged", "ranges": [[lo, hi, count]], "count": count}
        noted = "insert or replace into lost (lo, hi) values (?, ?)", (lo, hi)
        self.append([event("gap", "gateway", said, time=self.clock.now())], also=[noted], wait=False)
